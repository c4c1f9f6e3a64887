//! A report as text.

use std::fmt::Write as _;

use super::Report;
use super::finding::Finding;

/// The report as a table: violations, then warnings, then what was looked at.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for (title, findings) in [("violation", &report.violations), ("warning", &report.warnings)] {
        if !findings.is_empty() {
            table(&mut text, title, findings);
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

fn table(text: &mut String, title: &str, findings: &[Finding]) {
    let widest = findings.iter().map(|finding| shown(&finding.where_).chars().count()).max().unwrap_or_default();
    for finding in findings {
        let Finding { rule, source, where_, what, .. } = finding;
        let where_ = shown(where_);
        writeln!(text, "{title}  {rule}  {where_:widest$}  {} [{source}]", shown(what)).expect("a String takes all");
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
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_report_reads_like_a_table() {
        let finding = |where_: &str| Finding {
            rule: "R10",
            source: "Apple 8.1",
            level: Level::Must,
            where_: where_.into(),
            what: "EXTINF is 6 s,\u{1b}[2J the segment 5 s long.".into(),
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
violation  R10  g/1080p/00000.ts  EXTINF is 6 s,\u{fffd}[2J the segment 5 s long. [Apple 8.1]
violation  R10  a                 EXTINF is 6 s,\u{fffd}[2J the segment 5 s long. [Apple 8.1]

2 violations, 0 warnings: 40 rules checked on 1 segment (12.3 MB), 6.0 s of video
";
        assert_eq!(render(&report), expected);
    }
}
