//! What a viewer gets of a package, measured by ffmpeg and ffprobe, and
//! compared with the table.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::table::Source;
use crate::support::{oracle, watch};

/// The decoded picture is looked at in this size.
const WIDTH: usize = 48;
const HEIGHT: usize = 27;

/// Samples a second in which beeps are looked for.
const SOUND_RATE: usize = 8000;

/// Sound and picture may be this many milliseconds apart (EBU R37 allows sound 40 ms early).
const SYNC: f64 = 40.0;

/// The patches of the chart: left, top, width, height in pixels of 48x27, and the colour.
const PATCHES: [(usize, usize, usize, usize, [u8; 3]); 5] = [
    (0, 0, 16, 12, [0xC8, 0x28, 0x28]),
    (16, 0, 16, 12, [0x28, 0x3C, 0xC8]),
    (0, 12, 16, 8, [0x28, 0xAA, 0x3C]),
    (16, 12, 16, 8, [0x80, 0x80, 0x80]),
    (32, 12, 16, 8, [0xDC, 0x96, 0x5A]),
];

/// Where a picture of 4:3 leaves black at the left in one of 16:9.
const BAR: (usize, usize, usize, usize) = (0, 0, 6, 20);

/// The patch that flashes, and the row of the number.
const FLASH: (usize, usize, usize, usize) = (32, 0, 16, 12);
const DIGIT: (usize, usize, usize, usize) = (0, 20, 6, 7);

/// One decoded picture, in RGB.
struct Picture<'a>(&'a [u8]);

impl Picture<'_> {
    /// Mean colour of a patch, without its edges.
    fn mean(&self, (left, top, width, height): (usize, usize, usize, usize)) -> [f64; 3] {
        let inner = |from: usize, length: usize| from + 1..from + length - 1;
        let pixels = inner(top, height).flat_map(|y| inner(left, width).map(move |x| (y * WIDTH + x) * 3));
        let mut sum = [0.0; 3];
        let mut count = 0.0;
        for at in pixels {
            count += 1.0;
            for (channel, value) in sum.iter_mut().enumerate() {
                *value += f64::from(self.0[at + channel]);
            }
        }
        sum.map(|value| value / count)
    }

    fn brightness(&self, patch: (usize, usize, usize, usize)) -> f64 {
        let [red, green, blue] = self.mean(patch);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// The number at the bottom, and whether every digit is clear.
    fn number(&self) -> (usize, bool) {
        let digits = (0..8).map(|digit| self.brightness((DIGIT.0 + digit * DIGIT.2, DIGIT.1, DIGIT.2, DIGIT.3)));
        let digits: Vec<f64> = digits.collect();
        let number = digits.iter().enumerate().filter(|(_, shade)| **shade > 128.0).map(|(bit, _)| 1 << bit).sum();
        (number, digits.iter().all(|shade| !(80.0..176.0).contains(shade)))
    }

    /// Structural similarity of the brightness to the chart's, as the mean over blocks of 8x8 (Wang et al., 2004).
    fn similarity(&self, chart: &[u8]) -> f64 {
        let grey = |of: &[u8], at: usize| {
            0.2126 * f64::from(of[at]) + 0.7152 * f64::from(of[at + 1]) + 0.0722 * f64::from(of[at + 2])
        };
        let mut scores = Vec::new();
        // Not the row of the number, which changes.
        for top in (0..DIGIT.1 - 8).step_by(4) {
            for left in (0..=WIDTH - 8).step_by(4) {
                let at = (0..64).map(|pixel| ((top + pixel / 8) * WIDTH + left + pixel % 8) * 3);
                let pairs: Vec<(f64, f64)> = at.map(|at| (grey(self.0, at), grey(chart, at))).collect();
                let mean = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / 64.0;
                let (a, b) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
                let (aa, bb) = (mean(&|pair| (pair.0 - a).powi(2)), mean(&|pair| (pair.1 - b).powi(2)));
                let ab = mean(&|pair| (pair.0 - a) * (pair.1 - b));
                let (c1, c2) = (6.5025, 58.5225);
                scores.push((2.0 * a * b + c1) * (2.0 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2)));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "some sixty blocks")]
        let count = scores.len() as f64;
        scores.iter().sum::<f64>() / count
    }
}

