//! What a DASH manifest says, as renditions with segments, each at its time.

use url::Url;

use super::playlist::attribute::short;
use super::playlist::media::{Map, Media, Range, Segment};
use super::xml::Element;

/// Segments of one manifest; more are hostile.
const SEGMENTS: usize = 200_000;

/// Faults of one manifest that are told.
const FAULTS: usize = 200;

/// Representations of one manifest.
const REPRESENTATIONS: usize = 200;

/// A static presentation.
#[derive(Debug, Default)]
pub struct Presentation {
    /// Whether it is not live.
    pub is_static: bool,
    /// How long it says it is.
    pub seconds: Option<f64>,
    /// Everything in every period, in order.
    pub representations: Vec<Representation>,
    /// Whether there is more than was read.
    pub cut: bool,
    /// Whether a part of it lies elsewhere (`xlink:href`).
    pub linked: bool,
    /// What is wrong, with the rule it is against.
    pub faults: Vec<(&'static str, String)>,
    segments: usize,
}

/// One encoding of one stream, in one period.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is said of it by itself")]
pub struct Representation {
    /// Its id, and of which period.
    pub name: String,
    /// The period it is of, from 0.
    pub period: usize,
    /// The adaptation set it is of, from 0 in each period.
    pub set: usize,
    /// `video`, `audio` or `text`.
    pub kind: String,
    /// Bits a second.
    pub bandwidth: Option<u64>,
    /// As written.
    pub codecs: Option<String>,
    /// Width and height.
    pub size: Option<(u64, u64)>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// RFC 5646 tag.
    pub language: Option<String>,
    /// Whether its set is the main one of its kind, by Role.
    pub main: bool,
    /// Whether its set is for few: for trick play, for the blind, or in need of what we do not know.
    pub special: bool,
    /// Whether it is text for those who have not asked for subtitles, by Role.
    pub forced: bool,
    /// Whether it is text that tells of sounds as well, by Role.
    pub caption: bool,
    /// Its media type.
    pub mime: Option<String>,
    /// Whether it is encrypted (`ContentProtection`).
    pub protected: bool,
    /// Seconds of its period, if they are said.
    pub seconds: Option<f64>,
    /// The media's own time at which its period begins, in seconds (presentationTimeOffset).
    pub offset: f64,
    /// Whether its segments could not be made out.
    pub unread: bool,
    /// Its segments.
    pub media: Media,
    /// When each segment begins in the media's own time, in seconds; `None` where only its length is said.
    pub starts: Option<Vec<f64>>,
    /// Bytes of the index of a single file.
    pub index: Option<Range>,
}

/// Where an element stands: what it inherits.
#[derive(Clone, Default)]
struct Scope<'a> {
    base: String,
    /// From the outermost to the innermost.
    around: Vec<&'a Element>,
    seconds: Option<f64>,
}

impl<'a> Scope<'a> {
    fn within(&self, element: &'a Element) -> Self {
        let mut scope = self.clone();
        if let Some(base) = element.first("BaseURL") {
            scope.base = joined(&scope.base, base.text.trim());
        }
        scope.around.push(element);
        scope
    }

    /// The nearest value of an attribute.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.around.iter().rev().find_map(|element| element.get(name))
    }

    /// What the adaptation set is for.
    fn roles(&self) -> impl Iterator<Item = &'a str> {
        self.around.iter().flat_map(|element| element.all("Role")).filter_map(|role| role.get("value"))
    }

    /// Whether this is nothing for everybody. What a client does not know and is told to be
    /// essential it has to leave alone (ISO 23009-1, 5.8.4.8); colours it knows.
    fn is_special(&self) -> bool {
        let known = |property: &&Element| {
            property.get("schemeIdUri").is_some_and(|uri| uri.starts_with("urn:mpeg:mpegB:cicp:"))
        };
        let mut essential = self.around.iter().flat_map(|element| element.all("EssentialProperty"));
        let described = |role: &str| matches!(role, "description" | "commentary" | "sign" | "karaoke");
        essential.any(|property| !known(&property)) || self.roles().any(described)
    }

    /// The elements of that name around, the nearest first.
    fn all(&self, name: &'a str) -> Vec<&'a Element> {
        self.around.iter().rev().filter_map(|element| element.first(name)).collect()
    }
}

