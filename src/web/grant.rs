//! What the server signs and later knows again: cookies, and grants to play one video for a while.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::model::secret::Secret;

/// Bytes of a signature that are sent.
const SIGNED: usize = 24;

/// Signs `subject` until `end` (milliseconds since 1970) for one purpose: `subject.end.signature`.
pub(super) fn sign(secret: &Secret, purpose: &str, subject: &str, end: i64) -> String {
    let text = format!("{}.{end}", URL_SAFE_NO_PAD.encode(subject));
    let signature = code(secret, purpose, &text).finalize().into_bytes();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(&signature[..SIGNED]))
}

/// The subject of a text signed for that purpose, unless its time is over.
pub(super) fn read(secret: &Secret, purpose: &str, signed: &str, now: i64) -> Option<String> {
    let (text, signature) = signed.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok().filter(|bytes| bytes.len() == SIGNED)?;
    code(secret, purpose, text).verify_truncated_left(&signature).ok()?;
    let (subject, end) = text.split_once('.')?;
    if end.parse::<i64>().ok()? < now {
        return None;
    }
    String::from_utf8(URL_SAFE_NO_PAD.decode(subject).ok()?).ok()
}

fn code(secret: &Secret, purpose: &str, text: &str) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    code.update(purpose.as_bytes());
    code.update(&[0]);
    code.update(text.as_bytes());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_for_one_video_one_purpose_and_one_time() {
        let secret = Secret::new(vec![1; 32]);
        let grant = sign(&secret, "play", "film", 1000);
        assert_eq!(read(&secret, "play", &grant, 1000).as_deref(), Some("film"));
        assert_eq!(read(&secret, "play", &grant, 1001), None);
        assert_eq!(read(&secret, "cookie", &grant, 0), None);
        assert_eq!(read(&Secret::new(vec![2; 32]), "play", &grant, 0), None);
        let later = grant.replacen(".1000.", ".9000.", 1);
        assert_ne!(later, grant);
        assert_eq!(read(&secret, "play", &later, 0), None);
        for bad in ["", ".", "..", "a.b.c", grant.rsplit_once('.').unwrap().0] {
            assert_eq!(read(&secret, "play", bad, 0), None, "{bad}");
        }
    }
}