/// The chart as it was drawn.
fn chart(holes: bool, flash: bool) -> Vec<u8> {
    let mut pixels = vec![0; WIDTH * HEIGHT * 3];
    let white = [255; 3];
    let patches = PATCHES.into_iter().chain(flash.then_some((FLASH.0, FLASH.1, FLASH.2, FLASH.3, white)));
    for (number, (left, top, width, height, colour)) in patches.enumerate() {
        let colour = if holes && number == 3 { [0; 3] } else { colour };
        for pixel in (top..top + height).flat_map(|y| (left..left + width).map(move |x| (y * WIDTH + x) * 3)) {
            pixels[pixel..pixel + 3].copy_from_slice(&colour);
        }
    }
    pixels
}

/// What is wrong with the package of `source`; nothing if it is right.
pub(super) fn wrong(source: &Source, master: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Err(error) = oracle::judge(master) {
        return vec![error];
    }
    let playlists = watch::playlists(master);
    let of = |kind: &str| playlists.iter().filter(|(name, _)| name.starts_with(kind)).collect::<Vec<_>>();
    let sound = of("audio-");
    let names: Vec<&str> = sound.iter().map(|(name, _)| name.as_str()).collect();
    if names != source.audio {
        wrong.push(format!("the sound is {names:?}"));
    }
    let video: Vec<_> =
        playlists.iter().filter(|(name, _)| !name.starts_with("audio-") && !name.starts_with("subs-")).collect();
    let mut flashes = Vec::new();
    match (&video[..], source.size.as_str()) {
        ([], "") => {}
        ([(_, playlist), ..], size) if !size.is_empty() => flashes = of_picture(source, playlist, &mut wrong),
        _ => wrong.push(format!("{} renditions of the picture", video.len())),
    }
    for (name, playlist) in sound {
        of_sound(source, name, playlist, &flashes, &mut wrong);
    }
    of_subtitles(source, master, &of("subs-"), &mut wrong);
    wrong
}

/// Looks at every picture; gives the times of the flashes.
fn of_picture(source: &Source, playlist: &Path, wrong: &mut Vec<String>) -> Vec<f64> {
    let entries = "stream=width,height,pix_fmt,r_frame_rate,start_time,field_order,color_range,color_space,\
                   color_transfer,color_primaries,sample_aspect_ratio:packet=pts_time";
    let probed = probe(playlist, "v:0", entries);
    let stream = &probed["streams"][0];
    let text = |key: &str| stream[key].as_str().unwrap_or_default().to_owned();
    let size = format!("{}x{}", stream["width"], stream["height"]);
    if size != source.size {
        wrong.push(format!("the size is {size}"));
    }
    let rate = text("r_frame_rate");
    if !source.rate.is_empty() && rate != source.rate {
        wrong.push(format!("the rate is {rate}"));
    }
    let looks = ["pix_fmt", "color_range", "color_space", "color_transfer", "color_primaries", "sample_aspect_ratio"];
    let looks = looks.map(text);
    if looks != ["yuv420p", "tv", "bt709", "bt709", "bt709", "1:1"] {
        wrong.push(format!("the picture is {looks:?}"));
    }
    let bytes = decoded(playlist);
    let pictures: Vec<Picture> = bytes.chunks_exact(WIDTH * HEIGHT * 3).map(Picture).collect();
    let (num, den) = rate.split_once('/').unwrap();
    let rate = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred pictures")]
    let seconds = pictures.len() as f64 / rate;
    if source.seconds > 0.0 && (seconds - source.seconds).abs() > 1.01 / rate {
        wrong.push(format!("the picture lasts {seconds:.3} s"));
    }
    of_times(&probed, rate, pictures.len(), wrong);
    of_numbers(source, &pictures, wrong);
    of_colour(source, &pictures, wrong);
    if source.bars != pictures.last().is_some_and(|last| last.brightness(BAR) < 10.0) {
        wrong.push("there are bars, or none".into());
    }
    let start: f64 = text("start_time").parse().unwrap();
    let lit: Vec<bool> = pictures.iter().map(|picture| picture.brightness(FLASH) > 128.0).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred pictures")]
    let time = |picture: usize| start + picture as f64 / rate;
    (1..lit.len()).filter(|&picture| lit[picture] && !lit[picture - 1]).map(time).collect()
}