/// The rates of ISO 23009-1: `25` or `30000/1001`.
fn rate(text: &str) -> Option<f64> {
    let (over, under) = text.split_once('/').unwrap_or((text, "1"));
    let (over, under): (f64, f64) = (over.trim().parse().ok()?, under.trim().parse().ok()?);
    Some(over / under).filter(|rate| rate.is_finite() && *rate > 0.0)
}

/// A URL below another one, both perhaps relative.
fn joined(base: &str, url: &str) -> String {
    if url.is_empty() {
        return base.to_owned();
    }
    if base.is_empty() || Url::parse(url).is_ok() {
        return url.to_owned();
    }
    if let Ok(base) = Url::parse(base) {
        return base.join(url).map_or_else(|_| url.to_owned(), Into::into);
    }
    if url.starts_with('/') {
        return url.to_owned();
    }
    let base = base.split(['?', '#']).next().unwrap_or_default();
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.is_empty() { url.to_owned() } else { format!("{folder}/{url}") }
}

impl Presentation {
    /// Makes sense of the root element.
    pub fn read(root: &Element) -> Self {
        let mut found = Self::default();
        if root.name != "MPD" {
            found.faults.push(("R56", format!("the root is `{}` and not MPD", short(&root.name))));
            return found;
        }
        found.is_static = root.get("type").is_none_or(|kind| kind == "static");
        if !found.is_static {
            found.faults.push(("R56", "the presentation is not static: only what it lists now is looked at".into()));
        }
        found.seconds = root.get("mediaPresentationDuration").and_then(duration);
        let scope = Scope::default().within(root);
        let periods: Vec<&Element> = root.all("Period").collect();
        if periods.is_empty() {
            found.faults.push(("R56", "there is no Period".into()));
        }
        for (index, period) in periods.iter().enumerate() {
            let mut scope = scope.within(period);
            let own = period.get("duration").and_then(duration);
            let next = periods.get(index + 1).and_then(|next| next.get("start")).and_then(duration);
            let start = period.get("start").and_then(duration).unwrap_or_default();
            scope.seconds = own.or(next.or(found.seconds).map(|end| end - start));
            found.linked |= period.get("href").is_some();
            for (number, set) in period.all("AdaptationSet").enumerate() {
                found.linked |= set.get("href").is_some();
                let scope = scope.within(set);
                for representation in set.all("Representation") {
                    if found.representations.len() == REPRESENTATIONS {
                        found.faults.push(("R56", format!("more than {REPRESENTATIONS} representations")));
                        found.cut = true;
                        return found;
                    }
                    if !found.cut {
                        found.representation(&scope.within(representation), (index, number));
                    }
                }
            }
        }
        if found.representations.is_empty() {
            found.faults.push(("R56", "there is no Representation".into()));
        }
        found
    }

    fn representation(&mut self, scope: &Scope<'_>, (period, set): (usize, usize)) {
        let id = scope.get("id").unwrap_or("?").to_owned();
        let name = if period == 0 { id.clone() } else { format!("{id} of period {}", period + 1) };
        let kind = scope.get("contentType").or_else(|| scope.get("mimeType")?.split('/').next());
        let number = |name: &str| scope.get(name).and_then(|value| value.parse().ok());
        let mut representation = Representation {
            name,
            period,
            set,
            frame_rate: scope.get("frameRate").and_then(rate),
            language: scope.get("lang").map(ToOwned::to_owned),
            main: scope.roles().any(|role| role == "main"),
            forced: scope.roles().any(|role| matches!(role, "forced-subtitle" | "forced_subtitle")),
            caption: scope.roles().any(|role| role == "caption"),
            mime: scope.get("mimeType").map(ToOwned::to_owned),
            special: scope.is_special(),
            protected: scope.around.iter().any(|element| element.first("ContentProtection").is_some()),
            seconds: scope.seconds,
            kind: match kind {
                Some("application") => "text".into(),
                kind => kind.unwrap_or_default().to_owned(),
            },
            bandwidth: number("bandwidth"),
            codecs: scope.get("codecs").map(ToOwned::to_owned),
            size: number("width").zip(number("height")),
            ..Representation::default()
        };
        if representation.bandwidth.is_none() {
            self.faults.push(("R58", format!("representation {} has no bandwidth", short(&id))));
        }
        let templates = scope.all("SegmentTemplate");
        let lists = scope.all("SegmentList");
        let filled = if !templates.is_empty() {
            self.template(&mut representation, scope, &templates, &id)
        } else if !lists.is_empty() {
            self.list(&mut representation, scope, &lists)
        } else {
            single(&mut representation, scope);
            Some(())
        };
        let bases = templates.iter().chain(&lists).copied().chain(scope.all("SegmentBase"));
        let base = bases.filter_map(|base| Some((base.number("presentationTimeOffset")?, base.number("timescale"))));
        representation.offset =
            base.map(|(at, scale)| float(at) / float(scale.unwrap_or(1).max(1))).next().unwrap_or(0.0);
        representation.unread = filled.is_none() || representation.media.segments.is_empty();
        if filled.is_none() {
            self.faults.push(("R56", format!("the segments of {} cannot be read", short(&id))));
        }
        self.segments += representation.media.segments.len();
        self.representations.push(representation);
    }

