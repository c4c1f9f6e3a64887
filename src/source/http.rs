//! Plain media over HTTP: asked first what it is, then brought in pieces.
//!
//! A file is never spliced from two versions: every piece is asked for on the
//! condition that the file is still the same, and when it is not, all begins anew.

mod answer;
mod client;
mod other;
mod ranges;
mod stream;

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, Response};
use url::Url;

use crate::format::looks::{HEAD, Looks, PAGE, looks};
use crate::model::event::{Stage, What};
use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::pipeline::lane::Permit;

use self::answer::Answer;
use self::client::Question;
pub(super) use self::ranges::Ranges;
use super::body::Body;
use super::mark::Mark;
use super::pace::too_slow;
use super::part::{Part, clear, make};
use super::pieces::{self, First};
use super::room::Room;
use super::tries::{Tries, Trouble};
use super::{FetchContext, Fetched, Record, name};

pub(super) use self::client::{Client, Input, could_not};
pub(super) use self::other::{Other, ask_other};

/// Bytes of the first request: enough to see what they are, too few to keep others waiting.
pub(super) const FIRST: u64 = 32 * 1024;

/// A question on the side may take no longer.
const ASIDE: Duration = Duration::from_secs(10);

/// What an input turned out to be.
pub(super) enum Outcome {
    /// Media, now whole on this machine.
    Whole(Box<Fetched>),
    /// A playlist of segments.
    Manifest,
    /// A page.
    Page,
}

/// What a URL answers that does not say so by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Media,
    Manifest,
    /// Anything else.
    Page,
}

/// The first answer to a download, with its permit.
struct Opened {
    response: Response,
    answer: Answer,
    /// The first bytes of the body.
    head: Vec<u8>,
    /// Where redirects led.
    at: Url,
    permit: Permit<Rank>,
}

/// What a URL without a telling extension answers.
pub(super) async fn answers(
    client: &Client,
    input: &Input<'_>,
    context: &FetchContext<'_>,
) -> Result<Answers, Failure> {
    let plain = Beginning { ranges: true, packed: false };
    let opened = match open(client, input, context, plain).await {
        // A wrong range is no reason to take it for a page.
        Err(Trouble::Changed(_)) => open(client, input, context, Beginning { ranges: false, ..plain }).await,
        // Some keep their pages compressed, whatever they are asked for.
        Ok(opened) if opened.answer.encoded => {
            drop(opened);
            open(client, input, context, Beginning { ranges: false, packed: true }).await
        }
        opened => opened,
    };
    match opened {
        Ok(opened) => Ok(match looks(&opened.answer.content_type, &opened.head) {
            Looks::Media | Looks::Image(_) => Answers::Media,
            Looks::Manifest => Answers::Manifest,
            Looks::Text(_) => Answers::Page,
        }),
        // Many sites turn away what is no browser. yt-dlp knows how to speak to them.
        Err(Trouble::Refused(_)) => Ok(Answers::Page),
        Err(trouble) => Err(trouble.into()),
    }
}

/// Brings the media behind `input` into `folder`.
pub(super) async fn fetch(
    client: &Client,
    input: &Input<'_>,
    folder: &Path,
    context: &FetchContext<'_>,
) -> Result<Outcome, Failure> {
    make(folder).await?;
    let mut ranges = true;
    let mut restarts = 0;
    loop {
        let mark = Mark::load(folder, input.key);
        if let Some(fetched) = finished(client, input, folder, context, mark.as_ref()).await? {
            return Ok(Outcome::Whole(Box::new(fetched)));
        }
        let mark = mark.filter(|mark| ranges && mark.resumable(folder));
        let resumed = mark.is_some();
        if !resumed {
            clear(folder).await?;
        }
        match attempt(client, input, folder, context, mark, ranges).await {
            Err(Trouble::Changed(why)) if restarts <= client.settings.retries => {
                clear(folder).await?;
                // A file that changes under us, or ranges that lie: one answer at least is of one piece.
                ranges = ranges && resumed;
                restarts += 1;
                let why = format!("{why}; starting over");
                (context.report)(What::Retrying { stage: Stage::Download, why, wait: 0.0 });
            }
            Err(trouble) => return Err(trouble.into()),
            Ok(outcome) => return Ok(outcome),
        }
    }
}

