//! Collects pictures into messages and sends each as soon as it is full.

use super::run::Stored;
use super::{Context, Listener, Mailing, Said};
use crate::mail::{Attachment, Letter};
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::pipeline::error::Result;
use crate::plan::mail::{Filling, message_id};

/// The messages of a run.
pub(super) struct Post<'a> {
    mailing: &'a Mailing,
    context: &'a Context,
    filling: Filling<(Attachment, String)>,
    recipients: String,
    /// Why nothing more is sent: a login that is tried again and again gets locked,
    /// and a server that is down would hold up the run for every message anew.
    given_up: Option<Failure>,
    /// Messages sent.
    pub(super) sent: u64,
    /// Messages that could not be sent.
    pub(super) failed: u64,
    /// Pictures of which nobody knows yet whether they are sent.
    pub(super) unsent: u64,
}

impl<'a> Post<'a> {
    /// No messages yet.
    pub(super) fn new(mailing: &'a Mailing, context: &'a Context) -> Self {
        let mut recipients = mailing.to.clone();
        recipients.sort();
        let recipients = recipients.join(", ");
        let filling = Filling::new(mailing.limit);
        Self { mailing, context, filling, recipients, given_up: None, sent: 0, failed: 0, unsent: 0 }
    }

    /// Adds a picture, unless these people got it already, and sends the message that is full.
    pub(super) async fn add(&mut self, stored: &Stored, listener: Listener<'_>) -> Result<()> {
        let sha256 = &stored.picture.sha256;
        if self.context.album.was_mailed(&self.recipients, sha256).await? {
            return Ok(());
        }
        let (bytes, media_type) = stored.content(self.context).await?;
        let name = stored.picture.name.rsplit('/').next().unwrap_or_default().to_owned();
        let size = bytes.len() as u64;
        self.unsent += 1;
        let full = self.filling.add((Attachment { name, media_type, bytes }, sha256.clone()), size);
        if let Some(full) = full {
            self.send(full, listener).await;
        }
        Ok(())
    }

    /// Sends what has been collected.
    pub(super) async fn finish(&mut self, listener: Listener<'_>) {
        let last = self.filling.take();
        if !last.is_empty() {
            self.send(last, listener).await;
        }
    }

    async fn send(&mut self, parts: Vec<(Attachment, String)>, listener: Listener<'_>) {
        let pictures = parts.len();
        // Pictures come in the order they were done in; people want that of their names.
        let mut parts = parts;
        parts.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let (attachments, sha256s): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let named = attachments.iter().map(|part| part.name.as_str()).zip(sha256s.iter().map(String::as_str));
        let id = message_id(std::slice::from_ref(&self.recipients), named);
        let letter = self.letter(id.clone(), attachments);
        match self.hand_over(letter, &id, &sha256s, listener).await {
            Ok(bytes) => {
                self.sent += 1;
                self.unsent -= pictures as u64;
                listener(Said::Mailed { pictures, bytes });
            }
            // Asked to stop, with the message in hand: the next run sends it.
            Err(failure) if failure.class == Class::Stopped => {}
            Err(failure) => {
                self.failed += 1;
                self.unsent -= pictures as u64;
                if failure.class == Class::Environment {
                    self.given_up = Some(failure.clone());
                }
                listener(Said::NotMailed { pictures, failure });
            }
        }
    }

    async fn hand_over(
        &self,
        letter: Letter,
        id: &str,
        sha256s: &[String],
        listener: Listener<'_>,
    ) -> std::result::Result<u64, Failure> {
        if let Some(failure) = &self.given_up {
            return Err(failure.clone());
        }
        let retry = |failure: &Failure, wait| listener(Said::MailWaits { failure: failure.clone(), wait });
        let sent = self.mailing.outbox.send(letter, &retry);
        let bytes = self.context.cancel.run_until_cancelled(sent).await.ok_or_else(Failure::stopped)??;
        fault::point("photo-mailed");
        self.context.album.mailed(&self.recipients, id, sha256s).await?;
        Ok(bytes)
    }

    fn letter(&self, id: String, pictures: Vec<Attachment>) -> Letter {
        let names: Vec<_> = pictures.iter().map(|picture| picture.name.as_str()).collect();
        let count = if names.len() == 1 { "1 photo".into() } else { format!("{} photos", names.len()) };
        let between = match names.as_slice() {
            [first, .., last] => format!(": {first} to {last}"),
            [only] => format!(": {only}"),
            [] => String::new(),
        };
        let text = format!("{count}:\r\n\r\n{}\r\n", names.join("\r\n"));
        let Mailing { from, to, .. } = self.mailing;
        Letter { from: from.clone(), to: to.clone(), subject: format!("{count}{between}"), text, id, pictures }
    }
}