    /// Notes what is wrong, as long as a person would read it.
    fn fault(&mut self, rule: &'static str, what: String) {
        if self.faults.len() < FAULTS {
            self.faults.push((rule, what));
        }
    }

    fn room(&self, taken: usize) -> bool {
        self.segments + taken < SEGMENTS
    }

    fn template(&mut self, to: &mut Representation, scope: &Scope<'_>, templates: &[&Element], id: &str) -> Option<()> {
        let get = |name: &str| templates.iter().find_map(|template| template.get(name));
        let number = |name: &str| get(name).and_then(|value| value.trim().parse::<u64>().ok());
        let timescale = number("timescale").filter(|&scale| scale > 0).unwrap_or(1);
        let first = number("startNumber").unwrap_or(1);
        let bandwidth = to.bandwidth.unwrap_or_default();
        if let Some(pattern) = get("initialization") {
            let uri = filled(pattern, &Values { id, bandwidth, number: 0, time: 0 })?;
            to.media.maps.push(Map { line: 1, uri: joined(&scope.base, &uri), ..Map::default() });
        }
        let pattern = get("media")?;
        let map = (!to.media.maps.is_empty()).then_some(0);
        let timeline = templates.iter().find_map(|template| template.first("SegmentTimeline"));
        let steps = if let Some(timeline) = timeline {
            self.timeline(timeline, timescale, scope.seconds, id)
        } else {
            even(number("duration").filter(|&length| length > 0)?, timescale, scope.seconds?)?
        };
        let mut starts = Vec::new();
        let steps = match number("endNumber").and_then(|end| end.checked_sub(first)) {
            Some(last) => {
                steps.into_iter().take(usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1)).collect()
            }
            None => steps,
        };
        for (at, &(time, length)) in (0..).zip(&steps) {
            if !self.room(starts.len()) {
                self.faults.push(("R56", format!("more than {SEGMENTS} segments: the rest was not read")));
                self.cut = true;
                break;
            }
            let uri = filled(pattern, &Values { id, bandwidth, number: first.checked_add(at)?, time })?;
            let seconds = float(length) / float(timescale);
            to.media.segments.push(Segment { uri: joined(&scope.base, &uri), seconds, map, ..segment() });
            starts.push(float(time) / float(timescale));
        }
        if timeline.is_some() {
            to.starts = Some(starts);
        } else if let (Some(total), Some(last)) = (scope.seconds, to.media.segments.last_mut()) {
            // The last segment is as long as what is left.
            last.seconds = total - starts.last().copied().unwrap_or_default();
        }
        Some(())
    }

    /// Times and lengths of a timeline. Gaps are faults.
    fn timeline(&mut self, timeline: &Element, timescale: u64, seconds: Option<f64>, id: &str) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let mut now = 0_u64;
        let all: Vec<&Element> = timeline.all("S").collect();
        for (index, step) in all.iter().enumerate() {
            let Some(length) = step.number("d").filter(|&length| length > 0) else {
                self.fault("R57", format!("a step in the timeline of {} has no length", short(id)));
                continue;
            };
            let start = step.number("t").unwrap_or(now);
            if start != now && !steps.is_empty() && start.abs_diff(now) > timescale / 1000 {
                let what = if start > now { "a gap" } else { "an overlap" };
                let off = float(start.abs_diff(now)) / float(timescale);
                self.fault("R57", format!("the timeline of {} has {what} of {off:.3} s", short(id)));
            }
            now = start;
            let repeats = match step.get("r").and_then(|value| value.trim().parse::<i64>().ok()) {
                Some(repeats @ 0..) => repeats.unsigned_abs(),
                // Up to the next step or the end.
                Some(_) => {
                    let end = all.get(index + 1).and_then(|next| next.number("t"));
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
                    let end = end.or(seconds.map(|seconds| (seconds * float(timescale)) as u64)).unwrap_or(now);
                    (end.saturating_sub(now)).div_ceil(length).saturating_sub(1)
                }
                None => 0,
            };
            for _ in 0..=repeats {
                if steps.len() > SEGMENTS {
                    self.cut = true;
                    return steps;
                }
                steps.push((now, length));
                now = now.saturating_add(length);
            }
        }
        steps
    }

    fn list(&mut self, to: &mut Representation, scope: &Scope<'_>, lists: &[&Element]) -> Option<()> {
        let get = |name: &str| lists.iter().find_map(|list| list.get(name));
        let number = |name: &str| get(name).and_then(|value| value.trim().parse::<u64>().ok());
        let timescale = number("timescale").filter(|&scale| scale > 0).unwrap_or(1);
        initialization(to, scope, lists);
        let map = (!to.media.maps.is_empty()).then_some(0);
        let timeline = lists.iter().find_map(|list| list.first("SegmentTimeline"));
        let steps = timeline.map(|timeline| self.timeline(timeline, timescale, scope.seconds, &to.name.clone()));
        let length = number("duration");
        let mut starts = Vec::new();
        let mut at = 0.0;
        for (index, url) in lists.iter().flat_map(|list| list.all("SegmentURL")).enumerate() {
            if !self.room(index) {
                self.cut = true;
                break;
            }
            let step = steps.as_ref().and_then(|steps| steps.get(index).copied());
            let seconds = float(step.map(|(_, length)| length).or(length)?) / float(timescale);
            let uri = url.get("media").map_or_else(|| scope.base.clone(), |media| joined(&scope.base, media));
            let range = url.get("mediaRange").and_then(byte_range);
            to.media.segments.push(Segment { uri, seconds, range, map, ..segment() });
            starts.push(step.map_or(at, |(time, _)| float(time) / float(timescale)));
            at += seconds;
        }
        if let (None, Some(total), Some(last)) = (&steps, scope.seconds, to.media.segments.last_mut()) {
            // The last segment is as long as what is left.
            last.seconds = (total - starts.last().copied().unwrap_or_default()).clamp(0.0, last.seconds);
        }
        to.starts = steps.map(|_| starts);
        Some(())
    }
}

