//! One object from the source to the destination, checked there.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::TryStreamExt as _;

use super::content::{self, Digests, ScratchFile, Watched};
use super::facts;
use super::{Context, run::version};
use crate::catalog::{Facts, Row};
use crate::format::sniff;
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::sha256::Sha256;
use crate::pipeline::Rank;
use crate::pipeline::lane::Permit;
use crate::plan::migrate::{Sign, agree};
use crate::storage::body::FileBody;
use crate::storage::error::{Kind, StorageError};
use crate::storage::{About, Stat, WHOLE};

/// Objects up to this size are held in memory, if the destination takes them in one piece.
const SMALL: u64 = 8 << 20;

/// Times an object is copied anew because it changed meanwhile.
const CHANGES: u32 = 3;

/// An object on its way.
pub(super) struct Copy {
    stat: Stat,
    /// The version that was looked at: the next run looks in the same way, while the answer to a read may name it
    /// otherwise.
    version: String,
    sign: Sign,
    content: Content,
    digests: Option<Digests>,
    media_type: Option<&'static str>,
    facts: Facts,
    /// What it takes of memory or scratch while it is on its way.
    room: Option<Permit<Rank>>,
}

/// Where its bytes are.
enum Content {
    /// Not here: they pass through when it is written.
    Elsewhere,
    Memory(Bytes),
    File(ScratchFile),
}

impl Copy {
    /// A copy that has not begun.
    pub(super) fn new(stat: Stat, sign: Sign) -> Self {
        let content = Content::Elsewhere;
        let version = version(&stat);
        Self { stat, version, sign, content, digests: None, media_type: None, facts: Facts::default(), room: None }
    }

    pub(super) fn key(&self) -> &str {
        &self.stat.key
    }

    pub(super) fn sign(&self) -> Sign {
        self.sign
    }

    pub(super) fn bytes(&self) -> u64 {
        self.stat.bytes
    }

    /// With digests, and with what the bytes tell, of what is in memory. Computes.
    pub(super) fn examined(mut self) -> Self {
        if let Content::Memory(bytes) = &self.content {
            self.digests = Some(Digests::of(bytes));
            self.media_type = sniff::media_type(bytes.get(..sniff::HEAD).unwrap_or(bytes));
            let timeline = std::mem::take(&mut self.facts);
            self.facts = facts::merged(facts::of_bytes(bytes, self.media_type), timeline);
        }
        self
    }

