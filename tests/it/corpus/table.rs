//! The table of the corpus: `table.toml`, read.

use std::collections::BTreeMap;

use serde::Deserialize;

/// All sources, and the words their makings are written with.
#[derive(Deserialize)]
pub(super) struct Table {
    words: BTreeMap<String, String>,
    #[serde(rename = "source")]
    pub(super) sources: Vec<Source>,
}

/// One source: how it comes to be, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) about: String,
    make: Vec<String>,
    #[serde(default = "mp4")]
    pub(super) ending: String,
    #[serde(default = "usual_size")]
    pub(super) size: String,
    #[serde(default = "usual_rate")]
    pub(super) rate: String,
    #[serde(default = "usual_seconds")]
    pub(super) seconds: f64,
    #[serde(default = "one")]
    pub(super) step: usize,
    #[serde(default = "usual_audio")]
    pub(super) audio: Vec<String>,
    pub(super) beeps: Option<usize>,
    /// The loudest sample that may be heard, where 1 is the most there is.
    pub(super) peak: Option<f64>,
    #[serde(default = "usual_colour")]
    pub(super) colour: u8,
    /// Whether the patch in the middle is see-through.
    #[serde(default)]
    pub(super) holes: bool,
    /// Whether the last picture is narrower than the first, and has black at its sides.
    #[serde(default)]
    pub(super) bars: bool,
    pub(super) warns: Option<String>,
    pub(super) refused: Option<String>,
    /// Every cue, behind the folder it is in.
    #[serde(default)]
    pub(super) subtitles: Vec<String>,
}

fn mp4() -> String {
    "mp4".into()
}

fn usual_size() -> String {
    "192x108".into()
}

fn usual_rate() -> String {
    "25/1".into()
}

fn usual_seconds() -> f64 {
    3.0
}

fn one() -> usize {
    1
}

fn usual_audio() -> Vec<String> {
    vec!["audio-und".into()]
}

fn usual_colour() -> u8 {
    12
}

impl Table {
    pub(super) fn read() -> Self {
        let table: Self = toml::from_str(include_str!("table.toml")).unwrap();
        let mut names: Vec<&str> = table.sources.iter().map(|source| source.name.as_str()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two sources have one name");
        assert!(table.sources.iter().all(|source| !source.about.is_empty()));
        table
    }

    /// The steps that make `source`, with every word written out.
    pub(super) fn steps(&self, source: &Source) -> Vec<String> {
        source.make.iter().map(|step| self.written_out(step)).collect()
    }

    /// `{name a b}` becomes the word `name`, with `$1` and `$2` replaced; what is no word is left as it is.
    fn written_out(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once('{') else { return text.into() };
        let Some((inside, after)) = rest.split_once('}') else { return text.into() };
        let mut words = inside.split(' ');
        let found = words.next().and_then(|name| self.words.get(name));
        let meant = found.map_or_else(
            || format!("{{{inside}}}"),
            |word| {
                let arguments = words.zip(1..).map(|(value, number)| (format!("${number}"), value));
                let filled = arguments.fold(word.clone(), |text, (name, value)| text.replace(&name, value));
                self.written_out(&filled)
            },
        );
        format!("{before}{meant}{}", self.written_out(after))
    }
}
