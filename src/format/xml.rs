//! Just as much XML as a DASH manifest needs: elements, attributes, text. No
//! document types, so no entities of the author's own.

use super::playlist::attribute::short;

/// Elements of one manifest; a day with a list of every segment has 100,000.
const ELEMENTS: usize = 400_000;

/// Elements within elements.
const DEPTH: usize = 24;

/// Attributes of one element.
const ATTRIBUTES: usize = 60;

/// One element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Element {
    /// Its name without the prefix of its namespace.
    pub name: String,
    attributes: Vec<(String, String)>,
    /// The elements in it, in order.
    pub children: Vec<Element>,
    /// The text directly in it.
    pub text: String,
}

impl Element {
    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of an attribute that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    /// All children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of that name.
    pub fn first(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Reads a document and gives its root.
pub fn read(bytes: &[u8]) -> Result<Element, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut open: Vec<Element> = vec![Element::default()];
    let mut count = 0;
    while let Some((before, after)) = rest.split_once('<') {
        if let Some(last) = open.last_mut() {
            last.text.push_str(&plain(before.trim()));
        }
        rest = if let Some(after) = after.strip_prefix("!--") {
            after.split_once("-->").ok_or("a comment has no end")?.1
        } else if let Some(after) = after.strip_prefix("![CDATA[") {
            let (data, after) = after.split_once("]]>").ok_or("character data has no end")?;
            if let Some(last) = open.last_mut() {
                last.text.push_str(data);
            }
            after
        } else if let Some(after) = after.strip_prefix('?') {
            after.split_once("?>").ok_or("an instruction has no end")?.1
        } else if after.starts_with('!') {
            return Err("it has a document type, which a manifest must not need".into());
        } else if let Some(after) = after.strip_prefix('/') {
            let (name, after) = after.split_once('>').ok_or("a tag has no end")?;
            let done = open.pop().unwrap_or_default();
            if done.name != local(name.trim()) {
                return Err(format!("`{}` ends where `{}` is open", short(name), short(&done.name)));
            }
            open.last_mut().ok_or("more ends than begins")?.children.push(done);
            after
        } else {
            count += 1;
            if count > ELEMENTS || open.len() > DEPTH {
                return Err(format!("it has more than {ELEMENTS} elements, or {DEPTH} in each other"));
            }
            let (element, closed, after) = tag(after)?;
            if closed {
                open.last_mut().ok_or("there is no root")?.children.push(element);
            } else {
                open.push(element);
            }
            after
        };
    }
    match (open.len(), open.pop().and_then(|document| document.children.into_iter().next())) {
        (1, Some(root)) => Ok(root),
        (1, None) => Err("it has no element".into()),
        _ => Err("it ends within an element".into()),
    }
}

/// Reads a start tag; answers whether it closes itself, and what follows.
fn tag(text: &str) -> Result<(Element, bool, &str), String> {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).ok_or("a tag has no end")?;
    let (name, mut rest) = text.split_at(end);
    let mut element = Element { name: local(name).to_owned(), ..Element::default() };
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("/>") {
            return Ok((element, true, after));
        }
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((element, false, after));
        }
        let (name, after) = rest.split_once('=').ok_or("an attribute has no value")?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\'')).ok_or("a value has no quotes")?;
        let (value, after) = after.split_at(1).1.split_once(quote).ok_or("a value has no end")?;
        if element.attributes.len() == ATTRIBUTES {
            return Err(format!("an element has more than {ATTRIBUTES} attributes"));
        }
        element.attributes.push((local(name.trim()).to_owned(), plain(value)));
        rest = after;
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, name)| name)
}

/// The text with its references replaced.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let Some((name, after)) = after.split_once(';').filter(|(name, _)| name.len() <= 8) else {
            plain.push('&');
            rest = after;
            continue;
        };
        let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix('x') {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        });
        match name {
            "amp" => plain.push('&'),
            "lt" => plain.push('<'),
            "gt" => plain.push('>'),
            "quot" => plain.push('"'),
            "apos" => plain.push('\''),
            _ => plain.extend(number.and_then(char::from_u32)),
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_text_are_read() {
        let text =
            "<?xml version='1.0'?><!-- a < b --><M:MPD xmlns=\"u\" a='1 &amp; &#50;'><B>x&lt;</B><C d=\"2\"/></M:MPD>";
        let root = read(text.as_bytes()).unwrap();
        assert_eq!((root.name.as_str(), root.get("a")), ("MPD", Some("1 & 2")));
        assert_eq!(root.first("B").map(|b| b.text.as_str()), Some("x<"));
        assert_eq!(root.first("C").and_then(|c| c.number("d")), Some(2));
    }

    #[test]
    fn what_is_broken_or_hostile_is_refused() {
        let deep = "<a>".repeat(1000);
        let wide = format!("<a {}/>", "b='1' ".repeat(1000));
        for text in ["", "<a", "<a>", "<a></b>", "<a b/>", "<a b=c/>", "<!DOCTYPE a><a/>", "</a>", "<!--", &deep, &wide]
        {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read(b"<a>\xff</a>").is_err());
    }
}