/// The source that an earlier try completed, if the server does not say that it has changed since.
async fn finished(
    client: &Client,
    input: &Input<'_>,
    folder: &Path,
    context: &FetchContext<'_>,
    mark: Option<&Mark>,
) -> Result<Option<Fetched>, Failure> {
    let Some((mark, finished)) = mark.and_then(|mark| Some((mark, mark.finished(folder)?))) else {
        return Ok(None);
    };
    if !unchanged(client, input, &mark.record()).await {
        return Ok(None);
    }
    let room = Room::new(context, client.settings.max_bytes, input.shown());
    finished.hand_out(mark, room, context).await.map(Some)
}

/// Whether the server still has what `record` says. No answer and no validators count as yes.
pub(super) async fn unchanged(client: &Client, input: &Input<'_>, record: &Record) -> bool {
    let head = Question { method: Method::HEAD, ..Question::default() };
    let get = Question { range: Some(0..1), ..Question::default() };
    let mut is_same = true;
    for question in [head, get] {
        // Servers that sign URLs for one method refuse the other, and some say of HEAD that it has no bytes.
        if let Ok(Ok((response, _))) = tokio::time::timeout(ASIDE, client.ask(input, &question)).await {
            is_same = same(&Answer::of(&response), record);
            if is_same {
                break;
            }
        }
    }
    is_same
}

fn same(answer: &Answer, record: &Record) -> bool {
    let plain = |etag: &String| etag.trim_start_matches("W/").to_owned();
    let etag = answer.etag.as_ref().zip(record.etag.as_ref()).map(|(now, then)| plain(now) == plain(then));
    let date = answer.last_modified.as_ref().zip(record.last_modified.as_ref()).map(|(now, then)| now == then);
    let size = answer.whole_size().zip(record.bytes).map(|(now, then)| now == then);
    match (etag, date, size) {
        (_, _, Some(false)) => false,
        // Twin servers give one file two tags, and the same date. Who says nothing says nothing new.
        (Some(false), Some(true), Some(true)) | (None, None, _) => true,
        (Some(same), _, _) | (None, Some(same), _) => same,
    }
}

async fn attempt(
    client: &Client,
    input: &Input<'_>,
    folder: &Path,
    context: &FetchContext<'_>,
    mark: Option<Mark>,
    ranges: bool,
) -> Result<Outcome, Trouble> {
    let mut room = Room::new(context, client.settings.max_bytes, input.shown());
    if let Some(mark) = mark {
        room.reserve(mark.size.unwrap_or_default()).await?;
        return land(client, input, folder, context, Way::Pieces(mark, None), room).await;
    }
    let opened = open_plain(client, input, context, ranges).await?;
    match looks(&opened.answer.content_type, &opened.head) {
        Looks::Media => (),
        Looks::Image(kind) => {
            let what = format!("`{}` answered a still image ({kind}), not a video", input.shown());
            return Err(Trouble::Final(Failure::permanent(what)));
        }
        // Of some sites the pages of videos have the names of videos.
        Looks::Text(what) if what != PAGE && name::is_media(&name::of_url(input.url)) => {
            let what = format!("`{}` answered {what}, not a video", input.shown());
            return Err(Trouble::Final(Failure::permanent(what)));
        }
        Looks::Text(what @ "a JSON text") => {
            let what = format!("`{}` answered {what}, neither a video nor a page", input.shown());
            return Err(Trouble::Final(Failure::permanent(what)));
        }
        Looks::Manifest => return Ok(Outcome::Manifest),
        Looks::Text(_) => return Ok(Outcome::Page),
    }
    let answer = opened.answer.clone();
    let size = answer.whole_size();
    let mut opened = Some(opened);
    let wanted = size.unwrap_or(stream::STEP.min(room.most()));
    if !room.try_reserve(wanted)? {
        // No permit is held while waiting for another: the connection goes, and is made again.
        opened = None;
        room.reserve(wanted).await?;
    }
    let mark = Mark { etag: answer.etag, last_modified: answer.last_modified, size, ..Mark::new(input.key) };
    let way = if answer.status == 206 { Way::Pieces(mark, opened) } else { Way::Stream(mark, opened) };
    land(client, input, folder, context, way, room).await
}

/// How the bytes come.
enum Way {
    Pieces(Mark, Option<Opened>),
    Stream(Mark, Option<Opened>),
}

