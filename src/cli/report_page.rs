//! The page of a report: one HTML file without scripts, fonts or pictures of
//! anybody else. Every text from outside is escaped here.

use std::fmt::Write as _;

use super::board::as_f64;
use super::bound::{Bound, Shares};
use super::report::{Outcome, Report, Row, Span};
use super::report_chart;
use super::text::{clean, count, percent, size, time};
use crate::engine::Summary;

/// With more videos than this, the table shows failures and the slowest only.
const MOST_ROWS: usize = 1000;

/// The whole page.
pub(super) fn page(report: &Report, summary: &Summary, to: &str) -> String {
    let (rows, note) = report_chart::drawn(report);
    let drawing = report_chart::timeline(report, &rows, summary.seconds);
    let note = note.map_or_else(String::new, |note| format!(r#"<p class="note">{}</p>"#, escaped(&note)));
    let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string();
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Forebay: {title}</title>
<style>
{css}</style></head><body><main>
<header><h1>{title}</h1><p>to {to} · ended {now} · forebay {version}</p></header>
{cards}
<section class="why"><div><h2>Why it took {wall}</h2>{why}</div><div>{meter}</div></section>
<section><h2>Timeline</h2>{legend}{drawing}{note}</section>
<section><h2>Videos</h2>{table}</section>
</main></body></html>
"#,
        title = escaped(&title(summary)),
        css = include_str!("report_page.css"),
        to = escaped(&clean(to)),
        now = escaped(&now),
        version = env!("CARGO_PKG_VERSION"),
        cards = cards(summary),
        wall = time(summary.seconds),
        why = why(report, summary),
        meter = meter(summary),
        legend = LEGEND,
        table = table(report),
    )
}

const LEGEND: &str = r#"<p class="legend"><span><span class="key dl"></span>download</span><span><span class="key enc"></span>encode</span><span><span class="key up"></span>upload</span><span>✕ failed</span><span>○ put aside</span></p>"#;

/// Text that may hold anything, fit for an element or a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn title(summary: &Summary) -> String {
    let all = summary.done + summary.already + summary.failed + summary.parked;
    format!("{} in {}", count(all, "video"), time(summary.seconds))
}

fn cards(summary: &Summary) -> String {
    let shares = Shares::of_run(&summary.usage);
    let speed = summary.source_seconds / summary.seconds.max(1e-6);
    let all = summary.done + summary.already + summary.failed + summary.parked;
    let mut ended = vec![format!("{} done", summary.done)];
    let others = [(summary.already, "already done"), (summary.failed, "failed"), (summary.parked, "put aside")];
    ended.extend(others.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")));
    let cards = [
        (time(summary.seconds), "wall-clock time".to_owned()),
        (format!("{}/{all}", summary.done + summary.already), ended.join(", ")),
        (format!("{speed:.1}×"), format!("{} of video, by its own speed", time(summary.source_seconds))),
        (percent(shares.cpu), format!("of {} busy", count(summary.usage.cpu.capacity, "encoder thread"))),
        (percent(shares.network), "of the time something came in".to_owned()),
        (size(summary.usage.downloaded_bytes), "downloaded".to_owned()),
    ];
    let mut html = String::new();
    for (value, text) in cards {
        write!(html, r#"<div class="card"><b>{value}</b><span>{text}</span></div>"#)
            .expect("writing to a string cannot fail");
    }
    format!(r#"<div class="cards">{html}</div>"#)
}

/// What bounded the run, how far it is from the least time, and which videos took longest.
fn why(report: &Report, summary: &Summary) -> String {
    let shares = Shares::of_run(&summary.usage);
    let (bound, faster) = shares.sentences();
    let mut text = format!("<p><strong>{}</strong></p>", prose(&bound));
    let least = least(summary);
    if least > 0.0 && summary.seconds > 0.0 {
        let above = (summary.seconds / least - 1.0).max(0.0);
        paragraph(
            &mut text,
            &format!(
                "At the rates seen, downloads and encodes in perfect overlap take {}; this run took {}, {} more.",
                time(least),
                time(summary.seconds),
                percent(above)
            ),
        );
    }
    if shares.bound() != Bound::Nothing {
        let idle = [("the encoder threads", 1.0 - shares.cpu), ("the network", 1.0 - shares.network)];
        let idle: Vec<String> = idle.iter().map(|(name, part)| format!("{name} {}", percent(*part))).collect();
        paragraph(&mut text, &format!("Idle: {} of the time.", idle.join(", ")));
    }
    let mut rows: Vec<&Row> = report.videos.values().filter(|row| row.work_seconds() > 0.0).collect();
    rows.sort_by(|one, other| other.work_seconds().total_cmp(&one.work_seconds()));
    let longest: Vec<String> =
        rows.iter().take(3).map(|row| format!("{} ({})", row.name, time(row.work_seconds()))).collect();
    if rows.len() > 3 {
        paragraph(&mut text, &format!("The longest work, waits left out: {}.", longest.join(", ")));
    }
    paragraph(&mut text, &faster);
    text
}

fn paragraph(html: &mut String, text: &str) {
    write!(html, "<p>{}</p>", prose(text)).expect("writing to a string cannot fail");
}

/// Escaped text in which back-ticks enclose code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(place, part)| match place % 2 {
            0 => escaped(part),
            _ => format!("<code>{}</code>", escaped(part)),
        })
        .collect()
}

