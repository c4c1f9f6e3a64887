//! Recipes: for each rendition a digest of all that its bytes depend on, and of nothing else. What an
//! earlier package has by the same recipe needs no encoder, whatever else has changed since.

use std::fmt::Write as _;

use crate::model::sha256::Sha256;
use crate::plan::audio::AudioRendition;
use crate::plan::generation::{FORMAT, Origin, fingerprint};
use crate::plan::hls::HlsPlan;
use crate::plan::ladder::Rendition;
use crate::plan::picture;
use crate::plan::settings::HlsSettings;

/// What the recipes of a package have in common.
#[derive(Clone, Copy)]
pub struct Kitchen<'a> {
    /// What the package is made of.
    pub origin: Origin<'a>,
    /// What is made of it.
    pub plan: &'a HlsPlan,
    /// What the user asked for.
    pub settings: &'a HlsSettings,
}

impl Kitchen<'_> {
    /// Of a rendition of the picture. The larger sizes it is made through are left out: a smaller picture is as
    /// good by way of the one as of the other, and the generation's name tells which ([`super::ladder::lineage`]).
    pub fn picture(&self, number: usize) -> Option<String> {
        let HlsSettings { two_pass, key_frame_seconds, i_frames, profile, .. } = self.settings;
        let rendition = Rendition { through: Vec::new(), ..self.plan.video.get(number)?.clone() };
        let is_copied = number < self.plan.first_encoded();
        let profile = (&profile.preset, &profile.x264, profile.crf_shift, profile.rate);
        Some(self.digest(format_args!(
            "{rendition:?} {is_copied} {two_pass} {key_frame_seconds} {i_frames} {profile:?} {:?}",
            self.plan.shares
        )))
    }

    /// Of a track of sound.
    pub fn sound(&self, track: usize) -> Option<String> {
        let HlsSettings { audio_kbps, loudness, .. } = self.settings;
        let AudioRendition { folder, language, index, timed, .. } = self.plan.audio.get(track)?;
        Some(self.digest(format_args!("{folder} {language} {index} {timed} {audio_kbps} {loudness:?}")))
    }

    /// Of poster and storyboard.
    pub fn stills(&self) -> Option<String> {
        let HlsSettings { poster, storyboard, .. } = *self.settings;
        let largest = self.plan.video.first().filter(|_| poster || storyboard)?;
        let board = picture::storyboard(self.plan);
        Some(self.digest(format_args!("{poster} {storyboard} {} {} {board:?}", largest.width, largest.height)))
    }

    fn digest(&self, own: std::fmt::Arguments<'_>) -> String {
        let HlsSettings { container, encryption, accept_damaged, .. } = self.settings;
        let (Origin { source, ffmpeg, .. }, grid) = (self.origin, &self.plan.grid);
        let mut text = format!("{FORMAT}\n{source}\nffmpeg {ffmpeg}\n{container:?} {accept_damaged}\n");
        if let Some(wish) = encryption {
            writeln!(text, "{:?} {} {}", wish.method, fingerprint(&wish.master_key), wish.rotate).expect(NEVER);
        }
        writeln!(text, "{} {} {}", self.plan.start, grid.rate, grid.frames).expect(NEVER);
        let chunks = (0..grid.chunks()).map(|chunk| grid.chunk(chunk).first_frame);
        let segments = (0..grid.segments()).map(|segment| grid.segment(segment).0);
        writeln!(text, "{:?}\n{:?}\n{own}", chunks.collect::<Vec<_>>(), segments.collect::<Vec<_>>()).expect(NEVER);
        hex::encode(Sha256::digest(text))
    }
}

const NEVER: &str = "writing to a string cannot fail";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hls::plan;
    use crate::plan::hls::tests::{media, settings};
    use crate::plan::settings::Profile;

    /// The recipes of the pictures of ten seconds by name.
    fn of(settings: &HlsSettings, source: &str) -> Vec<(String, String)> {
        let plan = plan(&media(10.0, |_| true), settings).unwrap();
        let origin = Origin { source, beside: None, ffmpeg: "5.1.9", extras: &[], lineage: None };
        let kitchen = Kitchen { origin, plan: &plan, settings };
        let recipe = |(number, one): (usize, &Rendition)| (one.name.clone(), kitchen.picture(number).unwrap());
        plan.video.iter().enumerate().map(recipe).collect()
    }

    #[test]
    fn a_rung_more_changes_no_other() {
        let mut fewer = settings();
        fewer.rungs.retain(|rung| rung.name != "1080p");
        let all = of(&settings(), "a");
        assert_eq!(of(&fewer, "a"), all[1..]);
        let playlists = HlsSettings { dash: true, poster: true, ..settings() };
        assert_eq!(of(&playlists, "a"), all);
    }

    #[test]
    fn what_changes_bytes_changes_the_recipe() {
        let all = of(&settings(), "a");
        assert_ne!(of(&settings(), "b"), all);
        for other in [
            HlsSettings { segment_seconds: 4.0, ..settings() },
            HlsSettings { key_frame_seconds: 1.0, ..settings() },
            HlsSettings { two_pass: true, ..settings() },
            HlsSettings { i_frames: true, ..settings() },
            HlsSettings { profile: Profile { crf_shift: 1.0, ..settings().profile }, ..settings() },
        ] {
            assert!(of(&other, "a").iter().zip(&all).all(|(one, other)| one != other));
        }
        let mut harder = settings();
        harder.rungs[0].max_kbps += 1;
        let changed = of(&harder, "a").iter().zip(&all).filter(|(one, other)| one != other).count();
        assert_eq!(changed, 1);
    }
}
