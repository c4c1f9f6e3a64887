//! Attribute lists: `NAME=value,NAME="quoted, with commas"`.

use super::Problem;

/// One attribute as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value, without the quotes.
    pub value: String,
    /// Whether it was in quotes.
    pub quoted: bool,
}

/// The attributes of one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// In the order of the line, repeated ones too.
    pub list: Vec<Attribute>,
    /// Number of the line, from 1.
    pub line: usize,
}

/// Attributes of one tag that are kept; more are hostile.
const KEPT: usize = 200;

impl Attributes {
    /// Reads what follows the colon of a tag.
    pub fn read(line: usize, text: &str, problems: &mut Vec<Problem>) -> Self {
        let mut attributes = Self { list: Vec::new(), line };
        let mut rest = text;
        while !rest.is_empty() {
            if attributes.list.len() == KEPT {
                problems.push(Problem::new("R03", line, format!("there are more than {KEPT} attributes")));
                break;
            }
            let Some((name, after)) = rest.split_once('=') else {
                problems.push(Problem::new("R03", line, format!("`{}` is not an attribute", short(rest))));
                break;
            };
            if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-')) {
                problems.push(Problem::new("R03", line, format!("`{}` is not an attribute name", short(name))));
            }
            let Some((value, quoted, after)) = value(after) else {
                problems.push(Problem::new("R03", line, format!("the value of {} has no closing quote", short(name))));
                break;
            };
            if !quoted && (value.is_empty() || value.contains([' ', '\t', '"'])) {
                problems.push(Problem::new("R03", line, format!("the value of {} is not well formed", short(name))));
            }
            if attributes.get(name).is_some() {
                problems.push(Problem::new("R03", line, format!("{} is given twice", short(name))));
            }
            attributes.list.push(Attribute { name: name.into(), value: value.into(), quoted });
            rest = match after.strip_prefix(',') {
                Some("") => {
                    problems.push(Problem::new("R03", line, "the attribute list ends in a comma"));
                    ""
                }
                Some(next) => next,
                None if after.is_empty() => "",
                None => {
                    problems.push(Problem::new("R03", line, format!("a comma is missing before `{}`", short(after))));
                    break;
                }
            };
        }
        attributes
    }

    /// The first attribute of that name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.list.iter().find(|attribute| attribute.name == name)
    }

    /// The value of a quoted attribute; one without quotes is a problem.
    pub fn quoted(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let attribute = self.get(name)?;
        if !attribute.quoted {
            problems.push(Problem::new("R03", self.line, format!("{name} must be in quotes")));
        }
        Some(attribute.value.clone())
    }

    /// The value of an attribute without quotes; quotes are a problem.
    pub fn bare(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let attribute = self.get(name)?;
        if attribute.quoted {
            problems.push(Problem::new("R03", self.line, format!("{name} must not be in quotes")));
        }
        Some(attribute.value.clone())
    }

    /// A decimal integer; anything else is a problem.
    pub fn integer(&self, name: &str, problems: &mut Vec<Problem>) -> Option<u64> {
        let value = self.bare(name, problems)?;
        let number = integer(&value);
        if number.is_none() {
            problems.push(Problem::new("R03", self.line, format!("{name}={} is not an integer", short(&value))));
        }
        number
    }

    /// A decimal number that is not negative; anything else is a problem.
    pub fn decimal(&self, name: &str, problems: &mut Vec<Problem>) -> Option<f64> {
        let value = self.bare(name, problems)?;
        let number = decimal(&value);
        if number.is_none() {
            problems.push(Problem::new("R03", self.line, format!("{name}={} is not a number", short(&value))));
        }
        number
    }
}

/// A decimal integer as the format has it: digits alone.
pub fn integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A decimal number as the format has it: digits, and perhaps a point and more digits.
pub fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) { text.parse().ok() } else { None }
}

/// The start of a text from outside, fit to be quoted in a message.
pub fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// One value, whether it was quoted, and what follows it.
fn value(text: &str) -> Option<(&str, bool, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, after) = quoted.split_once('"')?;
        return Some((value, true, after));
    }
    let end = text.find(',').unwrap_or(text.len());
    let (value, after) = text.split_at(end);
    Some((value, false, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, bool)], wrong: &[&str]) {
        let mut problems = Vec::new();
        let attributes = Attributes::read(1, text, &mut problems);
        let got: Vec<_> = attributes.list.iter().map(|a| (a.name.as_str(), a.value.as_str(), a.quoted)).collect();
        assert_eq!(got, expected);
        assert_eq!(problems.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>(), wrong);
    }

    #[test]
    fn quotes_protect_commas() {
        let expected = [("BANDWIDTH", "12", false), ("CODECS", "avc1.640028,mp4a.40.2", true), ("X-A", "b=c", false)];
        check(r#"BANDWIDTH=12,CODECS="avc1.640028,mp4a.40.2",X-A=b=c"#, &expected, &[]);
    }

    #[test]
    fn what_is_malformed_is_said() {
        check("A=1,A=2", &[("A", "1", false), ("A", "2", false)], &["A is given twice"]);
        check("A=\"1", &[], &["the value of A has no closing quote"]);
        check("A=1,", &[("A", "1", false)], &["the attribute list ends in a comma"]);
        check("A=\"1\"B=2", &[("A", "1", true)], &["a comma is missing before `B=2`"]);
        check("a=1", &[("a", "1", false)], &["`a` is not an attribute name"]);
        check("nonsense", &[], &["`nonsense` is not an attribute"]);
        check("A=1, B=2", &[("A", "1", false), (" B", "2", false)], &["` B` is not an attribute name"]);
        check("A=", &[("A", "", false)], &["the value of A is not well formed"]);
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(decimal("6.006"), Some(6.006));
        assert_eq!(decimal("6"), Some(6.0));
        for text in ["", ".5", "5.", "1e9", "-1", "+1", "nan", "inf", "0x1", "1.2.3", " 1"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
        assert_eq!(integer("18446744073709551616"), None);
    }
}
