//! A report as text.

use std::fmt::Write as _;

use super::Report;
use super::finding::{Finding, Level};
use super::rules;

/// Columns that remedies and rules may take.
const WIDE: usize = 110;

/// The report for people: violations, then warnings, the worst first, then what was looked at.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for (title, findings) in [("VIOLATION", &report.violations), ("warning", &report.warnings)] {
        let mut rest = findings.as_slice();
        while let Some(first) = rest.first() {
            let same = |finding: &&Finding| finding.rule == first.rule && finding.level == first.level;
            let (group, after) = rest.split_at(rest.iter().take_while(same).count());
            table(&mut text, title, group);
            rest = after;
        }
    }
    let plural = |count: usize, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
    writeln!(
        text,
        "{}, {}: {} checked on {} ({}), {:.1} s of video",
        plural(report.violations.len(), "violation"),
        plural(report.warnings.len(), "warning"),
        plural(report.rules, "rule"),
        plural(report.segments, "segment"),
        size(report.bytes),
        report.seconds,
    )
    .expect("a String takes all");
    text
}

/// Findings against one rule: the rule, each place with what is wrong there, what to do.
fn table(text: &mut String, title: &str, findings: &[Finding]) {
    let Some(&Finding { rule, source, remedy, level, .. }) = findings.first() else { return };
    let asks = rules::find(rule).map_or("", |known| known.asks);
    let whose = if level == Level::Apple { "; only Apple asks for it" } else { "" };
    wrapped(text, &format!("{title} {rule} ({source}{whose}): {asks}."), "    ");
    let widest = findings.iter().map(|finding| shown(&finding.where_).chars().count()).max().unwrap_or_default();
    for Finding { where_, what, .. } in findings {
        writeln!(text, "  {:widest$}  {}", shown(where_), shown(what)).expect("a String takes all");
    }
    wrapped(text, &format!("  What to do: {remedy}."), "    ");
    text.push('\n');
}

/// Words in lines of a readable width; all but the first begin with `indent`.
fn wrapped(text: &mut String, line: &str, indent: &str) {
    let mut used = 0;
    for (index, word) in line.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && used + 1 + width > WIDE {
            text.push('\n');
            text.push_str(indent);
            used = indent.len();
        } else if index > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += width;
    }
    text.push('\n');
}

/// Without anything that a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, name)| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_like_a_table() {
        let finding = |where_: &str| Finding {
            rule: "R10",
            source: "Apple 8.1",
            level: Level::Must,
            where_: where_.into(),
            what: "EXTINF is 6 s,\u{1b}[2J the segment 5 s long.".into(),
            remedy: "write EXTINF from the time stamps",
        };
        let report = Report {
            violations: vec![finding("g/1080p/00000.ts"), finding("a")],
            warnings: vec![],
            rules: 40,
            segments: 1,
            bytes: 12_345_678,
            seconds: 6.0,
        };
        let expected = "\
VIOLATION R10 (Apple 8.1): `EXTINF` is the real length within a frame, for each segment and the sum of every
    run of them.
  g/1080p/00000.ts  EXTINF is 6 s,\u{fffd}[2J the segment 5 s long.
  a                 EXTINF is 6 s,\u{fffd}[2J the segment 5 s long.
  What to do: write EXTINF from the time stamps.

2 violations, 0 warnings: 40 rules checked on 1 segment (12.3 MB), 6.0 s of video
";
        assert_eq!(render(&report), expected);
    }
}