/// Times and lengths of segments that are all alike.
fn even(length: u64, timescale: u64, seconds: f64) -> Option<Vec<(u64, u64)>> {
    let total = seconds * float(timescale) / float(length);
    // A last piece of a hundredth is rounding.
    let count = (total - 0.01).ceil().max(1.0);
    if !total.is_finite() || count > float(SEGMENTS as u64) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be small")]
    let count = count as u64;
    Some((0..count).map(|at| (at * length, length)).collect())
}

/// One file with an index, or one file of text.
fn single(to: &mut Representation, scope: &Scope<'_>) {
    let bases = scope.all("SegmentBase");
    initialization(to, scope, &bases);
    to.index = bases.iter().find_map(|base| base.get("indexRange")).and_then(byte_range);
    let map = (!to.media.maps.is_empty()).then_some(0);
    let seconds = scope.seconds.unwrap_or_default();
    to.media.segments.push(Segment { uri: scope.base.clone(), seconds, map, ..segment() });
}

fn initialization(to: &mut Representation, scope: &Scope<'_>, elements: &[&Element]) {
    let Some(init) = elements.iter().find_map(|element| element.first("Initialization")) else { return };
    let uri = init.get("sourceURL").map_or_else(|| scope.base.clone(), |url| joined(&scope.base, url));
    let range = init.get("range").and_then(byte_range);
    to.media.maps.push(Map { line: 1, uri, range, ..Map::default() });
}

