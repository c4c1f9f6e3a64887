//! What to fetch of an HLS playlist (RFC 8216).

use std::cmp::Reverse;

use crate::format::playlist::attribute::short;
use crate::format::playlist::master::{Master, Rendition, Variant};
use crate::format::playlist::media::Media;
use crate::format::playlist::{Kind, Playlist};
use crate::model::failure::Failure;
use crate::model::media::{Place as TextPlace, Text};
use crate::plan::ladder::covers;
use crate::plan::language::Wanted;

use super::place::Place;
use super::texts::Words;
use super::track::{Piece, Run, Track, part};

/// Tracks of sound that are taken, each of another language.
const MOST_SOUNDS: usize = 16;

/// Tracks of text that are taken.
pub(super) const MOST_TEXTS: usize = 32;

/// Keys of codecs of the picture, by their beginnings (RFC 6381).
const PICTURES: [&str; 12] = ["avc", "hvc", "hev", "dvh", "dva", "av01", "vp08", "vp09", "vp8", "vp9", "mp4v", "dav1"];

/// What was chosen of a master playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// The playlist of the picture.
    pub(super) picture: String,
    pub(super) bandwidth: Option<u64>,
    /// The playlists of sound, the default first, and their languages.
    pub(super) sounds: Vec<(String, Option<String>)>,
    /// Whether sound lies beside the picture.
    pub(super) own_sound: bool,
    /// The tracks of text that are wanted, each with its playlist and still without segments.
    pub(super) texts: Vec<(String, Words)>,
}

/// A picture as a manifest describes it, so that one can be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) size: Option<(u64, u64)>,
    pub(super) is_hdr: bool,
    pub(super) frame_rate: Option<f64>,
    pub(super) bandwidth: Option<u64>,
}

/// The best of several pictures: the smallest that a rung with this short side can be made of, else
/// the largest; of that size the one in SDR, with more frames, with more bits.
pub(super) fn best(looks: impl Iterator<Item = Look>, tallest: u32) -> Option<usize> {
    let rank = |look: &Look| {
        let (width, height) = look.size.unwrap_or_default();
        let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        let enough = covers(side(width).max(1), side(height).max(1), tallest);
        let area = width.saturating_mul(height);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let rate = look.frame_rate.map_or(0, |rate| (rate * 1000.0) as u64);
        let closeness = if enough { u64::MAX - area } else { area };
        (enough, closeness, !look.is_hdr, rate, look.bandwidth.unwrap_or_default())
    };
    looks.enumerate().max_by_key(|(at, look)| (rank(look), Reverse(*at))).map(|(at, _)| at)
}

/// Refuses a playlist of which something was left out.
pub(super) fn whole(playlist: &Playlist) -> Result<(), Failure> {
    match playlist.problems.iter().find(|problem| problem.what.ends_with("the rest was not read")) {
        Some(problem) => {
            Err(Failure::permanent(format!("the playlist has {}", problem.what.replace(": the rest was not read", ""))))
        }
        None => Ok(()),
    }
}

/// Chooses a picture, all its languages, and its subtitles in those that are wanted.
pub(super) fn choose(master: &Master, tallest: u32, wanted: &Wanted) -> Result<Choice, Failure> {
    let pictures: Vec<&Variant> = master.variants.iter().filter(|variant| has_picture(variant)).collect();
    let found = best(pictures.iter().map(|variant| look(variant)), tallest).and_then(|at| pictures.get(at));
    let variant = found.ok_or_else(|| {
        let why = if master.variants.is_empty() { "lists no streams" } else { "lists no stream with a picture" };
        Failure::permanent(format!("the playlist {why}"))
    })?;
    let in_group =
        |rendition: &&Rendition| rendition.kind == "AUDIO" && variant.audio.as_ref() == Some(&rendition.group);
    let mut all: Vec<&Rendition> = master.renditions.iter().filter(in_group).collect();
    // Stable: among equals the order of the playlist holds.
    all.sort_by_key(|rendition| (!rendition.default, !rendition.autoselect));
    let mut languages = Vec::new();
    all.retain(|rendition| {
        let language = rendition.language.as_ref().map(|language| language.to_ascii_lowercase());
        let is_new = !languages.contains(&language);
        languages.push(language);
        is_new
    });
    all.truncate(MOST_SOUNDS);
    let own_sound = all.is_empty() || all.iter().any(|rendition| rendition.uri.is_none());
    let sounds = all.into_iter().filter_map(|one| Some((one.uri.clone()?, one.language.clone()))).collect();
    Ok(Choice {
        picture: variant.uri.clone(),
        bandwidth: variant.average_bandwidth.or(variant.bandwidth),
        sounds,
        own_sound,
        texts: texts(master, variant, wanted),
    })
}