/// The least time the run could have taken: all downloads, or all core-seconds on all cores.
fn least(summary: &Summary) -> f64 {
    summary.usage.network.active_seconds.max(cpu_seconds(summary))
}

fn cpu_seconds(summary: &Summary) -> f64 {
    summary.usage.cpu.busy_seconds / as_f64(summary.usage.cpu.capacity.max(1))
}

/// Bars of what the run could not do without, beside what it took.
fn meter(summary: &Summary) -> String {
    let usage = &summary.usage;
    let bars = [
        ("downloads ran", "dl", usage.network.active_seconds),
        ("all threads encode", "enc", cpu_seconds(summary)),
        ("uploads ran", "up", usage.upload.active_seconds),
        ("", "best", 0.0),
        ("this run", "all", summary.seconds),
    ];
    let most = bars.iter().map(|bar| bar.2).fold(1e-6, f64::max);
    let mut html = r#"<div class="meter">"#.to_owned();
    for (name, class, seconds) in bars {
        let line = if name.is_empty() {
            r#"<div class="best"></div>"#.to_owned()
        } else {
            let (width, seconds) = (100.0 * seconds / most, time(seconds));
            format!(
                r#"<div>{name}</div><div><i class="{class}" style="width:{width:.1}%"></i></div><span>{seconds}</span>"#
            )
        };
        html += &line;
    }
    html + r#"</div><p class="note">The longest of the upper bars is the least time this run could have taken at the rates seen.</p>"#
}

fn table(report: &Report) -> String {
    let mut rows: Vec<&Row> = report.videos.values().collect();
    let all = rows.len() as u64 + report.unseen;
    if rows.len() > MOST_ROWS {
        let failed = |row: &Row| !matches!(row.outcome, Outcome::Failed(_));
        rows.sort_by(|one, other| {
            failed(one).cmp(&failed(other)).then(other.work_seconds().total_cmp(&one.work_seconds()))
        });
        rows.truncate(MOST_ROWS);
    }
    let note = if all > rows.len() as u64 {
        format!(r#"<p class="note">Of {all} videos, failures and the slowest are listed.</p>"#)
    } else {
        String::new()
    };
    let body: String = rows.into_iter().map(table_row).collect();
    format!(
        r#"<div class="scroll"><table><thead><tr><th>Video</th><th>Outcome</th><th class="n">Length</th><th class="n">Source</th><th class="n">Download</th><th class="n">Encode</th><th class="n">Upload</th><th class="n">CPU</th><th class="n">In all</th></tr></thead><tbody>{body}</tbody></table></div>{note}"#
    )
}

fn table_row(row: &Row) -> String {
    let (class, outcome) = match &row.outcome {
        Outcome::Done => ("ok", "done"),
        Outcome::Already => ("ok", "already done"),
        Outcome::Failed(_) => ("bad", "failed"),
        Outcome::Parked => ("soft", "put aside"),
        Outcome::Open => ("soft", "not ended"),
    };
    let mut name = escaped(&row.name);
    let mut small = |text: &str| {
        if !text.is_empty() {
            write!(name, "<small>{}</small>", escaped(text)).expect("writing to a string cannot fail");
        }
    };
    small(&row.title);
    small(&row.plan);
    if let Outcome::Failed(why) = &row.outcome {
        small(why);
    }
    if row.retries > 0 {
        small(&format!("tried again {}", count(row.retries, "time")));
    }
    let span = |span: Option<Span>| span.map_or_else(|| "–".to_owned(), |span| time(span.seconds()));
    let known = |known: bool, text: String| if known { text } else { "–".to_owned() };
    let cells = [
        known(row.seconds > 0.0, time(row.seconds)),
        known(row.bytes > 0, size(row.bytes)),
        span(row.download),
        span(row.encode),
        span(row.upload),
        known(row.cpu_seconds > 0.0, time(row.cpu_seconds)),
        time(row.span.seconds()),
    ];
    let cells = cells.join(r#"</td><td class="n">"#);
    format!(r#"<tr><td>{name}</td><td><span class="out {class}">{outcome}</span></td><td class="n">{cells}</td></tr>"#)
}

#[cfg(test)]
mod tests;
