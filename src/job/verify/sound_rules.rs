//! R38: the codec, the rate and the channels of the sound.

use super::finding::Findings;
use super::inside::Audio;
use super::master_rules::first_inside;
use super::package::{Package, Rendition};

/// HE-AAC is made for few bits; above this plain AAC is better.
const HE_AAC_MOST: f64 = 70_000.0;

/// Checks every rendition that carries sound, then all together.
pub(super) fn check(package: &Package, findings: &mut Findings) {
    let mut channels = Vec::new();
    for rendition in &package.renditions {
        let Some(audio) = first_inside(rendition).and_then(|inside| inside.audio.as_ref()) else { continue };
        check_one(rendition, audio, findings);
        let stereo = audio.sound.is_none_or(|sound| sound.channels <= 2);
        channels.push(stereo && audio.codec.as_deref().is_none_or(|codec| codec.starts_with("mp4a.40.")));
    }
    if !channels.is_empty() && !channels.contains(&true) {
        findings.apple("R38", &package.address.path, "there is no sound in stereo AAC");
    }
}

fn check_one(rendition: &Rendition, audio: &Audio, findings: &mut Findings) {
    let path = &rendition.address.path;
    if let Some(codec) = &audio.codec {
        const KNOWN: [&str; 7] = ["mp4a.40.2", "mp4a.40.5", "mp4a.40.29", "mp4a.40.42", "ac-3", "ec-3", "flac"];
        if !KNOWN.contains(&codec.as_str()) {
            findings.apple("R38", path, format!("the sound is {codec}"));
        }
    }
    let Some(sound) = audio.sound else { return };
    let rate = sound.rate;
    // The headers of HE-AAC may say half of the real rate.
    if rate > 0 && ![44_100, 48_000].contains(&rate) && ![22_050, 24_000].contains(&rate) {
        findings.warning("R38", path, format!("the sound has {rate} samples a second, not 44100 or 48000"));
    } else if [22_050, 24_000].contains(&rate) && sound.object_type == Some(2) && !package_says_he(audio) {
        findings.warning("R38", path, format!("the sound has {rate} samples a second, unless it is HE-AAC"));
    }
    let alone = first_inside(rendition).is_some_and(|inside| inside.video.is_none());
    if alone && matches!(sound.object_type, Some(5 | 29)) {
        let bits: u64 = rendition.facts.iter().flatten().map(|facts| facts.bytes * 8).sum();
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        let rate = bits as f64 / rendition.seconds().max(0.001);
        if rate > HE_AAC_MOST {
            findings.apple("R38", path, format!("{rate:.0} bit/s are too many for HE-AAC"));
        }
    }
}

fn package_says_he(audio: &Audio) -> bool {
    audio.codec.as_deref().is_some_and(|codec| matches!(codec, "mp4a.40.5" | "mp4a.40.29"))
}
