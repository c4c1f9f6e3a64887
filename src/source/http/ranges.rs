//! Pieces of one file by ranges, each on the condition that the file is still the same.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use url::Url;

use super::super::SourceSettings;
use super::super::body::Body;
use super::super::mark::Mark;
use super::super::pieces::Origin;
use super::super::tries::Trouble;
use super::answer::Answer;
use super::client::{Client, Input, Question};

/// A file that a web server gives out in ranges.
pub(in super::super) struct Ranges<'a> {
    client: &'a Client,
    input: &'a Input<'a>,
    /// Where redirects led.
    at: Mutex<Option<Url>>,
}

impl<'a> Ranges<'a> {
    /// The file behind `input`, to which redirects led `at`.
    pub(in super::super) fn new(client: &'a Client, input: &'a Input<'a>, at: Option<Url>) -> Self {
        Self { client, input, at: Mutex::new(at) }
    }

    fn set(&self, at: Option<Url>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

#[async_trait]
impl Origin for Ranges<'_> {
    fn settings(&self) -> &SourceSettings {
        &self.client.settings
    }

    async fn open(&self, piece: &Range<u64>, mark: &Mark) -> Result<Body, Trouble> {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let question =
            Question { at: at.clone(), range: Some(piece.clone()), if_range: mark.validator(), ..Question::default() };
        let (response, at) = match self.client.ask(self.input, &question).await {
            Ok(answer) => answer,
            Err(Trouble::Final(failure) | Trouble::Refused(failure))
                if at.as_ref().is_some_and(|at| at != self.input.url) =>
            {
                // Where a redirect led may be signed for a short time only. The input's own URL has the last word.
                self.set(None);
                return Err(Trouble::Again(failure, None));
            }
            Err(trouble) => return Err(trouble),
        };
        self.set(Some(at));
        let size = mark.size.unwrap_or_default();
        if let Some(why) = differs(&Answer::of(&response), piece, size, mark) {
            return Err(Trouble::Changed(format!("`{}` {why}", self.input.shown())));
        }
        Ok(Body::Http(response))
    }
}

/// Why this answer does not continue the file we began with.
fn differs(answer: &Answer, piece: &Range<u64>, size: u64, mark: &Mark) -> Option<String> {
    if answer.status != 206 {
        return Some("changed, or cannot go on in the middle".into());
    }
    let Some((first, last, total)) = answer.range else { return Some("sent a part without saying which".into()) };
    if first != piece.start || last >= piece.end {
        return Some(format!("was asked for bytes from {} and sent bytes from {first}", piece.start));
    }
    let other = |now: &Option<String>, then: &Option<String>| Some(now.as_ref()? != then.as_ref()?);
    // Who knows no `If-Range` sends a part of whatever is there now; without a tag its date tells.
    let dates = || other(&answer.last_modified, &mark.last_modified);
    let is_other = other(&answer.etag, &mark.etag).or_else(dates).unwrap_or(false);
    (total.is_some_and(|total| total != size) || is_other || answer.encoded)
        .then(|| "changed while it was downloaded".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_another_version_is_noticed() {
        let date = |day: &str| Some(format!("{day} Nov 2026"));
        let mark = Mark { etag: None, last_modified: date("1"), ..Mark::default() };
        let answer =
            Answer { status: 206, range: Some((0, 9, Some(100))), last_modified: date("1"), ..Answer::default() };
        let differs = |answer: &Answer, mark: &Mark| differs(answer, &(0..10), 100, mark);
        assert_eq!(differs(&answer, &mark), None);
        let later = Answer { last_modified: date("2"), ..answer.clone() };
        assert!(differs(&later, &mark).is_some());
        // A tag says more than a date: twin servers have the same of one and not of the other.
        let tagged = |answer: Answer| Answer { etag: Some("\"a\"".into()), ..answer };
        let mark = Mark { etag: Some("\"a\"".into()), ..mark };
        assert_eq!(differs(&tagged(later), &mark), None);
        assert!(differs(&Answer { etag: Some("\"b\"".into()), ..answer }, &mark).is_some());
    }
}
