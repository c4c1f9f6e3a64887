//! Segments of `WebVTT`: the header, its mapping of time, and when cues are shown.

/// Faults of one segment that are kept.
const KEPT_FAULTS: usize = 5;

/// What one segment says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) faults: Vec<String>,
    /// A time of MPEG-TS in ticks, and the time of cues in seconds that is the same.
    pub(super) map: Option<(i64, f64)>,
    pub(super) cues: u64,
    /// When the first cue begins and the last one ends, in seconds as written.
    pub(super) span: Option<(f64, f64)>,
    /// The latest begin and the earliest end, which show whether a cue lies wholly outside.
    pub(super) inner: Option<(f64, f64)>,
}

impl Text {
    /// Reads a segment.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut text = Self::default();
        let Ok(content) = std::str::from_utf8(bytes) else {
            text.fault("it is not UTF-8");
            return text;
        };
        let content = content.strip_prefix('\u{feff}').unwrap_or(content);
        let mut lines = content.lines();
        let is_header = lines.next().and_then(|line| line.strip_prefix("WEBVTT"));
        if is_header.is_none_or(|rest| !rest.is_empty() && !rest.starts_with([' ', '\t'])) {
            text.fault("it does not begin with `WEBVTT`");
            return text;
        }
        let mut before_cues = true;
        for line in lines {
            before_cues &= !line.is_empty();
            if let Some(map) = line.strip_prefix("X-TIMESTAMP-MAP=") {
                match mapping(map) {
                    Some(_) if !before_cues => text.fault("X-TIMESTAMP-MAP does not stand in the header"),
                    Some(map) => text.map = Some(map),
                    None => text.fault("X-TIMESTAMP-MAP cannot be read"),
                }
            } else if let Some((start, rest)) = line.split_once("-->") {
                text.cue(start, rest);
            }
        }
        text
    }

    fn cue(&mut self, start: &str, rest: &str) {
        let end = rest.split_whitespace().next().unwrap_or_default();
        let (Some(start), Some(end)) = (time(start.trim()), time(end)) else {
            return self.fault("the times of a cue cannot be read");
        };
        if end <= start {
            return self.fault("a cue ends before it begins");
        }
        self.cues += 1;
        let (first, last) = self.span.unwrap_or((start, end));
        self.span = Some((first.min(start), last.max(end)));
        let (latest, earliest) = self.inner.unwrap_or((start, end));
        self.inner = Some((latest.max(start), earliest.min(end)));
    }

    fn fault(&mut self, what: &str) {
        if self.faults.len() < KEPT_FAULTS {
            self.faults.push(what.to_owned());
        }
    }
}

/// `MPEGTS:900000,LOCAL:00:00:00.000`, in either order.
fn mapping(text: &str) -> Option<(i64, f64)> {
    let field = |name: &str| text.split(',').find_map(|part| part.trim().strip_prefix(name));
    let ticks = field("MPEGTS:")?.trim().parse().ok().filter(|ticks| (0..1_i64 << 34).contains(ticks))?;
    Some((ticks, time(field("LOCAL:")?.trim())?))
}

/// `HH:MM:SS.mmm` or `MM:SS.mmm` in seconds.
fn time(text: &str) -> Option<f64> {
    let (whole, thousandths) = text.split_once('.')?;
    let digits = |text: &str| {
        (!text.is_empty() && text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<f64>().ok())
            .flatten()
    };
    let parts: Vec<f64> = whole.split(':').map(digits).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match *parts.as_slice() {
        [minutes, seconds] => (0.0, minutes, seconds),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let inner = minutes < 60.0 && seconds < 60.0 && thousandths.len() == 3;
    inner.then_some(hours * 3600.0 + minutes * 60.0 + seconds + digits(thousandths)? / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_and_their_mapping_are_read() {
        let text = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\n1\n00:01.000 --> 00:02.500 line:0\nHi\n\n01:00:00.000 --> 01:00:01.000\nLate\n";
        let read = Text::read(text.as_bytes());
        assert_eq!((read.map, read.cues, read.span), (Some((900_000, 0.0)), 2, Some((1.0, 3601.0))));
        assert_eq!((read.inner, read.faults), (Some((3600.0, 2.5)), Vec::<String>::new()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, fault) in [
            ("WEBVTTX\n", "does not begin"),
            ("1\n", "does not begin"),
            ("WEBVTT\n\n00:02.000 --> 00:01.000\n", "ends before"),
            ("WEBVTT\n\n00:02,000 --> 00:03,000\n", "cannot be read"),
            ("WEBVTT\n\n00:02.000 -->\n", "cannot be read"),
            ("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:-1,LOCAL:00:00.000\n", "cannot be read"),
            ("WEBVTT\n\nX-TIMESTAMP-MAP=MPEGTS:1,LOCAL:00:00.000\n", "header"),
        ] {
            let faults = Text::read(text.as_bytes()).faults;
            assert!(faults.iter().any(|what| what.contains(fault)), "{text:?}: {faults:?}");
        }
        assert_eq!(Text::read(b"WEBVTT\n\xff").faults, ["it is not UTF-8"]);
    }
}
