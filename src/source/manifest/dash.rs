//! What to fetch of a DASH manifest (ISO 23009-1).

use crate::format::mpd::{Presentation, Representation};
use crate::format::playlist::attribute::short;
use crate::format::xml;
use crate::model::failure::Failure;
use crate::model::media::{Place as TextPlace, Text};
use crate::plan::language::Wanted;

use super::hls::{Look, MOST_TEXTS, best};
use super::place::Place;
use super::texts::{Words, left_out};
use super::track::{Piece, Run, Track, Tracks, part};

/// Tracks of sound that are taken, each of another language.
const MOST_SOUNDS: usize = 16;

/// Chooses a picture, all its languages, and its subtitles in those that are wanted, in every period.
pub(super) fn tracks(bytes: &[u8], base: &Place, tallest: u32, wanted: &Wanted) -> Result<Tracks, Failure> {
    let root = xml::read(bytes).map_err(|why| Failure::permanent(format!("the manifest cannot be read: {why}")))?;
    let presentation = Presentation::read(&root);
    let refused = |what: &str| Err(Failure::permanent(format!("the manifest {what}")));
    match () {
        () if !presentation.is_static => {
            let failure = Failure::permanent("the manifest is live (type=\"dynamic\"), so more segments are to come");
            return Err(failure.hint("wait until the stream has ended, and give the address of its recording"));
        }
        () if presentation.cut => return refused("names more segments or representations than anybody needs"),
        () if presentation.linked => {
            return refused("has parts that lie elsewhere (xlink:href), which is not supported");
        }
        () if presentation.representations.is_empty() => return refused("lists no streams"),
        () => (),
    }
    let periods = presentation.representations.iter().map(|one| one.period + 1).max().unwrap_or_default();
    let mut tracks = Tracks { own_sound: true, is_dash: true, ..Tracks::default() };
    let mut languages: Vec<Option<&str>> = Vec::new();
    for number in 0..periods {
        let all: Vec<&Representation> =
            presentation.representations.iter().filter(|one| one.period == number).collect();
        let of_kind =
            |kind: &str| all.iter().copied().filter(|one| one.kind == kind && !one.special).collect::<Vec<_>>();
        let (pictures, sounds) = (of_kind("video"), of_kind("audio"));
        let Some(picture) = best(pictures.iter().map(|one| look(one)), tallest).and_then(|at| pictures.get(at)) else {
            return refused(&format!("lists no picture in period {}", number + 1));
        };
        if number == 0 {
            languages = in_order(&sounds);
            tracks.own_sound = languages.is_empty();
            tracks.all = vec![Track::default(); 1 + languages.len()];
        }
        let wanted = languages.iter().map(|language| {
            let of_language = sounds.iter().filter(|one| one.language.as_deref() == *language);
            let found = of_language.max_by_key(|one| (one.main, one.bandwidth));
            let name = language.unwrap_or("its language");
            found.copied().ok_or_else(|| {
                Failure::permanent(format!("the manifest has no sound in {} in period {}", short(name), number + 1))
            })
        });
        let chosen: Vec<&Representation> = std::iter::once(Ok(*picture)).chain(wanted).collect::<Result<_, _>>()?;
        for (track, one) in tracks.all.iter_mut().zip(chosen) {
            track.runs.push(run(one, base)?);
            track.language = one.language.clone();
            track.bandwidth = one.bandwidth;
        }
    }
    for track in &tracks.all {
        track.check()?;
    }
    texts(&mut tracks, &presentation.representations, periods, base, wanted);
    Ok(tracks)
}

/// Takes the texts of the first period that all others have too.
fn texts(tracks: &mut Tracks, all: &[Representation], periods: usize, base: &Place, wanted: &Wanted) {
    let texts: Vec<&Representation> = all.iter().filter(|one| one.kind == "text" && !one.special).collect();
    let language = |one: &Representation| one.language.clone().unwrap_or_else(|| "und".into());
    let kind = |one: &Representation| (language(one), one.forced, one.caption);
    for first in texts.iter().filter(|one| one.period == 0 && wanted.place(&language(one)).is_some()).take(MOST_TEXTS) {
        let of_period = |period| {
            let alike = |one: &&&Representation| one.period == period && kind(one) == kind(first);
            let one = if period == 0 { Some(first) } else { texts.iter().find(alike) };
            one.ok_or_else(|| Failure::permanent(format!("period {} has none", period + 1)))
        };
        let brought = (0..periods).map(|period| {
            let one = of_period(period)?;
            match one.mime.as_deref() {
                Some("text/vtt") => run(one, base),
                mime => Err(Failure::permanent(format!("they are {}, not text/vtt", short(mime.unwrap_or("untyped"))))),
            }
        });
        match brought.collect::<Result<Vec<Run>, Failure>>() {
            Ok(runs) => tracks.texts.push(Words {
                track: Track { runs, language: first.language.clone(), bandwidth: first.bandwidth },
                text: Text {
                    place: TextPlace::Beside(0),
                    language: language(first),
                    title: None,
                    default: first.main && first.forced,
                    forced: first.forced,
                    hearing_impaired: first.caption,
                },
            }),
            Err(failure) => tracks.skipped.push(left_out(&language(first), &failure)),
        }
    }
}

