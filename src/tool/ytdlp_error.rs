//! What yt-dlp's last words mean.

use url::Url;

use crate::model::failure::Failure;
use crate::model::secret::masked_url;

/// Longest message that is still one clear line.
const LONGEST: usize = 300;

/// What the other connections say when one has given up.
const AFTERMATH: &str = "write to closed file";

/// Words of a machine that cannot go on. The right column is the hint.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("no space left", "free some space there and run the same command again"),
    ("errno 28", "free some space there and run the same command again"),
    ("disk quota", "free some space there and run the same command again"),
    ("ffmpeg is not installed", "run `make setup`, which installs ffmpeg"),
    ("ffmpeg not found", "run `make setup`, which installs ffmpeg"),
    ("errno 13", "check the rights of the scratch folder"),
    ("read-only file system", "check the rights of the scratch folder"),
];

/// Words of a network or a server that may be better later.
const TEMPORARY: &[&str] = &[
    "http error 408",
    "http error 425",
    "http error 429",
    "http error 5",
    "timed out",
    "timeout",
    "connection refused",
    "connection reset",
    "connection aborted",
    "connection broken",
    "remote end closed",
    "remotedisconnected",
    "incompleteread",
    "incomplete read",
    "bytes read",
    "failed to resolve",
    "name resolution",
    "name or service not known",
    "network is unreachable",
    "no route to host",
    "eof occurred",
    "did not get any data blocks",
    "temporarily",
    "try again later",
];

/// Puts the last lines of standard error into one failure.
pub(super) fn failure(lines: &[String], url: &Url) -> Failure {
    // It writes `ERROR: `, a carriage return, and on what we take for a line of its own `[download] Got error: …`.
    let is_error =
        |line: &str| (line.starts_with("ERROR:") || line.contains("] Got error: ")) && !line.contains(AFTERMATH);
    let errors = lines.iter().rev().filter(|line| is_error(line));
    let said = errors.chain(lines.last()).map(|line| plain(line, url)).find(|said| !said.is_empty());
    let said = said.unwrap_or_else(|| "yt-dlp failed and did not say why".to_owned());
    let lower = lines.join("\n").to_ascii_lowercase();
    let what = format!("`{}`: {said}", masked_url(url));
    if let Some((_, hint)) = ENVIRONMENT.iter().find(|(words, _)| lower.contains(words)) {
        return Failure::environment(what).hint(*hint);
    }
    let last = said.to_ascii_lowercase();
    if TEMPORARY.iter().any(|words| last.contains(words)) {
        return Failure::temporary(what);
    }
    Failure::permanent(what)
}

/// One line for people: no prefix, no plea to report a bug, no secrets, no control characters.
fn plain(line: &str, url: &Url) -> String {
    let text = line.strip_prefix("ERROR:").unwrap_or(line).trim();
    // `[extractor] id: message`
    let text = match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, message)| message),
        None => text,
    };
    let text = [" (caused by", "; please report", " please report", "; see  http", ". Confirm you are on"]
        .iter()
        .fold(text, |text, end| text.split(end).next().unwrap_or(text));
    let text = text.replace(url.as_str(), &masked_url(url));
    let words: Vec<_> = text.split_whitespace().map(masked).collect();
    words.join(" ").chars().filter(|character| !character.is_control()).take(LONGEST).collect()
}

/// A word, with the secrets of a URL in it masked.
fn masked(word: &str) -> String {
    let Some(start) = word.find("http://").or_else(|| word.find("https://")) else { return word.to_owned() };
    let (before, rest) = word.split_at(start);
    let end = rest.find(['\'', '"', '`', ')', ',']).unwrap_or(rest.len());
    let (link, after) = rest.split_at(end);
    match Url::parse(link) {
        Ok(link) => format!("{before}{}{after}", masked_url(&link)),
        Err(_) => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::failure::Class;

    use super::*;

    #[test]
    fn last_words_are_classed() {
        let cases = [
            (
                "ERROR: [generic] a: Unable to download webpage: HTTP Error 429: Too Many Requests (caused by <HTTPError 429>)",
                Class::Temporary,
            ),
            ("ERROR: [generic] Unable to download webpage: HTTP Error 503: Service Unavailable", Class::Temporary),
            ("ERROR: [youtube] abc: Video unavailable. This video is private", Class::Permanent),
            (
                "ERROR: [generic] a: Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404: Not Found>)",
                Class::Permanent,
            ),
            ("ERROR: unable to write data: [Errno 28] No space left on device", Class::Environment),
            ("ERROR: You have requested merging of multiple formats but ffmpeg is not installed.", Class::Environment),
            ("ERROR: [generic] Unable to download webpage: [Errno 111] Connection refused", Class::Temporary),
            ("ERROR: fragment 4 not found, unable to continue", Class::Permanent),
            ("ERROR: Unsupported URL: https://h/x", Class::Permanent),
        ];
        let url = Url::parse("https://h/x").unwrap();
        for (line, class) in cases {
            assert_eq!(failure(&[line.to_owned()], &url).class, class, "{line}");
        }
        assert_eq!(failure(&[], &url).what, "`https://h/x`: yt-dlp failed and did not say why");
    }

    #[test]
    fn messages_are_one_clear_line_without_secrets() {
        let url = Url::parse("https://h/x?token=s3cret").unwrap();
        let line = "ERROR: [generic] x: Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404: Not Found>)";
        let told = failure(&["noise".to_owned(), line.to_owned()], &url);
        assert_eq!(told.what, "`https://h/x?***`: Unable to download webpage: HTTP Error 404: Not Found");
        let lines = ["ERROR: fragment 3 not found, unable to continue", "ERROR: ", "ERROR: write to closed file"];
        assert_eq!(
            failure(&lines.map(String::from), &url).what,
            "`https://h/x?***`: fragment 3 not found, unable to continue"
        );
        let lines = ["ERROR: ", "[download] Got error: HTTP Error 404: No. Giving up after 3 retries", AFTERMATH];
        assert_eq!(
            failure(&lines.map(String::from), &url).what,
            "`https://h/x?***`: HTTP Error 404: No. Giving up after 3 retries"
        );
        let line = "ERROR: Unsupported URL: https://h/x?token=s3cret";
        assert!(!failure(&[line.to_owned()], &url).what.contains("s3cret"));
        let line = "ERROR: bad 'https://cdn/y?sig=s3cret', sorry";
        assert_eq!(failure(&[line.to_owned()], &url).what, "`https://h/x?***`: bad 'https://cdn/y?***', sorry");
    }
}
