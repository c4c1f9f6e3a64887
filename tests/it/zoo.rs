//! Sources of every kind, each of which must become a right package: size,
//! rate, number of pictures, languages, and sound together with its picture.

use std::path::{Path, PathBuf};

use crate::inputs::{published, sandbox};
use crate::support::{media, oracle, watch};

/// One source and what must come of it.
struct Animal {
    name: &'static str,
    file: PathBuf,
    size: (u32, u32),
    rate: &'static str,
    /// Fewest and most pictures.
    frames: (usize, usize),
    audio: &'static [&'static str],
    /// Whether a flash and a beep come at once.
    flashes: bool,
}

/// Black with a white flash from second 1 on, for half a second.
fn flash(rate: &str, seconds: &str, size: &str) -> String {
    format!(
        "color=black:size={size}:rate={rate}:duration={seconds},drawbox=color=white:t=fill:enable='between(t,0.999,1.499)'"
    )
}

/// Silence with a beep from second 1 on, for half a second.
fn beep(seconds: &str, channels: usize) -> String {
    let tone = vec!["if(between(t\\,1\\,1.5)\\,0.5*sin(2*PI*880*t)\\,0)"; channels].join("|");
    format!("aevalsrc={tone}:s=48000:d={seconds}")
}

fn made(ending: &str, inputs: &[&str], options: &str) -> PathBuf {
    let mut arguments = Vec::new();
    for input in inputs {
        arguments.extend(["-f", "lavfi", "-i", input]);
    }
    arguments.extend(options.split_whitespace());
    media::make(ending, &arguments)
}

const X264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 12 -c:a aac";

fn animal(name: &'static str, file: PathBuf, rate: &'static str, frames: (usize, usize)) -> Animal {
    Animal { name, file, size: (320, 180), rate, frames, audio: &["audio-und"], flashes: true }
}