/// The languages of sounds, those of the main set first.
fn in_order<'a>(sounds: &[&'a Representation]) -> Vec<Option<&'a str>> {
    let mut sounds = sounds.to_vec();
    sounds.sort_by_key(|one| !one.main);
    let mut languages = Vec::new();
    for one in sounds {
        if !languages.contains(&one.language.as_deref()) && languages.len() < MOST_SOUNDS {
            languages.push(one.language.as_deref());
        }
    }
    languages
}

fn look(one: &Representation) -> Look {
    let is_hdr = one.codecs.as_deref().is_some_and(|codecs| codecs.starts_with("dv"));
    Look { size: one.size, is_hdr, frame_rate: one.frame_rate, bandwidth: one.bandwidth }
}

fn run(one: &Representation, base: &Place) -> Result<Run, Failure> {
    let name = short(&one.name);
    if one.protected {
        let what =
            format!("the manifest is encrypted (ContentProtection of representation {name}), which cannot be read");
        return Err(
            Failure::permanent(what).hint("streams with DRM are for licensed players; get the film from who made it")
        );
    }
    if one.unread {
        return Err(Failure::permanent(format!("the segments of representation {name} cannot be made out")));
    }
    // A length that stands for all is that of each to a half of itself (ISO 23009-1, 5.3.9.2.2).
    let usual = one.media.segments.first().filter(|_| one.starts.is_none() && one.media.segments.len() > 1);
    let loose = usual.map_or(0.0, |first| first.seconds / 2.0);
    let mut run = Run { offset: one.offset, loose, ..Run::default() };
    let header = one.media.maps.first();
    // A single file has its header at its beginning.
    let is_single = matches!(&one.media.segments[..], [only] if only.range.is_none()
        && header.is_none_or(|header| header.uri == only.uri));
    if let Some(header) = header.filter(|_| !is_single) {
        let place = base.join(&header.uri)?;
        run.pieces.push(Piece { place, range: part(header.range)?, key: None, seconds: None });
    }
    for segment in &one.media.segments {
        let (place, range) = (base.join(&segment.uri)?, part(segment.range)?);
        run.pieces.push(Piece { place, range, key: None, seconds: Some(segment.seconds.max(0.0)) });
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    const LIST: &str = r#"<MPD type="static" mediaPresentationDuration="PT4S"><BaseURL>http://o/x/</BaseURL><Period>
        <AdaptationSet contentType="video"><SegmentTemplate timescale="1" duration="2" media="$RepresentationID$/$Number$.m4s" initialization="$RepresentationID$/i.mp4"/>
        <Representation id="small" bandwidth="1" width="640" height="360"/><Representation id="large" bandwidth="2" width="1280" height="720"/></AdaptationSet>
        <AdaptationSet contentType="audio" lang="en"><Representation id="en" bandwidth="1"><BaseURL>en.mp4?t=1</BaseURL><SegmentBase indexRange="5-9"/></Representation></AdaptationSet>
        <AdaptationSet contentType="audio" lang="de"><Role value="main"/><Representation id="de" bandwidth="1"><BaseURL>/de.mp4</BaseURL></Representation></AdaptationSet>
        </Period></MPD>"#;

    fn read(text: &str) -> Result<Tracks, Failure> {
        tracks(text.as_bytes(), &Place::Web(Url::parse("https://h/a/m.mpd").unwrap()), 720, &Wanted::All)
    }

    #[test]
    fn pictures_and_languages_are_chosen() {
        let tracks = read(LIST).unwrap();
        let first = |track: &Track| track.runs[0].pieces[0].place.stable();
        let names: Vec<_> = tracks.all.iter().map(first).collect();
        assert_eq!(names[..2], ["http://o/x/large/i.mp4", "http://o/de.mp4"]);
        assert!(names[2].starts_with("http://o/x/en.mp4?"));
        let pieces: Vec<_> = tracks.all.iter().map(|track| track.runs[0].pieces.len()).collect();
        assert_eq!((pieces, tracks.all[0].seconds(), tracks.own_sound), (vec![3, 1, 1], 4.0, false));
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, words: &str) {
        assert!(LIST.contains(from));
        let refusal = read(&LIST.replace(from, to)).unwrap_err();
        assert!(refusal.what.contains(words), "{}", refusal.what);
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        check_refused("static", "dynamic", "live");
        check_refused("<Role", "<ContentProtection/><Role", "encrypted");
        check_refused("<Period>", "<Period xlink:href='http://o/p'>", "xlink");
        check_refused("<MPD", "<!DOCTYPE x><MPD", "document type");
        check_refused("<BaseURL>/de.mp4", "<BaseURL>file:///etc/passwd", "`file:` is refused");
        check_refused("duration=\"2\"", "", "cannot be made out");
        check_refused("PT4S", "P99999999D", "cannot be made out");
        check_refused("contentType=\"video\"", "contentType=\"image\"", "no picture");
    }
}