fn texts(master: &Master, variant: &Variant, wanted: &Wanted) -> Vec<(String, Words)> {
    let in_group = |one: &&Rendition| {
        one.kind == "SUBTITLES" && variant.subtitles.as_ref().is_some_and(|group| *group == one.group)
    };
    let words = |one: &Rendition| {
        let tells_of = |what: &str| one.characteristics.as_ref().is_some_and(|all| all.contains(what));
        let text = Text {
            place: TextPlace::Beside(0),
            language: one.language.clone().unwrap_or_else(|| "und".into()),
            title: Some(one.name.clone()).filter(|name| !name.is_empty()),
            default: one.default,
            forced: one.forced,
            // Apple's HLS authoring specification, 5.9.
            hearing_impaired: tells_of("public.accessibility.describes-music-and-sound"),
        };
        Some((one.uri.clone()?, Words { track: Track::default(), text }))
    };
    let all = master.renditions.iter().filter(in_group).filter_map(words);
    all.filter(|(_, words)| wanted.place(&words.text.language).is_some()).take(MOST_TEXTS).collect()
}

fn look(variant: &Variant) -> Look {
    let dolby = |codecs: &String| codecs.split(',').any(|codec| codec.trim().starts_with("dv"));
    let is_hdr = variant.video_range.as_deref().is_some_and(|range| range != "SDR")
        || variant.codecs.as_ref().is_some_and(dolby);
    Look { size: variant.resolution, is_hdr, frame_rate: variant.frame_rate, bandwidth: variant.bandwidth }
}

fn has_picture(variant: &Variant) -> bool {
    let is_picture = |codec: &str| PICTURES.iter().any(|known| codec.trim().starts_with(known));
    variant.resolution.is_some() || variant.codecs.as_ref().is_none_or(|codecs| codecs.split(',').any(is_picture))
}

/// The segments of a playlist that lies at `base`.
pub(super) fn track(playlist: &Playlist, base: &Place) -> Result<Track, Failure> {
    whole(playlist)?;
    let media = match &playlist.kind {
        Kind::Media(media) => media,
        Kind::Master(_) => return Err(Failure::permanent("the playlist names a playlist that names others again")),
    };
    let refused = |what: &str| Err(Failure::permanent(format!("the playlist {what}")));
    match () {
        () if media.segments.is_empty() => return refused("lists no segments"),
        () if !media.ended && media.playlist_type.as_deref() != Some("VOD") => {
            let failure =
                Failure::permanent("the playlist is live: it has no EXT-X-ENDLIST, so more segments are to come");
            return Err(failure.hint("wait until the stream has ended, and give the address of its recording"));
        }
        () if media.iframes_only => return refused("has key frames only (EXT-X-I-FRAMES-ONLY)"),
        () => (),
    }
    let mut track = Track::default();
    let mut map = None;
    for (at, segment) in (0..).zip(&media.segments) {
        if segment.gap {
            return refused(&format!("says that segment `{}` is not there (EXT-X-GAP)", short(&segment.uri)));
        }
        if at == 0 || segment.discontinuity || segment.map != map {
            track.runs.push(Run::default());
            map = segment.map;
            let header = map.and_then(|map| media.maps.get(map));
            if let (Some(header), Some(run)) = (header, track.runs.last_mut()) {
                let key = key(media, header.key, media.sequence.wrapping_add(at), base)?;
                let place = base.join(&header.uri)?;
                run.pieces.push(Piece { place, range: part(header.range)?, key, seconds: None });
            }
        }
        let key = key(media, segment.key, media.sequence.wrapping_add(at), base)?;
        let (place, range) = (base.join(&segment.uri)?, part(segment.range)?);
        if let Some(run) = track.runs.last_mut() {
            run.pieces.push(Piece { place, range, key, seconds: Some(segment.seconds) });
        }
    }
    track.check()?;
    Ok(track)
}

