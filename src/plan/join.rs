//! ffmpeg's arguments for putting streams together that came apart: nothing is encoded.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::encode::{file, opening, reading, words};

/// One file whose streams go into the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The file.
    pub path: PathBuf,
    /// Seconds to add to its times.
    pub shift: f64,
    /// Take its picture.
    pub picture: bool,
    /// Take its sound: all of it, or none.
    pub sound: bool,
    /// The language of its sound, as three letters.
    pub language: Option<String>,
}

/// The arguments that put `inputs` into one MP4 file. Their times stay as they are to each other.
pub fn mux(inputs: &[Input], output: &Path) -> Vec<OsString> {
    let mut arguments = opening();
    arguments.extend(words("-copyts"));
    for input in inputs {
        if input.shift != 0.0 {
            arguments.extend(words(&format!("-itsoffset {:.6}", input.shift)));
        }
        arguments.extend(reading(&input.path));
    }
    for (number, input) in inputs.iter().enumerate() {
        for (wanted, kind) in [(input.picture, "v:0"), (input.sound, "a?")] {
            if wanted {
                arguments.extend(words(&format!("-map {number}:{kind}")));
            }
        }
    }
    // Sound of the first file has a language of its own, if any.
    let separate = inputs.iter().filter(|input| input.sound && !input.picture);
    if !inputs.iter().any(|input| input.sound && input.picture) {
        for (number, input) in separate.enumerate() {
            let language = input.language.iter().map(|language| format!("language={language}"));
            arguments.extend(language.flat_map(|text| [format!("-metadata:s:a:{number}").into(), text.into()]));
        }
    }
    arguments.extend(writing(output));
    arguments
}

/// The arguments that put the files that `list` names behind each other.
pub fn concat(list: &Path, output: &Path) -> Vec<OsString> {
    let mut arguments = opening();
    // The list is ours, and names nothing but files beside it.
    arguments.extend(words("-protocol_whitelist file -format_whitelist concat,mov -f concat -safe 1 -i"));
    arguments.extend([file(list)]);
    arguments.extend(words("-map 0"));
    arguments.extend(writing(output));
    arguments
}

/// The same streams give the same bytes.
fn writing(output: &Path) -> Vec<OsString> {
    let mut arguments = words("-c copy -map_metadata -1 -fflags +bitexact -avoid_negative_ts make_zero -f mp4");
    arguments.push(file(output));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_opened_and_times_are_kept() {
        let input = |name: &str, picture| Input {
            path: name.into(),
            shift: if picture { 0.0 } else { -2.5 },
            picture,
            sound: !picture,
            language: Some("deu".into()),
        };
        let arguments = mux(&[input("/v.media", true), input("/a.media", false)], Path::new("/whole.mp4"));
        let text = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(text.contains("-copyts -protocol_whitelist file,pipe -format_whitelist mov,"), "{text}");
        assert!(text.contains("-itsoffset -2.500000 -protocol_whitelist file,pipe"), "{text}");
        assert!(text.contains("-map 0:v:0 -map 1:a? -metadata:s:a:0 language=deu -c copy"), "{text}");
        assert!(text.ends_with("-f mp4 file:/whole.mp4"), "{text}");
        let arguments = concat(Path::new("/list"), Path::new("/whole.mp4"));
        let text = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(
            text.contains("-protocol_whitelist file -format_whitelist concat,mov -f concat -safe 1 -i file:/list"),
            "{text}"
        );
    }
}