/// The pictures' times go on by one picture each, over every edge.
fn of_times(probed: &Value, rate: f64, decoded: usize, wrong: &mut Vec<String>) {
    let packets = probed["packets"].as_array().unwrap();
    let mut times: Vec<f64> =
        packets.iter().map(|packet| packet["pts_time"].as_str().unwrap().parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    if times.len() != decoded {
        wrong.push(format!("{} pictures are packed and {decoded} come out", times.len()));
    }
    let steps = times.windows(2).map(|pair| (pair[0], pair[1]));
    if let Some((before, after)) = steps.into_iter().find(|(a, b)| ((b - a) * rate - 1.0).abs() > 0.1) {
        wrong.push(format!("after {before:.3} s comes {after:.3} s"));
    }
}

/// No picture is missing, doubled or frozen.
fn of_numbers(source: &Source, pictures: &[Picture<'_>], wrong: &mut Vec<String>) {
    for (picture, now) in pictures.iter().enumerate().filter(|_| source.step > 0) {
        let (number, clear) = now.number();
        let expected = (picture * source.step) % 256;
        if number != expected || !clear {
            wrong.push(format!("picture {picture} shows {number} (clear: {clear}) and not {expected}"));
            return;
        }
    }
}

fn of_colour(source: &Source, pictures: &[Picture<'_>], wrong: &mut Vec<String>) {
    let Some(picture) = pictures.get(pictures.len() / 2).filter(|_| source.colour > 0) else { return };
    let similar = picture.similarity(&chart(source.holes, picture.brightness(FLASH) > 128.0));
    if similar < if source.colour > 20 { 0.8 } else { 0.92 } {
        wrong.push(format!("the picture is similar to the chart by {similar:.2} only"));
    }
    for (number, (left, top, width, height, colour)) in PATCHES.into_iter().enumerate() {
        let colour = if source.holes && number == 3 { [0; 3] } else { colour };
        let seen = picture.mean((left, top, width, height));
        let off = seen.iter().zip(colour).map(|(seen, meant)| (seen - f64::from(meant)).abs()).fold(0.0, f64::max);
        if off > f64::from(source.colour) {
            wrong.push(format!("patch {number} is {:?} and not {colour:?}", seen.map(f64::round)));
        }
    }
}

fn of_sound(source: &Source, name: &str, playlist: &Path, flashes: &[f64], wrong: &mut Vec<String>) {
    let probed = probe(playlist, "a:0", "stream=start_time,sample_rate,channels,codec_name,profile");
    let stream = &probed["streams"][0];
    let made = (stream["codec_name"].as_str(), stream["sample_rate"].as_str(), stream["channels"].as_u64());
    if made != (Some("aac"), Some("48000"), Some(2)) {
        wrong.push(format!("{name} is {made:?}"));
    }
    let start: f64 = stream["start_time"].as_str().unwrap().parse().unwrap();
    let samples = heard(playlist);
    #[expect(clippy::cast_precision_loss, reason = "a few seconds of samples")]
    let time = |sample: usize| sample as f64 / SOUND_RATE as f64;
    let seconds = time(samples.len());
    if source.seconds > 0.0 && (seconds - source.seconds).abs() > 0.05 {
        wrong.push(format!("{name} lasts {seconds:.3} s"));
    }
    let peak = samples.iter().map(|sample| f64::from(sample.unsigned_abs()) / f64::from(i16::MAX)).fold(0.0, f64::max);
    if source.peak.is_some_and(|most| peak >= most || peak < most * 0.8) {
        wrong.push(format!("{name} is as loud as {peak:.2}"));
    }
    let mut beeps: Vec<f64> = Vec::new();
    let mut last_loud = None;
    for (at, _) in samples.iter().enumerate().filter(|(_, sample)| sample.unsigned_abs() > 2500) {
        if last_loud.is_none_or(|last| at - last > SOUND_RATE / 2) {
            beeps.push(start + time(at));
        }
        last_loud = Some(at);
    }
    let expected = source.beeps.unwrap_or(if flashes.is_empty() { beeps.len().max(1) } else { flashes.len() });
    if beeps.len() != expected {
        wrong.push(format!("{name} beeps at {beeps:.2?}, and flashes come at {flashes:.2?}"));
    }
    // Where there are fewer of the one, each of them must have its other.
    for (beep, flash) in beeps.iter().zip(flashes) {
        let off = (beep - flash) * 1000.0;
        if off.abs() > SYNC {
            wrong.push(format!("{name} beeps at {beep:.3} s, {off:.0} ms after the flash"));
        }
    }
}

/// The cues are the table's, and the master playlist says what each rendition is.
fn of_subtitles(source: &Source, master: &Path, playlists: &[&(String, PathBuf)], wrong: &mut Vec<String>) {
    let text = std::fs::read_to_string(master).unwrap();
    let mut cues = Vec::new();
    for (name, playlist) in playlists {
        let lines = std::fs::read_to_string(playlist).unwrap();
        for file in lines.lines().filter(|line| !line.starts_with('#')) {
            let words = std::fs::read_to_string(playlist.with_file_name(file)).unwrap();
            let (head, rest) = words.split_once("\n\n").unwrap_or((&words, ""));
            // The picture begins at 10 s, as `ffprobe` says of every package here.
            if head != "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000" {
                wrong.push(format!("{name}/{file} begins with {head:?}"));
            }
            let said = rest.split("\n\n").filter(|block| !block.is_empty());
            cues.extend(said.map(|block| format!("{name} {}", block.trim().replace('\n', " "))));
        }
        let line = text.lines().find(|line| line.contains(&format!("/{name}/"))).unwrap();
        if line.contains("FORCED=YES") != name.contains("-forced") {
            wrong.push(format!("the master says {line}"));
        }
    }
    if cues != source.subtitles {
        wrong.push(format!("the subtitles are {cues:#?}"));
    }
    if text.contains("SUBTITLES=\"subs\"") == playlists.is_empty() {
        wrong.push("the variants do not name the group of subtitles".into());
    }
}

fn probe(playlist: &Path, stream: &str, entries: &str) -> Value {
    let arguments = ["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "json"];
    let text = watch::tool("ffprobe", arguments.map(OsStr::new).into_iter().chain([playlist.as_os_str()]));
    serde_json::from_str(&text).unwrap()
}

/// All pictures, small, in RGB.
fn decoded(playlist: &Path) -> Vec<u8> {
    let scale = format!("scale={WIDTH}:{HEIGHT}:flags=area:in_color_matrix=bt709:in_range=tv,format=rgb24");
    let after = ["-map", "0:v:0", "-vsync", "0", "-vf", &scale, "-f", "rawvideo", "-"];
    watch::bytes(playlist, &after)
}

fn heard(playlist: &Path) -> Vec<i16> {
    let rate = SOUND_RATE.to_string();
    let bytes = watch::bytes(playlist, &["-map", "0:a:0", "-ac", "1", "-ar", &rate, "-f", "s16le", "-"]);
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
