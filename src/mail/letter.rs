//! A message as it goes over the wire, and as a file.

use std::path::PathBuf;

use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{Attachment as Part, Mailbox, MultiPart, SinglePart};

use super::Letter;
use crate::model::failure::Failure;
use crate::scratch::file::{self, Privacy};

/// The message of a letter.
pub(super) fn build(letter: Letter) -> Result<Message, Failure> {
    let from = mailbox(&letter.from)?;
    let domain = from.email.domain().to_owned();
    let mut message = Message::builder().from(from).subject(letter.subject);
    message = message.message_id(Some(format!("<{}.forebay@{domain}>", letter.id)));
    for to in &letter.to {
        message = message.to(mailbox(to)?);
    }
    let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(letter.text));
    for picture in letter.pictures {
        let kind = ContentType::parse(picture.media_type)
            .map_err(|error| Failure::environment(format!("`{}` is no media type: {error}", picture.media_type)))?;
        parts = parts.singlepart(Part::new(picture.name).body(picture.bytes, kind));
    }
    message.multipart(parts).map_err(|error| Failure::permanent(format!("a message cannot be made: {error}")))
}

/// The mailbox of an address.
pub(super) fn mailbox(address: &str) -> Result<Mailbox, Failure> {
    address.parse().map_err(|error| {
        Failure::permanent(format!("`{}` is no mail address: {error}", address.escape_debug()))
            .hint("write it as `ann@example.org`")
    })
}

/// Writes the message into `folder`; the same one gets the same name.
pub(super) async fn keep(folder: PathBuf, id: String, message: Message) -> Result<u64, Failure> {
    let write = move || {
        let bytes = message.formatted();
        file::make_folder(&folder, Privacy::Private)?;
        file::write(&folder.join(format!("{id}.eml")), &bytes, Privacy::Private)?;
        Ok(bytes.len() as u64)
    };
    let done = tokio::task::spawn_blocking(write).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| Failure::io("could not write a message", &error))
}

#[cfg(test)]
mod tests {
    use super::super::Attachment;
    use super::*;

    #[test]
    fn a_message_has_its_pictures_under_their_names() {
        let picture =
            Attachment { name: "Grüße \"1\".jpg".into(), media_type: "image/jpeg", bytes: vec![0xff; 3000] };
        let letter = Letter {
            from: "Ann <ann@example.org>".into(),
            to: vec!["bob@example.org".into()],
            subject: "Photos".into(),
            text: "1 photo".into(),
            id: "0a1b".into(),
            pictures: vec![picture],
        };
        let text = String::from_utf8(build(letter).unwrap().formatted()).unwrap();
        assert!(text.contains("Message-ID: <0a1b.forebay@example.org>"), "{text}");
        assert!(text.contains("Content-Type: image/jpeg") && text.contains("attachment"));
        assert!(text.lines().all(|line| line.len() <= 998), "no line is longer than mail allows");
    }

    #[test]
    fn addresses_cannot_smuggle_headers() {
        for address in ["a@b\r\nBcc: x@y", "nobody", "", "a@b, c@d"] {
            assert!(mailbox(address).is_err(), "{address:?}");
        }
        assert!(mailbox("ann@example.org").is_ok());
    }
}
