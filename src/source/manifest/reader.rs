//! Reads what a manifest names, wherever it lies, through the one guarded client.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::Host;

use crate::model::address::Reach;
use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::secret::masked_url;
use crate::storage::WHOLE;
use crate::storage::store::Store;

use super::super::body::Body;
use super::super::hash::{blocking_or, writing};
use super::super::http::{Client, Input, Other, ask_other};
use super::super::object;
use super::super::pace::Pace;
use super::super::tries::{Tries, Trouble};
use super::super::{FetchContext, SourceSettings, guard};
use super::place::Place;

/// Bytes gathered before they are written.
const BUFFER: usize = 256 * 1024;

/// With fewer bytes a try has brought nothing, however often it is repeated.
const PROGRESS: u64 = 16 * 1024;

/// Progress is told no more often.
const TELL: Duration = Duration::from_millis(200);

/// Asks for what one manifest names.
pub(in super::super) struct Reader<'a> {
    client: &'a Client,
    input: &'a Input<'a>,
    /// The store that the manifest lies in, if it does.
    store: Option<&'a Store>,
    pub(super) context: &'a FetchContext<'a>,
    /// Bytes that came in all, and when that was last told.
    came: AtomicU64,
    told: Mutex<Option<Instant>>,
    /// The version of each file that is read in parts, which have to be of one.
    versions: Mutex<HashMap<Place, String>>,
}

impl<'a> Reader<'a> {
    pub(in super::super) fn new(
        client: &'a Client,
        input: &'a Input<'a>,
        store: Option<&'a Store>,
        context: &'a FetchContext<'a>,
    ) -> Self {
        let (came, told, versions) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self { client, input, store, context, came, told, versions }
    }