/// Key and IV. Without an IV it is the number of the segment (RFC 8216, 5.2).
fn key(media: &Media, index: Option<usize>, number: u64, base: &Place) -> Result<Option<(Place, [u8; 16])>, Failure> {
    let Some(key) = index.and_then(|index| media.keys.get(index)) else { return Ok(None) };
    let drm = key.format.as_deref().filter(|format| *format != "identity");
    if key.method != "AES-128" || drm.is_some() {
        let by = drm.map(|format| format!(" for `{}`", short(format))).unwrap_or_default();
        let what = format!("the playlist is encrypted by {}{by}", short(&key.method));
        return Err(Failure::permanent(format!("{what}, and only plain AES-128 can be read"))
            .hint("streams with DRM are for licensed players; get the film from who made it"));
    }
    let uri = key.uri.as_deref().ok_or_else(|| Failure::permanent("the playlist is encrypted and names no key"))?;
    let iv = key.iv.unwrap_or_else(|| u128::from(number).to_be_bytes());
    Ok(Some((base.join(uri)?, iv)))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use crate::format::playlist::read;

    use super::*;

    fn base() -> Place {
        Place::Web(Url::parse("https://h/a/list.m3u8?t=1").unwrap())
    }

    #[track_caller]
    fn check_size(tallest: u32, wanted: &str) {
        let sizes = ["640x360", "1280x720", "1920x1080", "3840x2160"];
        let lines = sizes.map(|size| format!("#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION={size}\n{size}.m3u8\n"));
        let better = "#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=1280x720\n1280x720-better.m3u8\n";
        let hdr = "#EXT-X-STREAM-INF:BANDWIDTH=99,RESOLUTION=1920x1080,VIDEO-RANGE=PQ\nhdr.m3u8\n";
        let sound = "#EXT-X-STREAM-INF:BANDWIDTH=999,CODECS=\"mp4a.40.2\"\nsound.m3u8\n";
        let Kind::Master(master) = read(format!("#EXTM3U\n{}{better}{hdr}{sound}", lines.concat()).as_bytes()).kind
        else {
            panic!("not a master")
        };
        assert_eq!(choose(&master, tallest, &Wanted::All).unwrap().picture, format!("{wanted}.m3u8"));
    }

    #[test]
    fn the_smallest_picture_that_is_enough_is_taken() {
        check_size(360, "640x360");
        check_size(480, "1280x720-better");
        check_size(1080, "1920x1080");
        check_size(4320, "3840x2160");
    }

    #[test]
    fn every_language_is_taken_once_and_the_default_first() {
        let sound = |name: &str, more: &str| format!("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"{name}\",{more}\n");
        let text = [
            "#EXTM3U\n".to_owned(),
            sound("Deutsch", "LANGUAGE=\"de\",URI=\"de.m3u8\""),
            sound("English", "LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,URI=\"en.m3u8\""),
            sound("for the blind", "LANGUAGE=\"en\",AUTOSELECT=YES,URI=\"ad.m3u8\""),
            sound("Deutsch", "LANGUAGE=\"de\",FORCED=YES,URI=\"de.text\"").replace("AUDIO", "SUBTITLES"),
            sound("English", "LANGUAGE=\"en\",URI=\"en.text\"").replace("AUDIO", "SUBTITLES"),
            "#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\",SUBTITLES=\"a\"\nv.m3u8\n".to_owned(),
        ];
        let Kind::Master(master) = read(text.concat().as_bytes()).kind else { panic!("not a master") };
        let choice = choose(&master, 1080, &Wanted::parse("de").unwrap()).unwrap();
        let sounds: Vec<_> = choice.sounds.iter().map(|(uri, _)| uri.as_str()).collect();
        assert_eq!((sounds, choice.own_sound), (vec!["en.m3u8", "de.m3u8"], false));
        let texts: Vec<_> = choice.texts.iter().map(|(uri, words)| (uri.as_str(), words.text.forced)).collect();
        assert_eq!(texts, [("de.text", true)]);
    }

    const LIST: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:258\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:2,\na.ts?x=1\n#EXTINF:2,\nb.ts\n\
        #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:1,\nc.ts\n#EXT-X-ENDLIST\n";

    #[test]
    fn segments_have_places_keys_and_runs() {
        let track = track(&read(LIST.as_bytes()), &base()).unwrap();
        let lengths: Vec<_> = track.runs.iter().map(|run| run.pieces.len()).collect();
        assert_eq!((lengths, track.seconds()), (vec![2, 1], 5.0));
        let first = &track.runs[0].pieces;
        assert_eq!(first[0].place, base().join("https://h/a/a.ts?x=1").unwrap());
        let (place, iv) = first[1].key.clone().unwrap();
        assert_eq!((place, hex::encode(iv)), (base().join("k").unwrap(), format!("{:032x}", 259)));
        assert_eq!(track.runs[1].pieces[0].key, None);
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, words: &str) {
        assert!(LIST.contains(from));
        let refusal = track(&read(LIST.replace(from, to).as_bytes()), &base()).unwrap_err();
        assert!(refusal.what.contains(words), "{}", refusal.what);
    }

    #[test]
    fn what_cannot_be_a_whole_film_is_refused() {
        check_refused("#EXT-X-ENDLIST", "", "live");
        check_refused("AES-128", "SAMPLE-AES", "SAMPLE-AES");
        check_refused("URI=\"k\"", "URI=\"k\",KEYFORMAT=\"com.apple.streamingkeydelivery\"", "com.apple");
        check_refused("b.ts", "file:///etc/passwd", "`file:` is refused");
        check_refused("#EXTINF:1", "#EXT-X-GAP\n#EXTINF:1", "EXT-X-GAP");
        check_refused("b.ts", "#EXT-X-BYTERANGE:5\nb.ts", "without saying where");
        check_refused("b.ts", "#EXT-X-BYTERANGE:0@5\nb.ts", "without bytes");
        check_refused("b.ts", "#EXT-X-BYTERANGE:2@18446744073709551615\nb.ts", "without bytes");
        let many = "#EXTINF:1,\nx.ts\n".repeat(300_000);
        check_refused("#EXTINF:1,\nc.ts\n", &many, "more than");
    }
}
