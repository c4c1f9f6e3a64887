//! Collects pictures into messages and sends each as soon as it is full.

use super::run::Stored;
use super::{Context, Listener, Mailing, Said};
use crate::mail::{Attachment, Letter};
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::pipeline::error::Result;
use crate::plan::mail::{Again, Filling, message_id};

/// A picture and the digest by which it is known.
type Part = (Attachment, String);

/// The messages of a run.
pub(super) struct Post<'a> {
    mailing: &'a Mailing,
    context: &'a Context,
    filling: Filling<Part>,
    /// Messages of an earlier run that nobody knows to be taken: each goes once more as it was.
    again: Vec<Again<Part>>,
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
    /// No messages yet, but for those of an earlier run that may have to be sent again.
    pub(super) async fn new(mailing: &'a Mailing, context: &'a Context) -> std::result::Result<Self, Failure> {
        let mut recipients = mailing.to.clone();
        recipients.sort();
        let recipients = recipients.join(", ");
        let again = context.album.unanswered(&recipients).await?;
        let again = again.into_iter().map(|(id, sha256s)| Again::new(id, sha256s)).collect();
        let filling = Filling::new(mailing.limit);
        Ok(Self { mailing, context, filling, again, recipients, given_up: None, sent: 0, failed: 0, unsent: 0 })
    }

    /// Adds a picture, unless these people got it already, and sends the message that is full.
    pub(super) async fn add(&mut self, stored: &Stored, listener: Listener<'_>) -> Result<()> {
        let sha256 = &stored.picture.sha256;
        if self.context.album.was_mailed(&self.recipients, sha256).await? {
            return Ok(());
        }
        let (bytes, media_type) = stored.content(self.context).await?;
        let name = stored.picture.name.rsplit('/').next().unwrap_or_default().to_owned();
        self.unsent += 1;
        let part = (Attachment { name, media_type, bytes }, sha256.clone());
        if let Some(at) = self.again.iter().position(|again| again.wants(sha256)) {
            self.add_again(at, part, listener).await;
        } else {
            self.fill(part, listener).await;
        }
        Ok(())
    }

    /// Adds a picture to a message of an earlier run, and sends that when it is what it was.
    async fn add_again(&mut self, at: usize, part: Part, listener: Listener<'_>) {
        let (sha256, size) = (part.1.clone(), part.0.bytes.len() as u64);
        self.again[at].add(part, &sha256, size);
        if self.again[at].is_whole(self.mailing.limit) {
            let Again { id, parts, .. } = self.again.remove(at);
            self.send(Some(id), parts, listener).await;
        }
    }

    async fn fill(&mut self, part: Part, listener: Listener<'_>) {
        let size = part.0.bytes.len() as u64;
        if let Some(full) = self.filling.add(part, size) {
            self.send(None, full, listener).await;
        }
    }

    /// Sends what has been collected. A message of an earlier run that lacks a picture now,
    /// or is too large now, is no longer the same: what there is of it goes with the others.
    pub(super) async fn finish(&mut self, listener: Listener<'_>) {
        for again in std::mem::take(&mut self.again) {
            for part in again.parts {
                self.fill(part, listener).await;
            }
        }
        let last = self.filling.take();
        if !last.is_empty() {
            self.send(None, last, listener).await;
        }
    }

    async fn send(&mut self, id: Option<String>, parts: Vec<Part>, listener: Listener<'_>) {
        let pictures = parts.len();
        // Pictures come in the order they were done in; people want that of their names.
        let mut parts = parts;
        parts.sort_by(|(a, a_digest), (b, b_digest)| (&a.name, a_digest).cmp(&(&b.name, b_digest)));
        let (attachments, sha256s): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let named = attachments.iter().map(|part| part.name.as_str()).zip(sha256s.iter().map(String::as_str));
        let id = id.unwrap_or_else(|| message_id(std::slice::from_ref(&self.recipients), named));
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
        self.context.album.mailing(&self.recipients, id, sha256s).await?;
        let retry = |failure: &Failure, wait| listener(Said::MailWaits { failure: failure.clone(), wait });
        let sent = self.mailing.outbox.send(letter, &retry);
        let sent = self.context.cancel.run_until_cancelled(sent).await.ok_or_else(Failure::stopped)?;
        if sent.as_ref().is_err_and(|failure| failure.class == Class::Temporary) {
            // The server said so: no copy of it is anywhere.
            self.context.album.not_mailed(&self.recipients, sha256s).await?;
        }
        let bytes = sent?;
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