    /// The row of a copy that is at the destination.
    pub(super) fn into_row(self) -> Option<Row> {
        let digests = self.digests?;
        let about = self.stat.about.clone();
        let mut metadata = about.metadata;
        let headers = [
            ("cache-control", about.cache_control),
            ("content-encoding", about.content_encoding),
            ("content-disposition", about.content_disposition),
            ("content-language", about.content_language),
        ];
        metadata.extend(headers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Some(Row {
            version: self.version,
            bytes: self.stat.bytes,
            content_type: about.content_type,
            media_type: self.media_type.map(Into::into),
            modified: about.modified.or(self.stat.stored).map(|time| time.to_string()),
            md5: digests.md5,
            sha256: digests.sha256,
            metadata,
            facts: self.facts,
            key: self.stat.key,
        })
    }

    /// What is to be kept with the copy.
    fn about(&self) -> About {
        let modified = self.stat.about.modified.or(self.stat.stored);
        About { modified, ..self.stat.about.clone() }
    }
}

/// Brings the object's bytes here if they are few, or if ffprobe has to look at them.
pub(super) async fn read(mut copy: Copy, context: &Context) -> Result<Copy, Failure> {
    let small = SMALL.min(context.destination.part_bytes());
    if copy.stat.bytes <= small && read_small(&mut copy, small, context).await? {
        return Ok(copy);
    }
    let key = copy.stat.key.clone();
    copy.stat = context.source.stat(&key).await?.ok_or_else(|| vanished(&key))?;
    let head = head(&copy.stat, context).await?;
    copy.media_type = sniff::media_type(head.get(..sniff::HEAD).unwrap_or(&head));
    let timeline = copy.media_type.is_some_and(sniff::has_timeline) && context.ffprobe.is_some();
    // Media that are larger than scratch go by unseen.
    if timeline && copy.stat.bytes <= context.disk_room.capacity() {
        copy.room = Some(context.disk_room.acquire(Rank::default(), copy.stat.bytes).await);
        let (file, digests) = content::fetch(&copy.stat, context).await?;
        copy.facts = facts::of_media(file.path(), context).await;
        (copy.content, copy.digests) = (Content::File(file), Some(digests));
    } else {
        copy.room = Some(context.passing.acquire(Rank::default(), 1).await);
        copy.facts = facts::of_head(head, copy.media_type).await;
    }
    Ok(copy)
}

/// Brings the object here whole. Tells whether it did: an object may have more bytes than a list says.
async fn read_small(copy: &mut Copy, most: u64, context: &Context) -> Result<bool, Failure> {
    let key = copy.stat.key.clone();
    // No more objects wait in memory than keep all transfers busy on both sides.
    let share = context.room.capacity() / (2 * context.transfers as u64).max(1);
    copy.room = Some(context.room.acquire(Rank::default(), copy.stat.bytes.max(share)).await);
    context.pace.wait(copy.stat.bytes).await;
    let (stat, bytes) = match context.source.load_version(&key, most).await {
        Err(error) if error.kind == Kind::TooLarge => {
            copy.room = None;
            return Ok(false);
        }
        loaded => loaded?.ok_or_else(|| vanished(&key))?,
    };
    copy.stat = stat;
    let media_type = sniff::media_type(bytes.get(..sniff::HEAD).unwrap_or(&bytes));
    if media_type.is_some_and(sniff::has_timeline) {
        copy.facts = facts::of_media_bytes(&bytes, context).await;
    }
    copy.content = Content::Memory(bytes);
    Ok(true)
}

/// The first bytes of a large object.
async fn head(stat: &Stat, context: &Context) -> Result<Bytes, Failure> {
    let range = 0..content::HEAD.min(stat.bytes);
    let reading =
        context.source.read(&stat.key, range, stat.etag.as_deref()).await?.ok_or_else(|| vanished(&stat.key))?;
    let pieces: Vec<Bytes> = reading.stream.try_collect().await.map_err(Failure::from)?;
    Ok(pieces.concat().into())
}

/// Stores the object and looks whether it is there as it should be.
pub(super) async fn write(mut copy: Copy, context: &Context) -> Result<Copy, Failure> {
    let about = copy.about();
    let mut confirmed = None;
    match std::mem::replace(&mut copy.content, Content::Elsewhere) {
        Content::Memory(bytes) => confirmed = context.destination.write(&copy.stat.key, bytes, &about).await?.etag,
        Content::File(file) => {
            let body = FileBody::of(file.path()).await?;
            context.destination.upload(&copy.stat.key, &body, &about).await?;
        }
        Content::Elsewhere => pour(&mut copy, context).await?,
    }
    copy.room = None;
    fault::point("object-written");
    // A store that answers with the MD5 of what it stored has looked itself.
    let confirmed = confirmed.is_some() && confirmed == copy.digests.as_ref().and_then(|digests| digests.md5.clone());
    if (!confirmed || context.read_back) && !fault::mutant("trust-write") {
        checked(&copy, context).await?;
    }
    Ok(copy)
}

/// Lets a large object pass through; if it changes meanwhile, the new version.
async fn pour(copy: &mut Copy, context: &Context) -> Result<(), Failure> {
    let mut changes = 0;
    loop {
        let body = Watched::new(&copy.stat, context);
        let about = copy.about();
        match context.destination.upload(&copy.stat.key, &body, &about).await {
            Err(error) if error.kind != Kind::Source => return Err(error.into()),
            outcome => {
                // A folder does not hold a version still while it is read: a last look tells.
                let now = context.source.stat(&copy.stat.key).await?.ok_or_else(|| vanished(&copy.stat.key))?;
                if now.etag == copy.stat.etag {
                    outcome?;
                    copy.digests = Some(body.digests()?);
                    if changes > 0 {
                        sweep(&copy.stat.key, context).await;
                    }
                    return Ok(());
                }
                // What is there stays until the next version takes its place.
                if changes == CHANGES {
                    return Err(Failure::temporary("changes again and again while it is read"));
                }
                changes += 1;
                (copy.version, copy.stat) = (version(&now), now);
            }
        }
    }
}

/// Removes what those versions of a large object were made of whose place another has taken.
async fn sweep(key: &str, context: &Context) {
    let swept = async {
        for upload in context.destination.unfinished(key, Duration::ZERO).await? {
            // Keys below this one are other objects, which may be on their way.
            if upload.key == key {
                context.destination.discard(&upload).await?;
            }
        }
        Ok::<_, StorageError>(())
    };
    if let Err(error) = swept.await {
        tracing::warn!(key, %error, "the parts of a version that was replaced could not be removed");
    }
}

/// Fails, and removes the copy, unless the destination has what the source gave.
async fn checked(copy: &Copy, context: &Context) -> Result<(), Failure> {
    let key = &copy.stat.key;
    let digests = copy.digests.as_ref().ok_or_else(|| Failure::environment("its digest was not taken"))?;
    let there = context.destination.stat(key).await?;
    let right = match &there {
        Some(there) => there.bytes == copy.stat.bytes && agree(digests.md5.as_deref(), there.md5.as_deref()),
        None => false,
    };
    if right && (!context.read_back || sha256_of(key, context).await? == digests.sha256) {
        return Ok(());
    }
    if there.is_some() {
        context.destination.delete(key).await?;
    }
    let what = format!("`{}` did not arrive as it was sent", context.destination.address(key));
    Err(StorageError::new(Kind::Damaged, what).hint("run the same command again").into())
}

/// SHA-256 of what the destination has, read back whole.
pub(super) async fn sha256_of(key: &str, context: &Context) -> Result<String, Failure> {
    let mut digest = Sha256::new();
    let reading = context.destination.read(key, WHOLE, None).await?.ok_or_else(|| vanished(key))?;
    let mut stream = content::gathered(reading.stream);
    while let Some(piece) = stream.try_next().await? {
        let add = move || {
            digest.update(piece);
            digest
        };
        digest = content::computed(add).await?;
    }
    Ok(hex::encode(digest.finalize()))
}

/// Why an object that was listed cannot be found.
pub(super) fn vanished(key: &str) -> Failure {
    if key.contains(char::REPLACEMENT_CHARACTER) {
        return Failure::permanent("its name is not UTF-8, and so cannot be a key").hint("give the file another name");
    }
    Failure::temporary("is not there any more")
}
