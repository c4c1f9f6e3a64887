//! The page of a migration: how fast it was over time.

use std::fmt::Write as _;

use super::report_page::escaped;
use super::text::{clean, count, size, time};
use crate::job::migrate::Summary;

/// Points that are kept, however long the run.
const MOST: usize = 600;

/// Bytes and objects over time, in bounded memory.
#[derive(Debug)]
pub(super) struct Timeline {
    points: Vec<Point>,
    stride: u64,
    ticks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    bytes: u64,
    objects: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, ticks: 0 }
    }
}

impl Timeline {
    /// Notes how many bytes and objects there were in all, `at` seconds into the run.
    pub(super) fn note(&mut self, at: f64, bytes: u64, objects: u64) {
        if self.ticks.is_multiple_of(self.stride) {
            self.points.push(Point { at, bytes, objects });
        }
        self.ticks += 1;
        if self.points.len() > MOST {
            // Points are sums since the begin: leaving out every other one loses only detail.
            self.points = self.points.iter().step_by(2).copied().collect();
            self.stride *= 2;
        }
    }

    /// The whole page.
    pub(super) fn page(&self, title: &str, summary: &Summary, seconds: f64) -> String {
        let objects = summary.same + summary.new + summary.changed + summary.failed;
        let rows = [
            ("=", "there already", summary.same),
            ("+", "new", summary.new),
            ("*", "changed", summary.changed),
            ("-", "gone from the source", summary.gone),
            ("!", "failed", summary.failed),
        ];
        let table: String = rows.iter().fold(String::new(), |mut table, (sign, what, number)| {
            writeln!(table, "<tr><td><code>{sign}</code></td><td>{what}</td><td>{number}</td></tr>")
                .unwrap_or_default();
            table
        });
        format!(
            r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Forebay: {title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; max-width: 60rem; color-scheme: light dark }}
svg {{ width: 100%; height: 12rem; display: block }} polyline {{ fill: none; stroke: #2b7de9; stroke-width: 2; vector-effect: non-scaling-stroke }}
td {{ padding: .1rem .8rem .1rem 0 }} h2 {{ font-size: 1rem; margin: 1.5rem 0 .3rem }}
</style></head><body>
<h1>{title}</h1><p>{objects} in {time}, {bytes} copied</p>
{by_bytes}
{by_objects}
<table>{table}</table>
</body></html>
"#,
            title = escaped(&clean(title)),
            objects = count(objects, "object"),
            time = time(seconds),
            bytes = size(summary.bytes),
            by_bytes = self.chart("Bytes a second", |point| point.bytes, |rate| format!("{}/s", size(rate))),
            by_objects = self.chart("Objects a second", |point| point.objects, |rate| format!("{rate}/s")),
        )
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are drawn"
    )]
    fn chart(&self, title: &str, value: impl Fn(&Point) -> u64, shown: impl Fn(u64) -> String) -> String {
        let rates: Vec<(f64, f64)> = self
            .points
            .windows(2)
            .filter_map(|pair| {
                let [first, second] = pair else { return None };
                let span = second.at - first.at;
                let more = value(second).saturating_sub(value(first));
                (span > 0.0).then(|| (second.at, more as f64 / span))
            })
            .collect();
        let highest = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        let end = rates.last().map_or(1.0, |(at, _)| *at);
        let mut line = String::new();
        for (at, rate) in &rates {
            let (x, y) = (at / end * 1000.0, 100.0 - rate / highest.max(1e-9) * 98.0);
            write!(line, "{x:.1},{y:.1} ").unwrap_or_default();
        }
        format!(
            "<h2>{title}, at most {}</h2><svg viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\">\
             <polyline points=\"{line}\"/></svg>",
            shown(highest.round() as u64)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_however_long_the_run() {
        let mut timeline = Timeline::default();
        for tick in 0..100_000_u32 {
            timeline.note(f64::from(tick), u64::from(tick) * 1000, u64::from(tick));
        }
        let page = timeline.page("<a>", &Summary::default(), 1.0);
        assert!(timeline.points.len() <= MOST && page.len() < 50_000);
        assert!(page.contains("&lt;a&gt;") && page.contains("at most 1.0 kB/s"), "{page}");
    }
}
