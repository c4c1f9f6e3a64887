//! A storage as the rest of the program uses it: with patience, and for objects of any size.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use tokio::sync::{OnceCell, mpsc};

use super::body::Body;
use super::error::{Kind, StorageError};
use super::outage::Outages;
use super::patience::{Patience, Rules};
use super::{About, ByteStream, Conditions, Large, Page, Part, Parts, Reading, Stat, Storage, WHOLE, When, Written};

/// Breaks of one read without a byte in between that are borne.
const BARREN_BREAKS: u32 = 8;

/// What a store is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// When and how often to ask.
    pub rules: Rules,
    /// Bytes of a part of a large object, where its size and the storage allow.
    pub part_bytes: u64,
    /// Parts of one object that are on their way at once.
    pub parts_at_once: usize,
}

/// A storage with patience. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Box<dyn Storage>,
    patience: Patience,
    settings: StoreSettings,
    conditions: OnceCell<Conditions>,
}

impl Store {
    /// Puts patience around a storage, and tells `outages` when it fails.
    pub fn new(storage: Box<dyn Storage>, settings: StoreSettings, outages: &Outages) -> Self {
        let patience = Patience::new(settings.rules, storage.address(""), outages.watch());
        Self { inner: Arc::new(Inner { storage, patience, settings, conditions: OnceCell::new() }) }
    }

    /// The storage itself, which asks once.
    pub fn storage(&self) -> &dyn Storage {
        self.inner.storage.as_ref()
    }

    /// Bytes up to which an object is stored in one piece.
    pub fn part_bytes(&self) -> u64 {
        self.inner.settings.part_bytes
    }

    /// The address of a key, for people.
    pub fn address(&self, key: &str) -> String {
        self.storage().address(key)
    }

    /// The address of the whole place with all that tells it from others.
    pub fn identity(&self) -> String {
        self.storage().identity()
    }

    /// Fails if there is no such place, where an empty list would look like one with nothing in it.
    pub async fn require(&self) -> Result<(), StorageError> {
        if self.inner.patience.ask(|| self.storage().is_there()).await? {
            return Ok(());
        }
        let what = format!("there is no folder `{}`", self.address("").trim_end_matches('/'));
        Err(StorageError::new(Kind::NoPlace, what).hint("correct the address, or mount what should be there"))
    }

