//! The drawings of a report as inline SVG: a row for every video, and the use
//! of cores and network below on the same axis of time.

use std::fmt::Write as _;

use super::board::as_f64;
use super::bound::Shares;
use super::report::{Outcome, Report, Row, Span};
use super::report_page::escaped;
use super::text::{fit, percent, size, time};
use crate::model::event::Usage;

const WIDTH: f64 = 1160.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 14.0;
const AXIS: f64 = 26.0;
const CHART: f64 = 74.0;

/// Characters of a name that fit on the left of the chart, most of them digits or capitals.
const NAME: usize = 22;

/// With more videos than this, only the slowest are drawn.
const MOST_ROWS: usize = 500;

/// How many of them.
const SLOWEST: usize = 300;

/// Points of an area: more than this no eye tells apart.
const POINTS: usize = 240;

/// Seconds of the run to places on the page.
#[derive(Clone, Copy)]
struct Axis {
    seconds: f64,
}

impl Axis {
    fn x(self, at: f64) -> f64 {
        LEFT + (at / self.seconds).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    /// Round moments to name, at most ten.
    fn ticks(self) -> impl Iterator<Item = f64> {
        const STEPS: &[f64] =
            &[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];
        let step = STEPS.iter().copied().find(|step| self.seconds / step <= 10.0);
        let step = step.unwrap_or_else(|| (self.seconds / 36_000.0).ceil() * 3600.0);
        (0..=10_u32).map(move |count| f64::from(count) * step).take_while(move |at| *at <= self.seconds * 1.0001)
    }

    /// Lines from `top` to `bottom` at every tick.
    fn grid(self, svg: &mut String, top: f64, bottom: f64) {
        for at in self.ticks() {
            let x = self.x(at);
            add(svg, format_args!(r#"<line class="grid" x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}"/>"#));
        }
    }

    fn names(self, svg: &mut String, y: f64) {
        for at in self.ticks() {
            let anchor = if self.x(at) > WIDTH - RIGHT - 24.0 { "end" } else { "middle" };
            let (x, text) = (self.x(at), moment(at));
            add(svg, format_args!(r#"<text class="axis" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#));
        }
    }
}

/// The videos a timeline draws, and the sentence about those it leaves out.
pub(super) fn drawn(report: &Report) -> (Vec<&Row>, Option<String>) {
    let mut rows: Vec<(u64, &Row)> = report.videos.iter().map(|(number, row)| (*number, row)).collect();
    let all = rows.len();
    let mut note = None;
    if all > MOST_ROWS {
        rows.sort_by(|one, other| other.1.work_seconds().total_cmp(&one.1.work_seconds()));
        rows.truncate(SLOWEST);
        rows.sort_by_key(|(number, _)| *number);
        note =
            Some(format!("Of {} videos, the {SLOWEST} slowest are drawn.", as_f64(report.unseen) + as_f64(all as u64)));
    }
    (rows.into_iter().map(|(_, row)| row).collect(), note)
}

/// The timeline and the two charts.
pub(super) fn timeline(report: &Report, rows: &[&Row], seconds: f64) -> String {
    let axis = Axis { seconds: seconds.max(0.1) };
    let height = row_height(rows.len());
    // The charts come first: below thousands of rows nobody would see them.
    let (cpu_top, network_top) = (AXIS, AXIS + CHART + 14.0);
    let rows_top = network_top + CHART + 14.0;
    let rows_end = rows_top + height * as_f64(rows.len() as u64);
    let total = rows_end + AXIS;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {total:.0}" role="img" aria-label="Timeline of the run" preserveAspectRatio="xMinYMin meet">"#
    );
    axis.names(&mut svg, 14.0);
    axis.grid(&mut svg, AXIS - 6.0, rows_end + 4.0);
    let (cpu, network) = (cpu_shares(&report.samples), network_rates(&report.samples));
    let last = report.samples.last().copied().unwrap_or_default();
    let busy = percent(Shares::of_run(&last).cpu);
    label(&mut svg, cpu_top, "Cores", &format!("{} threads, {busy} busy", last.cpu.capacity));
    area(&mut svg, axis, &cpu, 1.0, cpu_top, "cpu");
    let peak = network.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    label(&mut svg, network_top, "Network", &peak_text(peak, last.downloaded_bytes));
    area(&mut svg, axis, &network, peak, network_top, "net");
    for (place, row) in rows.iter().enumerate() {
        draw_row(&mut svg, axis, row, rows_top + height * as_f64(place as u64), height);
    }
    axis.names(&mut svg, rows_end + 18.0);
    svg + "</svg>"
}

fn row_height(rows: usize) -> f64 {
    match rows {
        0..=40 => 28.0,
        41..=120 => 18.0,
        _ => 9.0,
    }
}

fn draw_row(svg: &mut String, axis: Axis, row: &Row, top: f64, height: f64) {
    let tip = escaped(&row_tip(row));
    add(svg, format_args!(r#"<g class="row"><title>{tip}</title>"#));
    add(svg, format_args!(r#"<rect class="hit" x="0" y="{top:.1}" width="{WIDTH}" height="{height:.1}"/>"#));
    if height > 12.0 {
        let (x, y, name) = (LEFT - 12.0, top + height / 2.0 + 4.0, escaped(&fit(&row.name, NAME)));
        let class = if matches!(row.outcome, Outcome::Failed(_)) { "name bad" } else { "name" };
        add(svg, format_args!(r#"<text class="{class}" x="{x}" y="{y:.1}" text-anchor="end">{name}</text>"#));
    }
    let (from, to) = (axis.x(row.span.from), axis.x(row.span.to));
    let middle = top + height / 2.0;
    add(svg, format_args!(r#"<line class="life" x1="{from:.1}" y1="{middle:.1}" x2="{to:.1}" y2="{middle:.1}"/>"#));
    // Each kind of work has a lane of its own, so place tells them apart as well as colour.
    let lane = (height - height * 0.22) / 3.0;
    let bars = [("dl", row.download), ("enc", row.encode), ("up", row.upload)];
    for (place, (class, span)) in bars.into_iter().enumerate() {
        if let Some(span) = span {
            let y = top + height * 0.11 + lane * as_f64(place as u64);
            bar(svg, axis, span, (y, lane - 0.8), class);
        }
    }
    mark(svg, &row.outcome, to, middle, height);
    svg.push_str("</g>");
}

fn bar(svg: &mut String, axis: Axis, span: Span, (y, height): (f64, f64), class: &str) {
    let (from, to) = (axis.x(span.from), axis.x(span.to));
    let width = (to - from).max(2.0);
    let round = (height / 3.0).min(2.0);
    add(
        svg,
        format_args!(
            r#"<rect class="{class}" x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{round:.1}"/>"#
        ),
    );
}

/// A cross where a video failed, a ring where it was put aside, a dot where nothing had to be done.
fn mark(svg: &mut String, outcome: &Outcome, x: f64, y: f64, height: f64) {
    let r = (height / 5.0).min(4.5);
    match outcome {
        Outcome::Failed(_) => add(
            svg,
            format_args!(
                r#"<path class="cross" d="M{:.1} {:.1}l{d:.1} {d:.1}m0 -{d:.1}l-{d:.1} {d:.1}"/>"#,
                x + 3.0,
                y - r,
                d = 2.0 * r
            ),
        ),
        Outcome::Parked => add(svg, format_args!(r#"<circle class="ring" cx="{:.1}" cy="{y:.1}" r="{r:.1}"/>"#, x + r)),
        Outcome::Already => add(svg, format_args!(r#"<circle class="dot" cx="{:.1}" cy="{y:.1}" r="{r:.1}"/>"#, x + r)),
        Outcome::Done | Outcome::Open => {}
    }
}

fn row_tip(row: &Row) -> String {
    let part = |name: &str, span: Option<Span>| span.map(|span| format!("{name} {}", time(span.seconds())));
    let title = Some(row.title.clone()).filter(|title| !title.is_empty());
    let failed = match &row.outcome {
        Outcome::Failed(why) => Some(format!("failed: {why}")),
        _ => None,
    };
    let parts = [part("download", row.download), part("encode", row.encode), part("upload", row.upload)];
    let lines = std::iter::once(row.name.clone()).chain(title).chain(parts.into_iter().flatten()).chain(failed);
    lines.collect::<Vec<_>>().join("\n")
}

fn label(svg: &mut String, top: f64, name: &str, text: &str) {
    let (x, first, second) = (LEFT - 12.0, top + 30.0, top + 47.0);
    add(svg, format_args!(r#"<text class="chart" x="{x}" y="{first:.1}" text-anchor="end">{name}</text>"#));
    add(svg, format_args!(r#"<text class="axis" x="{x}" y="{second:.1}" text-anchor="end">{text}</text>"#));
}

/// Steps, since each value holds from one sample to the next.
fn area(svg: &mut String, axis: Axis, points: &[(Span, f64)], most: f64, top: f64, class: &str) {
    let bottom = top + CHART;
    let (from, to) = (axis.x(0.0), axis.x(axis.seconds));
    add(svg, format_args!(r#"<line class="base" x1="{from:.1}" y1="{bottom:.1}" x2="{to:.1}" y2="{bottom:.1}"/>"#));
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return };
    if most <= 0.0 {
        return;
    }
    let mut line = String::new();
    for (span, value) in points {
        let y = bottom - (value / most).clamp(0.0, 1.0) * (CHART - 4.0);
        add(&mut line, format_args!("L{:.1} {y:.1}L{:.1} {y:.1}", axis.x(span.from), axis.x(span.to)));
    }
    let (begin, end) = (axis.x(first.from), axis.x(last.to));
    let path = format!("M{begin:.1} {bottom:.1}{line}L{end:.1} {bottom:.1}");
    add(svg, format_args!(r#"<path class="area {class}" d="{path}Z"/>"#));
}

/// The use of encoder threads from sample to sample, from 0 to 1.
fn cpu_shares(samples: &[Usage]) -> Vec<(Span, f64)> {
    between(samples, |from, to| Shares::between(from, to).cpu)
}

/// Bytes downloaded a second from sample to sample.
fn network_rates(samples: &[Usage]) -> Vec<(Span, f64)> {
    between(samples, |from, to| {
        as_f64(to.downloaded_bytes.saturating_sub(from.downloaded_bytes)) / (to.at - from.at).max(1e-6)
    })
}

fn between(samples: &[Usage], value: impl Fn(&Usage, &Usage) -> f64) -> Vec<(Span, f64)> {
    let begin = Usage::default();
    let stride = (samples.len() / POINTS).max(1);
    let picked: Vec<&Usage> = std::iter::once(&begin)
        .chain(samples.iter().enumerate().filter(|(place, _)| (place + 1) % stride == 0).map(|(_, sample)| sample))
        .chain(samples.last())
        .collect();
    let pairs = picked.windows(2).filter(|pair| pair[1].at > pair[0].at);
    pairs.map(|pair| (Span { from: pair[0].at, to: pair[1].at }, value(pair[0], pair[1]))).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown with three digits")]
fn peak_text(peak: f64, bytes: u64) -> String {
    if bytes == 0 { "no downloads".into() } else { format!("{}, peak {}/s", size(bytes), size(peak as u64)) }
}

/// A round moment in few letters: `30 s`, `1:30 min`, `2 h`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a tick of the axis")]
fn moment(at: f64) -> String {
    let whole = at.round() as u64;
    match whole {
        0..60 if at.fract() > 0.01 => format!("{at:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ if whole.is_multiple_of(3600) => format!("{} h", whole / 3600),
        _ => format!("{}:{:02} h", whole / 3600, whole % 3600 / 60),
    }
}

fn add(svg: &mut String, part: std::fmt::Arguments<'_>) {
    svg.write_fmt(part).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for seconds in [0.1, 0.7, 3.0, 50.0, 75.0, 400.0, 5000.0, 90_000.0, 2e6] {
            let count = Axis { seconds }.ticks().count();
            assert!((2..=11).contains(&count), "{seconds}: {count}");
        }
        assert_eq!(
            [0.5, 30.0, 90.0, 120.0, 5400.0, 7200.0].map(moment),
            ["0.5 s", "30 s", "1:30 min", "2 min", "1:30 h", "2 h"]
        );
    }

    #[test]
    fn of_many_videos_the_slowest_are_drawn() {
        let mut report = Report::default();
        for number in 0..600_u32 {
            let encode = Some(Span { from: 0.0, to: f64::from(number) });
            report.videos.insert(number.into(), Row { encode, ..Row::default() });
        }
        let (rows, note) = drawn(&report);
        assert_eq!((rows.len(), rows[0].work_seconds()), (300, 300.0));
        assert_eq!(note.as_deref(), Some("Of 600 videos, the 300 slowest are drawn."));
    }
}
