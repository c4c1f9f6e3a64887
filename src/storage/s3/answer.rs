//! What S3 answers, in XML.

use std::fmt::Write as _;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::super::wire::{is_md5, tag_of};
use super::super::{Page, Part, Stat, Upload};

/// An error's own words.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Complaint {
    pub(super) code: String,
    pub(super) message: String,
}

/// An upload that was begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Begun {
    pub(super) upload_id: String,
}

/// An upload that was finished, or the error that came with status 200.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Finished {
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    #[serde(rename = "Code")]
    pub(super) code: Option<String>,
    #[serde(rename = "Message")]
    pub(super) message: Option<String>,
}

/// What stands before a key in the place where a page begins; tokens of servers have no such sign.
const KEY: char = '\0';

/// The answer to the question for a listing: anything else, such as a page for people, is none.
#[derive(Debug, Deserialize)]
pub(super) enum Listing {
    /// A page.
    ListBucketResult(Listed),
}

/// A page of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    contents: Vec<Found>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Found {
    key: String,
    size: u64,
    #[serde(rename = "ETag")]
    etag: Option<String>,
    last_modified: Option<String>,
    generation: Option<String>,
}

impl Listed {
    /// The objects with their keys below `root`.
    pub(super) fn page(&self, root: &str, by_generation: bool) -> Page {
        let found = self.contents.iter().filter_map(|found| {
            let key = self.key(found);
            let key = key.strip_prefix(root).filter(|key| !key.is_empty())?.to_owned();
            let tag = found.etag.as_deref().map(tag_of);
            let md5 = tag.clone().filter(|tag| is_md5(tag));
            Some(Stat {
                key,
                bytes: found.size,
                etag: if by_generation { found.generation.clone() } else { tag },
                md5,
                stored: found.last_modified.as_ref().and_then(|time| time.parse::<Timestamp>().ok()),
                ..Stat::default()
            })
        });
        Page { found: found.collect(), next: None }
    }

    /// Where the page after this one begins, which itself began at `after`. Fails if it would be this one again.
    pub(super) fn next(&self, after: Option<&str>) -> Result<Option<String>, Stuck> {
        if !self.is_truncated {
            return Ok(None);
        }
        let next = match &self.next_continuation_token {
            Some(token) => token.clone(),
            // A server that knows only the first kind of listing goes on behind a key.
            None => format!("{KEY}{}", self.key(self.contents.last().ok_or(Stuck)?)),
        };
        if after == Some(next.as_str()) { Err(Stuck) } else { Ok(Some(next)) }
    }

    /// The key of an object as the bucket has it.
    fn key(&self, found: &Found) -> String {
        if self.encoding_type.as_deref() == Some("url") { decoded(&found.key) } else { found.key.clone() }
    }
}

/// A listing that does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck;

/// How a page is asked for that begins at `after`.
pub(super) fn beginning(after: &str) -> Vec<(&'static str, &str)> {
    match after.strip_prefix(KEY) {
        // The first kind of listing has another name for it.
        Some(key) => vec![("marker", key), ("start-after", key)],
        None => vec![("continuation-token", after)],
    }
}

/// Uploads that nobody has finished.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Uploads {
    upload: Vec<Unfinished>,
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Unfinished {
    key: String,
    upload_id: String,
    initiated: Option<String>,
}

impl Uploads {
    /// Where the next page begins.
    pub(super) fn next(&self) -> Option<(String, String)> {
        let markers = self.next_key_marker.clone().zip(self.next_upload_id_marker.clone());
        markers.filter(|_| self.is_truncated)
    }

    /// The uploads with their keys below `root`.
    pub(super) fn uploads(self, root: &str) -> Vec<Upload> {
        let upload = |it: Unfinished| {
            let begun = it.initiated.and_then(|time| time.parse().ok());
            Some(Upload {
                key: it.key.strip_prefix(root)?.into(),
                id: it.upload_id,
                about: super::About::default(),
                begun,
            })
        };
        self.upload.into_iter().filter_map(upload).collect()
    }
}

/// Names the parts of an object in their order.
pub(super) fn manifest(parts: &[Part]) -> String {
    let mut xml = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for part in parts {
        let tag = quick_xml::escape::escape(&part.tag);
        write!(xml, "<Part><PartNumber>{}</PartNumber><ETag>\"{tag}\"</ETag></Part>", part.number + 1)
            .expect("a String takes all");
    }
    xml + "</CompleteMultipartUpload>"
}

/// A key of a listing; AWS writes a blank as `+`, and a plus always as `%2B`.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(xml: &str) -> Option<Listed> {
        quick_xml::de::from_str(xml).ok().map(|Listing::ListBucketResult(listed)| listed)
    }

    #[test]
    fn listings_are_read() {
        let xml = r#"<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>b</Name><EncodingType>url</EncodingType>
            <IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>
            <Contents><Key>p/a+b%2Bc%0A</Key><Size>3</Size><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>
            <LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>"#;
        let first = listed(xml).unwrap();
        assert_eq!(first.next(None), Ok(Some("t".into())));
        assert_eq!(first.next(Some("t")), Err(Stuck), "the same page again and again");
        let page = first.page("p/", false);
        assert_eq!((page.found[0].key.as_str(), page.found[0].bytes), ("a b+c\n", 3));
        assert!(page.found[0].md5.is_some() && page.found[0].stored.is_some());
        let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        assert_eq!(listed(empty).unwrap().page("", false), Page::default());
        assert_eq!(listed(empty).unwrap().next(None), Ok(None));
    }

    #[test]
    fn a_listing_without_a_token_goes_on_behind_its_last_key() {
        let xml = "<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>\
            <Contents><Key>p/a</Key></Contents><Contents><Key>p/b+c</Key></Contents></ListBucketResult>";
        let first = listed(xml).unwrap();
        let next = first.next(None).unwrap().unwrap();
        assert_eq!(beginning(&next), [("marker", "p/b c"), ("start-after", "p/b c")]);
        assert_eq!(first.next(Some(&next)), Err(Stuck), "a server that goes on nowhere");
        assert_eq!(beginning("t"), [("continuation-token", "t")]);
    }

    #[test]
    fn what_is_no_listing_is_not_an_empty_one() {
        for text in ["<html><body>Welcome</body></html>", "<!DOCTYPE html><html></html>", "<Error/>", ""] {
            assert!(listed(text).is_none(), "{text}");
        }
    }

    #[test]
    fn unfinished_uploads_are_read() {
        let xml = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>p/a</Key>\
            <UploadId>u</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload></ListMultipartUploadsResult>";
        let uploads = quick_xml::de::from_str::<Uploads>(xml).unwrap();
        assert_eq!(uploads.next(), None);
        let uploads = uploads.uploads("p/");
        assert_eq!((uploads[0].key.as_str(), uploads[0].id.as_str()), ("a", "u"));
        assert!(uploads[0].begun.is_some());
    }

    #[test]
    fn errors_are_read_also_where_the_status_is_200() {
        let error: Complaint = quick_xml::de::from_str("<Error><Code>NoSuchKey</Code></Error>").unwrap();
        assert_eq!(error.code, "NoSuchKey");
        let finished: Finished = quick_xml::de::from_str("<Error><Code>InternalError</Code></Error>").unwrap();
        assert_eq!(finished.code.as_deref(), Some("InternalError"));
    }
}