/// The clip with its display matrix turned by a quarter.
fn turned(folder: &Path) -> PathBuf {
    let upright = made("mp4", &[&flash("25", "3", "320x180"), &beep("3", 1)], X264);
    let mut bytes = std::fs::read(upright).unwrap();
    let at = bytes.windows(4).position(|four| four == b"tkhd").unwrap() + 44;
    let matrix: [i32; 9] = [0, 0x1_0000, 0, -0x1_0000, 0, 0, 180 << 16, 0, 0x4000_0000];
    for (number, value) in matrix.iter().enumerate() {
        bytes[at + number * 4..at + number * 4 + 4].copy_from_slice(&value.to_be_bytes());
    }
    let path = folder.join("made-turned.mp4");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A broadcast cut anywhere: its first packets belong to pictures that are not there.
fn torn_broadcast(folder: &Path) -> PathBuf {
    let whole =
        made("ts", &[&flash("25", "4", "320x180"), &beep("4", 1)], &format!("{X264} -bf 2 -x264-params open-gop=1"));
    let bytes = std::fs::read(whole).unwrap();
    let path = folder.join("made-torn.ts");
    std::fs::write(&path, &bytes[bytes.len() / 188 / 10 * 188..]).unwrap();
    path
}

fn rates() -> Vec<Animal> {
    let of =
        |rate, seconds| made("mp4", &[&flash(rate, seconds, "320x180"), &beep(seconds, 1)], &format!("{X264} -bf 3"));
    let vfr = made(
        "mkv",
        &[&format!("{},select=not(between(mod(n\\,30)\\,10\\,14))", flash("30", "4", "320x180")), &beep("4", 1)],
        &format!("{X264} -vsync vfr"),
    );
    vec![
        animal("film", of("24000/1001", "3"), "24000/1001", (71, 73)),
        animal("ntsc", of("30000/1001", "3"), "30000/1001", (89, 91)),
        animal("sport", of("60000/1001", "3"), "60000/1001", (179, 181)),
        animal("phone-vfr", vfr, "30/1", (118, 121)),
    ]
}

fn shapes(folder: &Path) -> Vec<Animal> {
    let single = made("mp4", &["testsrc2=size=320x180:rate=25"], "-c:v libx264 -pix_fmt yuv420p -frames:v 1");
    let blink = made("mp4", &["testsrc2=size=320x180:rate=25:duration=0.4"], "-c:v libx264 -pix_fmt yuv420p");
    let portrait = made("mp4", &[&flash("25", "3", "180x320"), &beep("3", 1)], X264);
    let wide = made("mp4", &[&format!("{},setsar=16/15", flash("25", "3", "360x288")), &beep("3", 1)], X264);
    let woven = made(
        "mp4",
        &[&format!("{},interlace=scan=tff", flash("50", "3", "320x180")), &beep("3", 1)],
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -flags +ilme+ildct -x264opts tff=1 -c:a aac",
    );
    let deep = made(
        "mkv",
        &[&flash("25", "3", "320x180"), &beep("3", 1)],
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=error -c:a aac",
    );
    let silent = |animal: Animal| Animal { audio: &[], flashes: false, ..animal };
    vec![
        silent(animal("single", single, "", (1, 1))),
        silent(animal("blink", blink, "25/1", (10, 10))),
        Animal { size: (180, 320), ..animal("portrait", portrait, "25/1", (75, 75)) },
        Animal { size: (180, 320), ..animal("turned", turned(folder), "25/1", (75, 75)) },
        Animal { size: (384, 288), ..animal("anamorphic", wide, "25/1", (75, 75)) },
        animal("interlaced", woven, "25/1", (74, 76)),
        animal("hevc-10-bit", deep, "25/1", (75, 75)),
    ]
}

fn sounds() -> Vec<Animal> {
    let picture = flash("25", "4", "320x180");
    let with = |sound: &[String], options: &str| {
        let mut inputs = vec![picture.as_str()];
        inputs.extend(sound.iter().map(String::as_str));
        made("mkv", &inputs, &format!("{X264} {options}"))
    };
    let two = "-map 0 -map 1 -map 2 -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu";
    let silent = made("mp4", &[&picture], "-c:v libx264 -preset ultrafast -pix_fmt yuv420p");
    vec![
        animal("surround", with(&[beep("4", 6)], "-ac 6"), "25/1", (100, 100)),
        Animal {
            audio: &["audio-deu", "audio-eng"],
            ..animal("two-tongues", with(&[beep("4", 1), beep("4", 1)], two), "25/1", (100, 100))
        },
        Animal { audio: &[], flashes: false, ..animal("mute", silent, "25/1", (100, 100)) },
        animal("sound-ends", with(&[beep("1.6", 1)], ""), "25/1", (100, 100)),
        animal("sound-goes-on", with(&[beep("6", 1)], ""), "25/1", (149, 151)),
    ]
}

/// Sources whose first time stamp is not zero.
fn clocks(folder: &Path) -> Vec<Animal> {
    let (picture, sound) = (flash("25", "4", "320x180"), beep("4", 1));
    let broadcast = made(
        "ts",
        &[&picture, &sound],
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25 -bf 2 -x264-params open-gop=1 -c:a aac -output_ts_offset 100",
    );
    let whole = made("mp4", &[&picture, &sound], &format!("{X264} -bf 3"));
    let cut = media::make("mp4", &["-ss", "0.7", "-i", whole.to_str().unwrap(), "-c", "copy"]);
    let late = {
        let inputs = [
            "-f",
            "lavfi",
            "-i",
            &picture,
            "-itsoffset",
            "0.5",
            "-f",
            "lavfi",
            "-i",
            "aevalsrc=if(between(t\\,0.5\\,1)\\,0.5*sin(2*PI*880*t)\\,0):s=48000:d=3",
        ];
        media::make("mkv", &inputs.into_iter().chain(X264.split(' ')).collect::<Vec<_>>())
    };
    vec![
        animal("broadcast", broadcast, "25/1", (100, 100)),
        animal("edited", cut, "25/1", (80, 85)),
        animal("late-sound", late, "25/1", (100, 100)),
        animal("torn-broadcast", torn_broadcast(folder), "25/1", (60, 100)),
    ]
}

/// What is wrong with the package of an animal; nothing if it is right.
fn wrong(animal: &Animal, master: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Err(error) = oracle::judge(master) {
        return vec![error];
    }
    let playlists = watch::playlists(master);
    let (audio, video): (Vec<_>, Vec<_>) = playlists.iter().partition(|(name, _)| name.starts_with("audio-"));
    let names: Vec<&str> = audio.iter().map(|(name, _)| name.as_str()).collect();
    if names != animal.audio {
        wrong.push(format!("audio is {names:?}"));
    }
    let picture = watch::picture(&video[0].1);
    if picture.size != animal.size || (!animal.rate.is_empty() && picture.rate != animal.rate) {
        wrong.push(format!("{picture:?}"));
    }
    if !(animal.frames.0..=animal.frames.1).contains(&picture.frames) {
        wrong.push(format!("{} pictures", picture.frames));
    }
    let said = watch::complaints(master);
    if !said.is_empty() {
        wrong.push(said);
    }
    if !animal.flashes {
        return wrong;
    }
    let (num, den) = picture.rate.split_once('/').unwrap();
    let rate = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap();
    let flash = watch::shades(&video[0].1).iter().position(|shade| *shade > 128);
    let Some(flash) = flash else { return vec!["no flash".into()] };
    #[expect(clippy::cast_precision_loss, reason = "a few hundred pictures")]
    let seen = picture.start + flash as f64 / rate;
    for (name, playlist) in audio {
        let heard = watch::first_sound(playlist);
        let offset = heard.map(|heard| ((heard - seen) * 1000.0).round());
        println!("{}: {name} sounds {offset:?} ms after the flash", animal.name);
        if offset.is_none_or(|offset| offset.abs() > 40.0) {
            wrong.push(format!("{name} is heard {offset:?} ms after the flash is seen"));
        }
    }
    wrong
}

#[test]
fn every_kind_of_source_becomes_a_right_package() {
    let sandbox = sandbox();
    let all: Vec<Animal> =
        [rates(), shapes(&sandbox.path("tmp")), sounds(), clocks(&sandbox.path("tmp"))].into_iter().flatten().collect();
    let line = |animal: &Animal| serde_json::json!({ "url": animal.file, "id": animal.name }).to_string() + "\n";
    sandbox.write("zoo.jsonl", all.iter().map(line).collect::<String>());
    let run = sandbox.forebay(["hls", "zoo.jsonl", "--to", "out", "--segment", "1s"]);
    println!("{}", run.stderr);
    let dest = sandbox.path("out");
    let mut complaints = Vec::new();
    for animal in &all {
        if !published(&dest).contains(&animal.name.to_owned()) {
            complaints.push(format!("{} was not published", animal.name));
            continue;
        }
        let found = wrong(animal, &watch::master(&dest, animal.name));
        complaints.extend(found.into_iter().map(|what| format!("{}: {what}", animal.name)));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
    run.expect(0);
}