fn segment() -> Segment {
    Segment { line: 1, inf_line: 1, ..Segment::default() }
}

/// `FIRST-LAST`.
fn byte_range(text: &str) -> Option<Range> {
    let (first, last) = text.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some(Range { offset: Some(first), length: last.checked_sub(first)?.checked_add(1)? })
}

/// What the names in a template stand for.
struct Values<'a> {
    id: &'a str,
    bandwidth: u64,
    number: u64,
    time: u64,
}

/// A template with its names replaced; `None` where one is not known.
fn filled(pattern: &str, values: &Values<'_>) -> Option<String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (name, after) = after.split_once('$')?;
        let (name, width) = match name.split_once("%0") {
            Some((name, width)) => (name, width.strip_suffix('d')?.parse::<usize>().ok().filter(|&width| width <= 20)?),
            None => (name, 0),
        };
        match name {
            "" => text.push('$'),
            "RepresentationID" => text.push_str(values.id),
            "Number" => text.extend(digits(values.number, width)),
            "Time" => text.extend(digits(values.time, width)),
            "Bandwidth" => text.extend(digits(values.bandwidth, width)),
            _ => return None,
        }
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// A number with zeros before it.
fn digits(number: u64, width: usize) -> [String; 1] {
    [format!("{number:0width$}")]
}

/// `PT1H2M3.5S` in seconds.
fn duration(text: &str) -> Option<f64> {
    let (days, time) = text.strip_prefix('P')?.split_once('T').unwrap_or((text.strip_prefix('P')?, ""));
    let mut seconds = 0.0;
    for (part, units) in [(days, &[('D', 86_400.0)][..]), (time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])] {
        let mut rest = part;
        for &(unit, length) in units {
            if let Some((number, after)) = rest.split_once(unit) {
                seconds += number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)? * length;
                rest = after;
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(seconds)
}

fn float(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^52")]
    let float = number as f64;
    float
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, expected) in [
            ("PT6.5S", Some(6.5)),
            ("PT1H2M3S", Some(3723.0)),
            ("P1DT1S", Some(86_401.0)),
            ("6S", None),
            ("PTxS", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn templates_give_names_and_times() {
        let text = r#"<MPD mediaPresentationDuration="PT5S"><Period><BaseURL>g/</BaseURL><AdaptationSet contentType="video">
            <SegmentTemplate timescale="10" initialization="$RepresentationID$/i.mp4" media="$RepresentationID$/$Number%03d$-$Time$.m4s">
            <SegmentTimeline><S t="5" d="20" r="1"/><S d="10"/></SegmentTimeline></SegmentTemplate>
            <Representation id="v" bandwidth="9"/></AdaptationSet></Period></MPD>"#;
        let read = Presentation::read(&xml::read(text.as_bytes()).unwrap());
        assert_eq!(read.faults, []);
        let first = &read.representations[0];
        let names: Vec<_> =
            first.media.segments.iter().map(|segment| (segment.uri.as_str(), segment.seconds)).collect();
        assert_eq!(names, [("g/v/001-5.m4s", 2.0), ("g/v/002-25.m4s", 2.0), ("g/v/003-45.m4s", 1.0)]);
        assert_eq!((first.media.maps[0].uri.as_str(), first.starts.clone()), ("g/v/i.mp4", Some(vec![0.5, 2.5, 4.5])));
    }

    #[test]
    fn hostile_manifests_end() {
        for timeline in [
            r#"<SegmentTimeline><S t="0" d="1" r="99999999999"/></SegmentTimeline>"#,
            r#"<SegmentTimeline><S t="0" d="1" r="-1"/></SegmentTimeline>"#,
            r#"<SegmentTimeline><S t="18446744073709551615" d="18446744073709551615" r="9"/></SegmentTimeline>"#,
            "",
        ] {
            let text = format!(
                r#"<MPD mediaPresentationDuration="P99999999D"><Period><AdaptationSet><SegmentTemplate duration="1" media="$Number$">{timeline}</SegmentTemplate><Representation/></AdaptationSet></Period></MPD>"#
            );
            let read = Presentation::read(&xml::read(text.as_bytes()).unwrap());
            assert!(!read.faults.is_empty());
        }
    }
}