    pub(super) fn settings(&self) -> &'a SourceSettings {
        &self.client.settings
    }

    /// The name by which the input is known again.
    pub(super) fn key(&self) -> &'a str {
        self.input.key
    }

    /// A place for people.
    pub(super) fn shown(&self, place: &Place) -> String {
        match (place, self.store) {
            (Place::Web(url), _) => masked_url(url),
            (Place::Object(key), Some(store)) => store.address(key),
            (Place::Object(key), None) => key.clone(),
        }
    }

    /// A small file as it is, and where redirects led. More bytes than `most` are refused.
    pub(super) async fn load(&self, place: &Place, most: usize) -> Result<(Vec<u8>, Place), Trouble> {
        let mut tries = Tries::default();
        loop {
            let permit = self.context.network.acquire(self.context.rank, 1).await;
            let outcome = self.load_once(place, most).await;
            drop(permit);
            if let Some(loaded) = self.after(outcome, &mut tries).await? {
                return Ok(loaded);
            }
        }
    }

    async fn load_once(&self, place: &Place, most: usize) -> Result<(Vec<u8>, Place), Trouble> {
        let mut other = self.ask(place, None, true).await?;
        let mut watch = Pace::new(self.settings(), self.settings().least_in_window());
        let mut bytes = Vec::new();
        while let Some(piece) = watch.next(&mut other.body).await? {
            bytes.extend_from_slice(&piece);
            watch.check(&other.body)?;
            if bytes.len() > most {
                let what = format!("`{}` is larger than {most} bytes", self.shown(place));
                return Err(Trouble::Final(Failure::permanent(what)));
            }
        }
        Ok((bytes, other.at.map_or_else(|| place.clone(), Place::Web)))
    }

    /// How many bytes a file has that can be read in parts; `None` if it cannot, or nobody knows.
    pub(super) async fn size_in_parts(&self, place: &Place) -> Result<Option<u64>, Failure> {
        let mut tries = Tries::default();
        loop {
            let permit = self.context.network.acquire(self.context.rank, 1).await;
            let outcome = self.ask(place, Some(0..1), false).await;
            drop(permit);
            match self.after(outcome, &mut tries).await {
                Ok(None) => (),
                Ok(Some(other)) => return Ok(other.whole),
                // Who gives no part may give the whole, or says why not when asked for that.
                Err(Trouble::Final(_) | Trouble::Refused(_) | Trouble::Changed(_)) => return Ok(None),
                Err(trouble) => return Err(trouble.into()),
            }
        }
    }

    /// Brings a file or a part of it to `path`, where only a whole one gets its name.
    pub(super) async fn save(
        &self,
        place: &Place,
        range: Option<Range<u64>>,
        path: &Path,
        at_once: u64,
    ) -> Result<(), Trouble> {
        let (mut tries, mut half) = (Tries::default(), Half::default());
        let mut furthest = 0;
        loop {
            let permit = self.context.network.acquire(self.context.rank, 1).await;
            let outcome = self.save_once(place, range.clone(), path, at_once, &mut half).await;
            drop(permit);
            // What came before and comes once more is no progress.
            if half.came >= furthest + PROGRESS {
                tries.progress();
                furthest = half.came;
            }
            if self.after(outcome, &mut tries).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// What a try brought, or nothing after a wait if it is worth another. Hold no permit meanwhile.
    async fn after<T>(&self, outcome: Result<T, Trouble>, tries: &mut Tries) -> Result<Option<T>, Trouble> {
        let (failure, wait) = match outcome {
            Ok(brought) => return Ok(Some(brought)),
            Err(Trouble::Again(failure, wait)) => (failure, wait),
            Err(Trouble::Slow(failure)) => (failure, None),
            Err(trouble) => return Err(trouble),
        };
        let again = tries.again(failure, wait, self.settings(), self.context).await;
        again.map(|()| None).map_err(Trouble::Final)
    }

    /// One try, which goes on where the one before broke off if the file is still the same.
    async fn save_once(
        &self,
        place: &Place,
        range: Option<Range<u64>>,
        path: &Path,
        at_once: u64,
        half: &mut Half,
    ) -> Result<(), Trouble> {
        let begin = range.as_ref().map_or(0, |range| range.start);
        let rest = half.end.filter(|_| half.came > 0 && half.version.is_some()).map(|end| begin + half.came..end);
        if rest.is_none() {
            *half = Half::default();
        }
        let goes_on = rest.is_some();
        let mut other = match self.ask(place, rest.or(range.clone()), false).await {
            Err(Trouble::Final(failure) | Trouble::Refused(failure)) if goes_on => {
                *half = Half::default();
                return Err(Trouble::Again(Failure::temporary(failure.what), None));
            }
            asked => asked?,
        };
        if goes_on && other.version != half.version {
            *half = Half::default();
            let what = format!("`{}` changed while it was downloaded", self.shown(place));
            return Err(Trouble::Again(Failure::temporary(what), None));
        }
        if range.is_some() {
            self.same_version(place, other.version.clone())?;
        }
        half.version = other.version.take();
        half.end = other.bytes.map(|bytes| begin + half.came + bytes);
        self.pour(&mut other.body, place, path, at_once, half).await?;
        let wanted = range.map(|range| range.end).or(half.end).map(|end| end - begin);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != half.came) {
            let what = format!("`{}` sent {} bytes of {wanted}", self.shown(place), half.came);
            return Err(Trouble::Again(Failure::temporary(what), None));
        }
        if half.came == 0 {
            return Err(Trouble::Final(Failure::permanent(format!("`{}` is empty (0 bytes)", self.shown(place)))));
        }
        let (part, path) = (path.with_extension("part"), path.to_path_buf());
        Ok(blocking_or(&writing(&part), move || std::fs::rename(part, path)).await?)
    }

    /// Writes a body behind what came of it before.
    async fn pour(
        &self,
        body: &mut Body,
        place: &Place,
        path: &Path,
        at_once: u64,
        half: &mut Half,
    ) -> Result<(), Trouble> {
        let part = path.with_extension("part");
        let (cannot, is_new) = (writing(&part), half.came == 0);
        let open = move || File::options().create(true).write(true).truncate(is_new).append(!is_new).open(part);
        let mut file = blocking_or(&cannot, open).await?;
        // The least rate is divided among connections.
        let mut watch = Pace::new(self.settings(), self.settings().least_in_window() / at_once.max(1));
        loop {
            let mut buffer = Vec::new();
            let outcome = loop {
                match watch.next(body).await {
                    Ok(Some(piece)) => buffer.extend_from_slice(&piece),
                    Ok(None) => break watch.check(body),
                    Err(trouble) => break Err(trouble),
                }
                if let Err(trouble) = watch.check(body) {
                    break Err(trouble);
                }
                if buffer.len() >= BUFFER {
                    break Ok(());
                }
            };
            let (came, is_last) = (buffer.len(), buffer.len() < BUFFER);
            // What came before the trouble is good.
            file = blocking_or(&cannot, move || file.write_all(&buffer).map(|()| file)).await?;
            half.came += came as u64;
            self.tell(came as u64);
            if half.came > self.settings().max_bytes {
                let what = format!("`{}` has more bytes than {}", self.shown(place), self.settings().max_bytes);
                return Err(Trouble::Final(Failure::permanent(what + ", which are allowed")));
            }
            let room = self.context.room.stats().capacity;
            if half.came > room {
                let shown = self.shown(place);
                let failure = Failure::environment(format!("`{shown}` needs more scratch space than {room} bytes"));
                return Err(Trouble::Final(failure.hint("allow more scratch space")));
            }
            outcome?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Asks once, if that may be asked for at all.
    async fn ask(&self, place: &Place, range: Option<Range<u64>>, packed: bool) -> Result<Other, Trouble> {
        match place {
            Place::Web(url) => {
                guard::may_ask(&self.settings().reach, url).map_err(Trouble::Final)?;
                if leads_into_metadata(url) && !leads_into_metadata(self.input.url) && self.is_free() {
                    let what = format!("`{}` is an address of this machine's own network", masked_url(url));
                    return Err(Trouble::Final(Failure::permanent(what + ", which no manifest may name")));
                }
                ask_other(self.client, self.input, url, range, packed).await
            }
            Place::Object(key) => {
                let missing = || Trouble::Final(Failure::permanent(format!("`{}` was not found", self.shown(place))));
                let store = self.store.ok_or_else(missing)?;
                let reading = store.storage().read(key, range.clone().unwrap_or(WHOLE), None).await;
                let reading = reading.map_err(object::trouble)?.ok_or_else(missing)?;
                let whole = reading.stat.bytes;
                let bytes = range.map_or(whole, |range| range.end.min(whole).saturating_sub(range.start));
                let body = Body::Object(reading.stream, store.address(key));
                Ok(Other { body, bytes: Some(bytes), whole: Some(whole), version: reading.stat.etag, at: None })
            }
        }
    }

    /// Whether no list of hosts decides what may be asked for.
    fn is_free(&self) -> bool {
        self.settings().reach == Reach::Anywhere
    }

    fn same_version(&self, place: &Place, version: Option<String>) -> Result<(), Trouble> {
        let Some(version) = version else { return Ok(()) };
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = versions.entry(place.clone()).or_insert_with(|| version.clone());
        if *known == version {
            return Ok(());
        }
        versions.clear();
        Err(Trouble::Changed(format!("`{}` changed while it was downloaded", self.shown(place))))
    }

    /// Bytes that are here already count as well.
    pub(super) fn tell(&self, bytes: u64) {
        let bytes = self.came.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            *told = Some(Instant::now());
            drop(told);
            (self.context.report)(What::Downloading { bytes, total: None });
        }
    }

    /// Begins to count anew.
    pub(super) fn forget(&self) {
        self.came.store(0, Ordering::Relaxed);
    }
}

/// Whether an address is written out and link-local, where clouds keep what a machine may know of itself.
fn leads_into_metadata(url: &url::Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => {
            address.is_unicast_link_local() || address.to_ipv4_mapped().is_some_and(|inner| inner.is_link_local())
        }
        Some(Host::Domain(_)) | None => false,
    }
}

/// How far a file came that broke off.
#[derive(Default)]
struct Half {
    came: u64,
    version: Option<String>,
    /// Where it ends in its file, if that was said.
    end: Option<u64>,
}
