//! Listings of Azure, in XML.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::super::wire::{tag_of, time_of_header};
use super::super::{Page, Stat};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    blobs: Blobs,
    next_marker: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Blobs {
    blob: Vec<Blob>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Blob {
    name: Name,
    properties: Properties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    /// The name is written `%XX`, because XML could not hold it.
    #[serde(rename = "@Encoded")]
    encoded: Option<String>,
    #[serde(rename = "$text")]
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Properties {
    #[serde(rename = "Content-Length")]
    bytes: u64,
    #[serde(rename = "Etag")]
    etag: Option<String>,
    #[serde(rename = "Content-MD5")]
    md5: Option<String>,
    #[serde(rename = "Last-Modified")]
    modified: Option<String>,
}

/// A page of a listing with the keys below `root`; nothing if it is none.
pub(super) fn page(xml: &str, root: &str) -> Option<Page> {
    use base64::Engine as _;
    let listed: Listed = quick_xml::de::from_str(xml).ok()?;
    let found = listed.blobs.blob.into_iter().filter_map(|blob| {
        let Blob { name, properties } = blob;
        let name = match name.encoded.as_deref() {
            Some("true") => percent_decode_str(&name.text).decode_utf8_lossy().into_owned(),
            _ => name.text,
        };
        let md5 = properties.md5.and_then(|md5| base64::engine::general_purpose::STANDARD.decode(md5).ok());
        Some(Stat {
            key: name.strip_prefix(root).filter(|key| !key.is_empty())?.to_owned(),
            bytes: properties.bytes,
            etag: properties.etag.as_deref().map(tag_of),
            md5: md5.filter(|md5| md5.len() == 16).map(hex::encode),
            stored: properties.modified.as_deref().and_then(time_of_header),
            ..Stat::default()
        })
    });
    Some(Page { found: found.collect(), next: listed.next_marker.filter(|next| !next.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read_with_every_blank_of_a_name() {
        let xml = r#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="c"><Prefix>p/</Prefix>
            <Blobs><Blob><Name>p/ a &amp; b </Name><Properties><Last-Modified>Sat, 28 Nov 2026 03:13:33 GMT</Last-Modified>
            <Etag>0x8D</Etag><Content-Length>7</Content-Length><Content-MD5>1B2M2Y8AsgTpgAmY7PhCfg==</Content-MD5>
            <BlobType>BlockBlob</BlobType></Properties></Blob>
            <Blob><Name Encoded="true">p/x%EF%BF%BE%2525</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>
            </Blobs><NextMarker>n</NextMarker></EnumerationResults>"#;
        let page = page(xml, "p/").unwrap();
        assert_eq!((page.found[0].key.as_str(), page.found[0].bytes), (" a & b ", 7));
        assert_eq!(page.found[0].md5.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
        assert!(page.found[0].stored.is_some());
        assert_eq!(page.found[1].key, "x\u{fffe}%25");
        assert_eq!(page.next.as_deref(), Some("n"));
    }

    #[test]
    fn an_empty_container_has_an_empty_page() {
        let xml = "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        assert_eq!(page(xml, ""), Some(Page::default()));
        assert_eq!(page("nonsense", ""), None);
    }
}
