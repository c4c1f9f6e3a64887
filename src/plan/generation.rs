//! The name of a generation: the same source, plan and tools give the same
//! name, so that every attempt writes the same objects.

use crate::model::secret::Secret;
use crate::model::sha256::Sha256;
use crate::plan::language::Wanted;
use crate::plan::settings::{Codec, Container, HlsSettings, Method};

/// Raised whenever the same plan would give other bytes than before.
pub(super) const FORMAT: &str = "forebay-hls-5";

/// A digest of the settings that shape a package, for "was this made with the same settings?".
pub fn settings_digest(settings: &HlsSettings) -> String {
    let mut text = format!(
        "{FORMAT}\nsegment {}\nkey-frames {}\ntwo-pass {}\ncopy {:?}\naudio {}\naccept-damaged {}\nprofile {} {} {} {}\n",
        settings.segment_seconds,
        settings.key_frame_seconds,
        settings.two_pass,
        settings.copy_over,
        settings.audio_kbps,
        settings.accept_damaged,
        settings.profile.preset,
        settings.profile.x264,
        settings.profile.crf_shift,
        settings.profile.rate,
    );
    if let Some(quality) = settings.quality {
        text.extend(["quality ", quality.metric.name(), "=", &quality.target.to_string(), "\n"]);
    }
    let mut rungs: Vec<String> = settings
        .rungs
        .iter()
        .map(|rung| format!("rung {} {} {} {}\n", rung.name, rung.short_side, rung.crf, rung.max_kbps))
        .collect();
    rungs.sort();
    text.extend(rungs);
    if settings.container == Container::Fmp4 {
        text.push_str("fmp4\n");
    }
    if settings.dash {
        text.push_str("dash\n");
    }
    if let Some(loudness) = settings.loudness {
        text.extend(["loudness ", &loudness.to_string(), "\n"]);
    }
    for (name, wanted) in [("audio", &settings.audio), ("subtitles", &settings.subtitles)] {
        if *wanted != Wanted::All {
            text.extend([name, " ", &format!("{wanted:?}"), "\n"]);
        }
    }
    let wishes =
        [("i-frames\n", settings.i_frames), ("poster\n", settings.poster), ("storyboard\n", settings.storyboard)];
    text.extend(wishes.into_iter().filter(|wish| wish.1).map(|wish| wish.0));
    if settings.codecs != [Codec::H264] {
        text.extend(settings.codecs.iter().map(|codec| format!("codec {}\n", codec.name())));
        text.push_str(if settings.keep_hdr { "hdr\n" } else { "no-hdr\n" });
    }
    if let Some(encryption) = &settings.encryption {
        let key = fingerprint(&encryption.master_key);
        let method = match encryption.method {
            Method::Aes128 => "aes-128 ",
            Method::Cbcs => "cbcs ",
        };
        text.extend([method, &key, " ", &encryption.rotate.to_string(), " ", &encryption.key_uri, "\n"]);
    }
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// What a package is made of, besides its settings.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// SHA-256 of the source, in hex.
    pub source: &'a str,
    /// Digest of the subtitles that lie beside the source, if any do.
    pub beside: Option<&'a str>,
    /// The version of the encoder.
    pub ffmpeg: &'a str,
    /// What packages of such sources did not have from the first version on, such as `chapters`.
    pub extras: &'a [&'a str],
    /// What is kept of an earlier package and would come out otherwise now ([`super::ladder::lineage`]).
    pub lineage: Option<&'a str>,
}

/// The generation's name: 20 hex digits.
pub fn name(origin: &Origin<'_>, settings: &HlsSettings) -> String {
    let Origin { source, beside, ffmpeg, extras, lineage } = origin;
    let mut text = format!("{source}\n{}\nffmpeg {ffmpeg}\n", settings_digest(settings));
    if let Some(beside) = beside {
        text.extend(["beside ", beside, "\n"]);
    }
    for extra in *extras {
        text.extend([extra, "\n"]);
    }
    if let Some(lineage) = lineage {
        text.extend(["kept\n", lineage]);
    }
    let mut name = hex::encode(Sha256::digest(text.as_bytes()));
    name.truncate(20);
    name
}

/// Tells two master keys apart without telling anything of either.
pub(super) fn fingerprint(key: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update("forebay key fingerprint\n");
    hash.update(key.expose());
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hls::tests::settings;
    use crate::plan::settings::Encryption;

    #[test]
    fn what_changes_bytes_changes_the_name() {
        let origin = Origin { source: "abc", beside: None, ffmpeg: "5.1.9", extras: &[], lineage: None };
        let plain = name(&origin, &settings());
        assert_eq!(plain, name(&origin, &settings()));
        for other in [
            Origin { source: "abd", ..origin },
            Origin { beside: Some("def"), ..origin },
            Origin { ffmpeg: "8.1", ..origin },
            Origin { extras: &["chapters"], ..origin },
            Origin { lineage: Some("360p through [(1280, 720)]\n"), ..origin },
        ] {
            assert_ne!(plain, name(&other, &settings()));
        }
        let encrypted = |key: u8| HlsSettings {
            encryption: Some(Encryption {
                method: Method::Aes128,
                master_key: Secret::new(vec![key; 16]),
                key_uri: "k".into(),
                rotate: 0,
            }),
            ..settings()
        };
        assert_ne!(name(&origin, &encrypted(1)), name(&origin, &encrypted(2)));
        for other in [
            HlsSettings { container: Container::Fmp4, ..settings() },
            HlsSettings { dash: true, ..settings() },
            HlsSettings { loudness: Some(-23.0), ..settings() },
            HlsSettings { audio: Wanted::None, ..settings() },
            HlsSettings { subtitles: Wanted::None, ..settings() },
            HlsSettings { i_frames: true, ..settings() },
            HlsSettings { poster: true, ..settings() },
            HlsSettings { storyboard: true, ..settings() },
            HlsSettings { codecs: vec![Codec::H264, Codec::Hevc], ..settings() },
        ] {
            assert_ne!(plain, name(&origin, &other));
        }
    }
}
