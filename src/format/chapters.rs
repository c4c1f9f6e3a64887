//! Writes chapters: as `WebVTT`, and in Apple's JSON ("Providing JSON chapters", `com.apple.hls.chapters`).

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::model::media::Chapter;

use super::webvtt::{clock, escaped};

/// A track of kind `chapters`: one cue for each.
pub fn vtt(chapters: &[Chapter]) -> String {
    let mut text = String::from("WEBVTT\n");
    for (number, Chapter { start, end, title }) in (1..).zip(chapters) {
        write!(text, "\n{number}\n{} --> {}\n{}\n", clock(*start), clock(*end), escaped(title))
            .expect("writing to a string cannot fail");
    }
    text
}

/// Apple's list, which `EXT-X-SESSION-DATA` leads to.
pub fn json(chapters: &[Chapter]) -> String {
    let millis = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let one = |(number, chapter): (u64, &Chapter)| {
        json!({
            "chapter": number,
            "start-time": millis(chapter.start),
            "duration": millis(chapter.end - chapter.start),
            "titles": [{ "language": "und", "title": chapter.title }],
        })
    };
    Value::Array((1..).zip(chapters).map(one).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_text_and_nothing_else() {
        let chapter = |start, end, title: &str| Chapter { start, end, title: title.into() };
        let chapters = [chapter(0.0, 2.5, "Start"), chapter(2.5, 3723.0, "<b>A --> B</b> & \"C\"")];
        let expected = "WEBVTT\n\n1\n00:00:00.000 --> 00:00:02.500\nStart\n\n2\n00:00:02.500 --> 01:02:03.000\n\
                        &lt;b&gt;A --&gt; B&lt;/b&gt; &amp; \"C\"\n";
        assert_eq!(vtt(&chapters), expected);
        let list: Value = serde_json::from_str(&json(&chapters)).unwrap();
        assert_eq!(list[1]["titles"][0]["title"], "<b>A --> B</b> & \"C\"");
        assert_eq!(
            (&list[1]["start-time"], &list[1]["duration"], &list[1]["chapter"]),
            (&json!(2.5), &json!(3720.5), &json!(2))
        );
    }
}
