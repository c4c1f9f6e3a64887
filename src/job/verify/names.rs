//! R52: what objects are called, and what servers say they are.

use crate::format::playlist::attribute::short;

use super::address::Address;
use super::finding::Findings;
use super::inside::Form;

/// Content types of playlists.
const PLAYLISTS: [&str; 3] = ["application/vnd.apple.mpegurl", "audio/mpegurl", "application/x-mpegurl"];

/// A playlist must be known by its name or by its type.
pub(super) fn playlist(address: &Address, kind: Option<&str>, findings: &mut Findings) {
    let lower = address.path.to_ascii_lowercase();
    let named = [".m3u8", ".m3u"].iter().any(|end| lower.ends_with(end));
    let typed = kind.is_some_and(|kind| PLAYLISTS.contains(&kind));
    if !named && !typed {
        findings.violation("R52", &address.path, "neither the name nor the content type says that it is a playlist");
    } else if let Some(kind) = kind.filter(|_| !typed) {
        let what = format!("its content type is {}, not {}", short(kind), PLAYLISTS[0]);
        findings.apple("R52", &address.path, what);
    }
}

/// The type of a segment, where a server says one.
pub(super) fn segment(name: &str, form: Option<Form>, kind: Option<&str>, findings: &mut Findings) {
    let (Some(form), Some(kind)) = (form, kind) else { return };
    let fitting: &[&str] = match form {
        Form::Stream => &["video/mp2t"],
        Form::Fragments => &["video/mp4", "audio/mp4", "video/iso.segment", "audio/iso.segment", "application/mp4"],
        Form::Packed => &["audio/aac", "audio/x-aac", "audio/aacp"],
    };
    if !fitting.contains(&kind) {
        findings.warning("R52", name, format!("its content type is {}, not {}", short(kind), fitting[0]));
    }
}