    /// What is known of the object, `None` when there is none.
    pub async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        self.inner.patience.ask(|| self.storage().stat(key)).await
    }

    /// The object's bytes, `None` when there is none. For small objects: it fails above `limit` bytes.
    pub async fn load(&self, key: &str, limit: u64) -> Result<Option<Bytes>, StorageError> {
        Ok(self.load_version(key, limit).await?.map(|(_, bytes)| bytes))
    }

    /// As [`Self::load`], with what is known of the version that was read.
    pub async fn load_version(&self, key: &str, limit: u64) -> Result<Option<(Stat, Bytes)>, StorageError> {
        self.inner.patience.ask(|| self.load_once(key, limit)).await
    }

    async fn load_once(&self, key: &str, limit: u64) -> Result<Option<(Stat, Bytes)>, StorageError> {
        let Some(Reading { stat, mut stream }) = self.storage().read(key, WHOLE, None).await? else { return Ok(None) };
        let mut bytes = BytesMut::with_capacity(usize::try_from(stat.bytes.min(limit)).unwrap_or_default());
        while let Some(piece) = stream.try_next().await? {
            if (bytes.len() + piece.len()) as u64 > limit {
                let what = format!("`{}` is larger than {limit} bytes", self.address(key));
                return Err(StorageError::new(Kind::TooLarge, what));
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() as u64 != stat.bytes {
            return Err(broken_off(&self.address(key)));
        }
        Ok(Some((stat, bytes.freeze())))
    }

    /// Reads the bytes of `range`, `None` when there is no object. Where the stream breaks off it
    /// goes on, if the object still is the same version; it fails if that is not `same`.
    pub async fn read(
        &self,
        key: &str,
        range: Range<u64>,
        same: Option<&str>,
    ) -> Result<Option<Reading>, StorageError> {
        let open = || self.storage().read(key, range.clone(), same);
        let Some(Reading { stat, stream }) = self.inner.patience.ask(open).await? else { return Ok(None) };
        let end = range.end.min(stat.bytes);
        let resumed = Resumed {
            store: self.clone(),
            stat: stat.clone(),
            left: range.start.min(end)..end,
            stream: Some(stream),
            breaks: 0,
        };
        let stream = stream::try_unfold(resumed, Resumed::next).boxed();
        Ok(Some(Reading { stat, stream }))
    }

    /// Stores an object that is in memory. When this returns it is durable and whole.
    pub async fn write(&self, key: &str, bytes: Bytes, about: &About) -> Result<Written, StorageError> {
        let write = || self.storage().write(key, bytes.clone(), about, When::Always);
        self.inner.patience.ask(write).await
    }

    /// Stores an object on a condition, which the storage must be able to keep; see [`Self::conditions`].
    /// It fails with [`Kind::Conflict`] if the condition does not hold.
    pub async fn write_if(
        &self,
        key: &str,
        bytes: Bytes,
        about: &About,
        when: When<'_>,
    ) -> Result<Written, StorageError> {
        let write = || self.storage().write(key, bytes.clone(), about, when);
        let error = match self.inner.patience.ask(write).await {
            Err(error) if error.kind == Kind::Conflict => error,
            answer => return answer,
        };
        // The answer to a try that succeeded may have been lost, and the next one met its work.
        match self.load_version(key, bytes.len() as u64).await {
            Ok(Some((stat, found))) if found == bytes => Ok(Written { etag: stat.etag }),
            _ => Err(error),
        }
    }

    /// Stores an object of any size.
    pub async fn upload(&self, key: &str, body: &dyn Body, about: &About) -> Result<Written, StorageError> {
        let bytes = body.bytes();
        let parts = match self.storage().large() {
            Large::Stream(large) => {
                let pour = || async { large.pour(key, body.open().await?, bytes, about).await };
                return self.inner.patience.ask(pour).await;
            }
            Large::Parts(parts) => parts,
        };
        if bytes <= self.inner.settings.part_bytes {
            let mut whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or_default());
            let mut stream = body.open().await?;
            while let Some(piece) = stream.try_next().await? {
                whole.extend_from_slice(&piece);
            }
            super::right_length(&self.address(key), whole.len() as u64, bytes)?;
            return self.write(key, whole.freeze(), about).await;
        }
        let upload = self.inner.patience.ask(|| parts.begin(key, about)).await?;
        let sent = match self.send_parts(parts, &upload, body).await {
            Ok(sent) => sent,
            Err(error) => {
                self.abandon(parts, &upload).await;
                return Err(error);
            }
        };
        self.finish(parts, &upload, &sent, bytes).await
    }

    async fn send_parts(
        &self,
        parts: &dyn Parts,
        upload: &super::Upload,
        body: &dyn Body,
    ) -> Result<Vec<Part>, StorageError> {
        let (bytes, rules, settings) = (body.bytes(), parts.rules(), self.inner.settings);
        let part_bytes = settings.part_bytes.max(rules.least).max(bytes.div_ceil(rules.count));
        let mut pieces = Pieces { stream: body.open().await?, rest: Bytes::new(), part_bytes, number: 0 };
        // While parts are on their way the next one is read, so that the line never waits for it.
        let (hand, mut next) = mpsc::channel(1);
        let read = async move {
            while let Ok(slot) = hand.reserve().await
                && let Some(piece) = pieces.next().await?
            {
                slot.send(piece);
            }
            Ok(())
        };
        let give = async |(number, piece): (u32, Bytes)| {
            self.inner.patience.ask(|| parts.part(upload, number, piece.clone())).await
        };
        let sending = stream::poll_fn(|context| next.poll_recv(context))
            .map(|piece| Ok(give(piece)))
            .try_buffer_unordered(settings.parts_at_once.max(1))
            .try_collect::<Vec<_>>();
        let ((), mut sent) = tokio::try_join!(read, sending)?;
        sent.sort_unstable_by_key(|part| part.number);
        super::right_length(&self.address(&upload.key), sent.iter().map(|part| part.bytes).sum(), bytes)?;
        Ok(sent)
    }

    /// Makes the parts one object. When the answer is lost, a look decides.
    async fn finish(
        &self,
        parts: &dyn Parts,
        upload: &super::Upload,
        sent: &[Part],
        bytes: u64,
    ) -> Result<Written, StorageError> {
        let finished = match self.inner.patience.ask(|| parts.finish(upload, sent)).await {
            Err(error) if error.kind != Kind::Conflict => {
                self.abandon(parts, upload).await;
                return Err(error);
            }
            finished => finished,
        };
        // From here on the parts may be the object: that a look fails is no reason to remove them.
        let found = self.stat(&upload.key).await?.filter(|stat| stat.bytes == bytes);
        match (finished, found) {
            (Ok(written), Some(_)) => Ok(written),
            (Ok(_), None) => {
                let what = format!("`{}` was stored and is not there with its size", self.address(&upload.key));
                Err(StorageError::new(Kind::Damaged, what).hint("run the same command again"))
            }
            (Err(_), Some(stat)) => Ok(Written { etag: stat.etag }),
            (Err(error), None) => {
                self.abandon(parts, upload).await;
                Err(error)
            }
        }
    }

    async fn abandon(&self, parts: &dyn Parts, upload: &super::Upload) {
        if let Err(error) = self.inner.patience.ask(|| parts.abandon(upload)).await {
            tracing::warn!(key = %upload.key, %error, "the parts of an unfinished object could not be removed");
        }
    }

    /// Removes an object. One that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.inner.patience.ask(|| self.storage().delete(key)).await
    }

    /// Some of the objects below `prefix`, from where the page before ended.
    pub async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        self.inner.patience.ask(|| self.storage().page(prefix, after)).await
    }

    /// All objects whose key begins with `prefix` and a `/`, or all there are for an empty one.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Stat>, StorageError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.page(prefix, after.as_deref()).await?;
            found.extend(page.found);
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Removes the parts of an upload that was never finished.
    pub async fn discard(&self, upload: &super::Upload) -> Result<(), StorageError> {
        let Large::Parts(parts) = self.storage().large() else { return Ok(()) };
        self.inner.patience.ask(|| parts.abandon(upload)).await
    }

    /// The uploads below `prefix` that were begun longer than `age` ago and never finished; none of a
    /// server that cannot tell.
    pub async fn unfinished(&self, prefix: &str, age: Duration) -> Result<Vec<super::Upload>, StorageError> {
        let Large::Parts(parts) = self.storage().large() else { return Ok(Vec::new()) };
        let mut left = match self.inner.patience.ask(|| parts.unfinished(prefix)).await {
            Err(error) if error.kind == Kind::Unsupported => Vec::new(),
            told => told?,
        };
        left.retain(|upload| upload.begun.is_some_and(|begun| age_of(begun) >= age));
        Ok(left)
    }

    /// What conditional writes are good for here: tried once, because servers differ from their protocol.
    pub async fn conditions(&self) -> Result<Conditions, StorageError> {
        self.inner.conditions.get_or_try_init(|| self.try_conditions()).await.copied()
    }

    async fn try_conditions(&self) -> Result<Conditions, StorageError> {
        let protocol = self.storage().abilities().conditions;
        if protocol == Conditions::default() {
            return Ok(Conditions::default());
        }
        let drawn = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let key = format!("forebay-probe-{drawn:016x}");
        let tried = self.try_conditions_with(&key).await;
        let deleted = self.delete(&key).await;
        let conditions = tried?;
        deleted.map(|()| conditions)
    }

    async fn try_conditions_with(&self, key: &str) -> Result<Conditions, StorageError> {
        let (protocol, about) = (self.storage().abilities().conditions, About::default());
        let write = |bytes: &'static [u8], when| self.probe(key, bytes, &about, when);
        self.write(key, Bytes::from_static(b"1"), &about).await?;
        let if_absent = protocol.if_absent && write(b"2", When::Absent).await? == Some(false);
        let mut if_same = false;
        if protocol.if_same
            && let Some(etag) = self.stat(key).await?.and_then(|stat| stat.etag)
        {
            if_same = write(b"3", When::Same(&etag)).await? == Some(true)
                && write(b"4", When::Same(&etag)).await? == Some(false);
        }
        Ok(Conditions { if_absent, if_same })
    }

    /// Whether a conditional write was done; `None` if the server cannot do such.
    async fn probe(
        &self,
        key: &str,
        bytes: &'static [u8],
        about: &About,
        when: When<'_>,
    ) -> Result<Option<bool>, StorageError> {
        let write = || self.storage().write(key, Bytes::from_static(bytes), about, when);
        match self.inner.patience.ask(write).await {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.kind == Kind::Conflict => Ok(Some(false)),
            Err(error) if matches!(error.kind, Kind::Unsupported | Kind::Other) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn age_of(begun: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now() - begun).unwrap_or_default()
}

fn broken_off(address: &str) -> StorageError {
    StorageError::new(Kind::Unreachable, format!("the connection was cut while `{address}` was read"))
}

/// A read that goes on where it breaks off.
struct Resumed {
    store: Store,
    stat: Stat,
    left: Range<u64>,
    stream: Option<ByteStream>,
    breaks: u32,
}

impl Resumed {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StorageError> {
        loop {
            if self.left.is_empty() {
                return Ok(None);
            }
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => none.insert(open(&self.store, &self.stat, self.left.clone()).await?),
            };
            let broken = match stream.next().await {
                Some(Ok(piece)) => {
                    self.breaks = 0;
                    let fits = piece.len().min(usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX));
                    self.left.start += fits as u64;
                    return Ok(Some((piece.slice(..fits), self)));
                }
                Some(Err(error)) if !error.kind.may_pass() => return Err(error),
                Some(Err(error)) => error,
                None => broken_off(&self.store.address(&self.stat.key)),
            };
            self.breaks += 1;
            if self.breaks > BARREN_BREAKS {
                return Err(broken);
            }
            self.stream = None;
        }
    }
}

