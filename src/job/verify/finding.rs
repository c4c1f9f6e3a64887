//! Findings: what is wrong, where, and against which rule.

use std::collections::BTreeMap;

use super::rules;

/// Findings of one rule and level that are listed; more are only counted, so
/// that a hostile package cannot fill the memory.
const LISTED: usize = 20;

/// How binding what was broken is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Against what all players go by: they may fail.
    Must,
    /// Against what Apple's own players and review ask for.
    Apple,
    /// Players manage, and would rather not; or something could not be checked.
    Should,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The rule, such as `R10`.
    pub rule: &'static str,
    /// Where the rule is written.
    pub source: &'static str,
    /// How binding it is.
    pub level: Level,
    /// The file, and perhaps the line.
    #[serde(rename = "where")]
    pub where_: String,
    /// What is wrong, a sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Findings as they come.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<(&'static str, Level), usize>,
}

impl Findings {
    /// Something that must not be.
    pub(super) fn violation(&mut self, rule: &'static str, where_: impl Into<String>, what: impl Into<String>) {
        self.add(rule, Level::Must, where_.into(), what.into());
    }

    /// Something that must not be where Apple's rules hold.
    pub(super) fn apple(&mut self, rule: &'static str, where_: impl Into<String>, what: impl Into<String>) {
        self.add(rule, Level::Apple, where_.into(), what.into());
    }

    /// Something that should not be.
    pub(super) fn warning(&mut self, rule: &'static str, where_: impl Into<String>, what: impl Into<String>) {
        self.add(rule, Level::Should, where_.into(), what.into());
    }

    /// Takes over all of `other`.
    pub(super) fn append(&mut self, other: Self) {
        for finding in other.list {
            self.add(finding.rule, finding.level, finding.where_, finding.what);
        }
        for ((rule, level), count) in other.counts {
            let hidden = count.saturating_sub(LISTED);
            if hidden > 0 {
                *self.counts.entry((rule, level)).or_default() += hidden;
            }
        }
    }

    /// Violations and warnings, the worst first. `apple` makes Apple's own rules binding.
    pub(super) fn finish(mut self, apple: bool) -> (Vec<Finding>, Vec<Finding>) {
        for (&(rule, level), &count) in &self.counts {
            if let Some(more) = count.checked_sub(LISTED).filter(|&more| more > 0) {
                self.list.push(finding(rule, level, "the package".into(), format!("{more} more of this kind.")));
            }
        }
        self.list.sort_by_key(|finding| (rules::weight(finding.rule), finding.level));
        let binds = |finding: &Finding| finding.level == Level::Must || apple && finding.level == Level::Apple;
        self.list.into_iter().partition(binds)
    }

    fn add(&mut self, rule: &'static str, level: Level, where_: String, what: String) {
        let count = self.counts.entry((rule, level)).or_default();
        *count += 1;
        if *count <= LISTED {
            self.list.push(finding(rule, level, where_, sentence(what)));
        }
    }
}

fn finding(rule: &'static str, level: Level, where_: String, what: String) -> Finding {
    let (source, remedy) = rules::find(rule).map_or(("Forebay", ""), |known| (known.source, known.remedy));
    Finding { rule, source, level, where_, what, remedy }
}

/// With a capital letter and a full stop.
fn sentence(what: String) -> String {
    let mut characters = what.chars();
    let Some(first) = characters.next().filter(char::is_ascii_lowercase) else {
        return if what.ends_with('.') { what } else { what + "." };
    };
    let rest = characters.as_str();
    let first_word = rest.find(' ').map_or(rest, |end| rest.split_at(end).0);
    // `avc1.640028` or `00001.ts` at the start stays as it is.
    let first = if first_word.contains(['.', '/']) { first } else { first.to_ascii_uppercase() };
    format!("{first}{rest}{}", if rest.ends_with('.') { "" } else { "." })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_kept() {
        let mut all = Findings::default();
        for _ in 0..3 {
            let mut part = Findings::default();
            (0..100).for_each(|at| part.violation("R10", format!("{at}.ts"), "the length is wrong"));
            all.append(part);
        }
        all.warning("R27", "x", "a key frame is missing");
        let (violations, warnings) = all.finish(false);
        assert_eq!((violations.len(), warnings.len()), (LISTED + 1, 1));
        assert_eq!(violations[LISTED].what, "280 more of this kind.");
        assert_eq!((warnings[0].what.as_str(), warnings[0].source), ("A key frame is missing.", "Apple 1.13"));
    }

    #[test]
    fn the_worst_is_first_and_apples_rules_bind_when_asked_for() {
        let all = || {
            let mut all = Findings::default();
            all.apple("R06", "x", "the type is missing");
            all.violation("R10", "x", "the length is wrong");
            all.violation("R21", "x", "it is cut");
            all
        };
        let rules = |list: &[Finding]| list.iter().map(|finding| finding.rule).collect::<Vec<_>>();
        let (violations, warnings) = all().finish(false);
        assert_eq!((rules(&violations), rules(&warnings)), (vec!["R21", "R10"], vec!["R06"]));
        assert_eq!(rules(&all().finish(true).0), ["R21", "R06", "R10"]);
    }
}