/// Lets the bytes land and hashes them meanwhile.
async fn land(
    client: &Client,
    input: &Input<'_>,
    folder: &Path,
    context: &FetchContext<'_>,
    way: Way,
    mut room: Room<'_>,
) -> Result<Outcome, Trouble> {
    let (part, sha256) = match way {
        Way::Pieces(mark, opened) => {
            let part = Part::open(folder, mark, context).await?;
            part.save().await?;
            let bring = async {
                let at = opened.as_ref().map(|opened| opened.at.clone());
                pieces::fetch(&Ranges::new(client, input, at), context, &part, opened.map(first)).await?;
                part.complete();
                Ok(())
            };
            let ((), sha256) = tokio::try_join!(bring, async { part.hash().await.map_err(Trouble::Final) })?;
            (part, sha256)
        }
        Way::Stream(mark, opened) => {
            stream::fetch(&stream::Job { client, input, folder, context }, &mark, opened, &mut room).await?
        }
    };
    Ok(Outcome::Whole(Box::new(part.deliver(sha256, room).await?)))
}

/// An answer that began at byte 0, as the first piece.
fn first(opened: Opened) -> First {
    let end = opened.answer.range.map_or(0, |(_, last, _)| last + 1).min(FIRST);
    First { body: Body::Http(opened.response), head: opened.head, end, permit: opened.permit }
}

/// Asks for the beginning of a file as it is.
async fn open_plain(
    client: &Client,
    input: &Input<'_>,
    context: &FetchContext<'_>,
    ranges: bool,
) -> Result<Opened, Trouble> {
    let opened = open(client, input, context, Beginning { ranges, packed: false }).await?;
    if opened.answer.encoded {
        let what = format!("`{}` sends its bytes compressed, although asked not to", input.shown());
        return Err(Trouble::Final(Failure::permanent(what)));
    }
    Ok(opened)
}

/// How the beginning of a file is asked for.
#[derive(Clone, Copy)]
struct Beginning {
    /// By its range.
    ranges: bool,
    /// Compressed, if the server likes.
    packed: bool,
}

/// Asks for the beginning of the file, as often as it takes, and reads enough of it to judge. Of one that comes
/// compressed although it should not, nothing is read.
async fn open(
    client: &Client,
    input: &Input<'_>,
    context: &FetchContext<'_>,
    beginning: Beginning,
) -> Result<Opened, Trouble> {
    let mut tries = Tries::default();
    loop {
        let permit = context.network.acquire(context.rank, 1).await;
        match open_once(client, input, permit, beginning).await {
            Err(Trouble::Again(failure, wait)) => {
                tries.again(failure, wait, &client.settings, context).await.map_err(Trouble::Final)?;
            }
            Err(Trouble::Slow(failure)) => {
                tries.again(failure, None, &client.settings, context).await.map_err(Trouble::Final)?;
            }
            opened => return opened,
        }
    }
}

async fn open_once(
    client: &Client,
    input: &Input<'_>,
    permit: Permit<Rank>,
    Beginning { ranges, packed }: Beginning,
) -> Result<Opened, Trouble> {
    let question = Question { range: ranges.then_some(0..FIRST), packed, ..Question::default() };
    let (mut response, at) = client.ask(input, &question).await?;
    let answer = Answer::of(&response);
    let refused = |what: &str| Trouble::Final(Failure::permanent(format!("`{}` {what}", input.shown())));
    match (answer.status, answer.range) {
        _ if answer.encoded => return Ok(Opened { response, answer, head: Vec::new(), at, permit }),
        (200, _) | (206, Some((0, _, Some(_)))) if ranges || answer.status == 200 => (),
        (416, _) if answer.has_bytes => {
            return Err(Trouble::Changed(format!("`{}` has bytes, but not the first", input.shown())));
        }
        // The answer to a range of a file without any bytes.
        (416, _) => return Err(refused("is empty (0 bytes)")),
        _ if ranges => return Err(Trouble::Changed(format!("`{}` sent another range than asked for", input.shown()))),
        _ => return Err(refused("sends a part although asked for the whole")),
    }
    let mut head = Vec::new();
    let patience = client.settings.slow_window;
    let read = async {
        while head.len() < HEAD {
            match response.chunk().await {
                Ok(Some(bytes)) => head.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(error) => return Err(client::could_not(&error, &input.shown())),
            }
        }
        Ok(())
    };
    let Ok(outcome) = tokio::time::timeout(patience, read).await else {
        return Err(too_slow(&client.settings, &input.shown()));
    };
    outcome?;
    if head.is_empty() {
        return Err(refused("is empty (0 bytes)"));
    }
    Ok(Opened { response, answer, head, at, permit })
}