/// Opens what is left of an object that is being read.
async fn open(store: &Store, stat: &Stat, left: Range<u64>) -> Result<ByteStream, StorageError> {
    let again = || store.storage().read(&stat.key, left.clone(), stat.etag.as_deref());
    let reading = store.inner.patience.ask(again).await?;
    let same = reading.filter(|reading| reading.stat.bytes == stat.bytes);
    same.map(|reading| reading.stream).ok_or_else(|| super::changed(&store.address(&stat.key)))
}

/// A stream that is cut into parts.
struct Pieces {
    stream: ByteStream,
    rest: Bytes,
    part_bytes: u64,
    number: u32,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<(u32, Bytes)>, StorageError> {
        let wanted = usize::try_from(self.part_bytes).unwrap_or(usize::MAX);
        let mut part = BytesMut::with_capacity(wanted);
        part.extend_from_slice(&self.rest.split_to(self.rest.len().min(wanted)));
        while part.len() < wanted {
            let Some(mut piece) = self.stream.try_next().await? else { break };
            part.extend_from_slice(&piece.split_to(piece.len().min(wanted - part.len())));
            self.rest = piece;
        }
        if part.is_empty() {
            return Ok(None);
        }
        let number = self.number;
        self.number += 1;
        Ok(Some((number, part.freeze())))
    }
}
