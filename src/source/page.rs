//! Pages, through yt-dlp.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;
use url::Url;

use crate::format::looks::{HEAD, Looks, looks};
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::id;
use crate::model::item::Item;
use crate::model::secret::masked_url;
use crate::tool::ytdlp::{self, Found, Page, Wish};

use super::beside::{self, Beside};
use super::gate::Gate;
use super::hash::{self, blocking_or, writing};
use super::mark::{Finished, Mark};
use super::room::Room;
use super::tries::Tries;
use super::{FetchContext, Fetched, Record, SourceSettings};

/// Scratch space for a page that does not say how large its video is. More is taken when it is needed.
const GUESS: u64 = 256 * 1024 * 1024;

/// Finds yt-dlp once and remembers it.
pub(super) struct Pages {
    settings: SourceSettings,
    program: OnceCell<PathBuf>,
}

/// What a fetch needs to know of a page.
pub(super) struct Wanted<'a> {
    pub(super) item: &'a Item,
    pub(super) url: &'a Url,
    pub(super) key: &'a str,
    pub(super) id: &'a str,
    /// Bytes, if the page told.
    pub(super) bytes: Option<u64>,
}

/// Why a download ended without a file.
enum Stop {
    /// So many bytes of scratch space are needed.
    Short(u64),
    Failed(Failure),
}

impl Pages {
    pub(super) fn new(settings: SourceSettings) -> Self {
        Self { settings, program: OnceCell::new() }
    }

    /// yt-dlp, after its version was found good. A bad one is asked again by the next item, as it may be mended meanwhile.
    async fn program(&self, context: &FetchContext<'_>) -> Result<&Path, Failure> {
        let find = async {
            let program = ytdlp::find(&self.settings.ytdlp);
            ytdlp::version(&program, context.cancel).await.map(|_| program)
        };
        self.program.get_or_try_init(|| find).await.map(PathBuf::as_path)
    }

    /// Asks what is at the page.
    pub(super) async fn identify(&self, item: &Item, url: &Url, context: &FetchContext<'_>) -> Result<Found, Failure> {
        let program = self.program(context).await?;
        let mut tries = Tries::default();
        loop {
            let permit = context.network.acquire(context.rank, 1).await;
            let gate = Gate::open(&self.settings.reach).await?;
            let page = self.page(program, item, url, gate.as_ref(), context);
            let found = gated(gate.as_ref(), ytdlp::identify(&page, &self.settings.ytdlp_format)).await;
            drop(permit);
            match found {
                Err(failure) if failure.class == Class::Temporary => {
                    tries.again(failure, None, &self.settings, context).await?;
                }
                found => return found,
            }
        }
    }

    /// Downloads what is at the page.
    pub(super) async fn fetch(
        &self,
        wanted: &Wanted<'_>,
        folder: &Path,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Failure> {
        let program = self.program(context).await?;
        let mut subtitles = ytdlp::languages(context.subtitles);
        let folder = self.folder(wanted, subtitles.as_deref(), folder).await?;
        let mut room = Room::new(context, self.settings.max_bytes.saturating_mul(2), masked_url(wanted.url));
        if let Some(finished) = Mark::load(&folder, wanted.key).and_then(|mark| mark.finished(&folder)) {
            room.reserve(finished.bytes).await?;
            return Ok(fetched(finished, wanted, &folder, room, context));
        }
        // Picture and sound lie there twice while they are merged.
        room.check(wanted.bytes.unwrap_or_default())?;
        let guess = wanted.bytes.map_or(GUESS, |bytes| bytes.saturating_mul(2)).min(room.most());
        room.reserve(guess).await?;
        let mut tries = Tries::default();
        let mut skipped = Vec::new();
        loop {
            let permit = context.network.acquire(context.rank, 1).await;
            let gate = Gate::open(&self.settings.reach).await?;
            let page = self.page(program, wanted.item, wanted.url, gate.as_ref(), context);
            let wish = self.wish(&folder, subtitles.as_deref());
            let path = self.download(&page, gate.as_ref(), &wish, context, &mut room).await;
            drop(permit);
            match path {
                Err(Stop::Short(bytes)) => {
                    // The files go with the space they filled, so that nothing lies there unaccounted.
                    clear(&folder).await?;
                    room.reserve(bytes).await?;
                }
                // It has tried them several times; the film is what was asked for.
                Err(Stop::Failed(failure)) if subtitles.is_some() && ytdlp::is_of_subtitles(&failure) => {
                    skipped.push(format!("subtitles are left out: {}", failure.what));
                    subtitles = None;
                }
                Err(Stop::Failed(failure)) => {
                    if failure.class != Class::Stopped {
                        forget_fragments(&folder).await?;
                    }
                    if failure.class != Class::Temporary {
                        return Err(failure);
                    }
                    tries.again(failure, None, &self.settings, context).await?;
                }
                Ok(path) => {
                    let finished = finish(path, &folder, wanted, skipped).await?;
                    return Ok(fetched(finished, wanted, &folder, room, context));
                }
            }
        }
    }

    async fn download(
        &self,
        page: &Page<'_>,
        gate: Option<&Gate>,
        wish: &Wish<'_>,
        context: &FetchContext<'_>,
        room: &mut Room<'_>,
    ) -> Result<PathBuf, Stop> {
        let (mut short, mut too_large) = (None, None);
        let download = ytdlp::download(page, wish, |bytes, total| {
            (context.report)(What::Downloading { bytes, total });
            too_large = room.check(bytes.max(total.unwrap_or_default())).err();
            if too_large.is_some() {
                return false;
            }
            let needed = bytes.saturating_mul(2).min(room.most());
            let more = needed.max(room.bytes() + GUESS).min(room.most());
            let fits = needed <= room.bytes() || room.try_reserve(more) == Ok(true);
            if !fits {
                short = Some(needed.saturating_mul(2).min(room.most()));
            }
            fits
        });
        let path = gated(gate, download).await;
        path.map_err(|failure| match (too_large, short) {
            (Some(failure), _) => Stop::Failed(failure),
            (None, Some(bytes)) => Stop::Short(bytes),
            (None, None) => Stop::Failed(failure),
        })
    }

    fn wish<'a>(&'a self, folder: &'a Path, subtitles: Option<&'a str>) -> Wish<'a> {
        let settings = &self.settings;
        Wish {
            format: &settings.ytdlp_format,
            folder,
            subtitles,
            max_bytes: settings.max_bytes,
            least: (settings.min_bytes_per_second, settings.slow_window),
        }
    }

    fn page<'a>(
        &self,
        program: &'a Path,
        item: &'a Item,
        url: &'a Url,
        gate: Option<&'a Gate>,
        context: &FetchContext<'a>,
    ) -> Page<'a> {
        // yt-dlp waits for a socket at most a quarter of our own window, so that its own retries come first.
        let patience = self.settings.connect_timeout.max(self.settings.slow_window / 4);
        let proxy = gate.map(Gate::url);
        Page { program, url, headers: &item.headers, patience, proxy, cancel: context.cancel }
    }

    /// A folder for this very video. yt-dlp would go on with whatever part it finds, also of another one.
    async fn folder(&self, wanted: &Wanted<'_>, subtitles: Option<&str>, folder: &Path) -> Result<PathBuf, Failure> {
        let unique = format!("{}\n{}\n{}\n{subtitles:?}", wanted.key, wanted.id, self.settings.ytdlp_format);
        let name = format!("page-{}", id::short_digest(unique.as_bytes()));
        let (own, folder) = (folder.join(&name), folder.to_path_buf());
        let made = own.clone();
        blocking_or(&writing(&own), move || {
            std::fs::create_dir_all(&made)?;
            remove(&folder, |other| other.starts_with("page-") && other != name)?;
            // A kill left them, with secrets in them.
            remove(&made, |other| other.starts_with(ytdlp::LETTER))
        })
        .await?;
        Ok(own)
    }
}

/// Runs yt-dlp, through a gate if there is one.
async fn gated<T>(gate: Option<&Gate>, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match gate {
        Some(gate) => gate.serve(work).await,
        None => work.await,
    }
}

/// Removes the folders in `folder` whose names are `unwanted`.
fn remove(folder: &Path, unwanted: impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if unwanted(&entry.file_name().to_string_lossy()) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// When yt-dlp gives up on a fragment, it may have noted it as written all the
/// same, and would leave it out without a word when it goes on.
async fn forget_fragments(folder: &Path) -> Result<(), Failure> {
    let (own, writing) = (folder.to_path_buf(), writing(folder));
    let noted = blocking_or(&writing, move || {
        let noted = |entry: std::io::Result<std::fs::DirEntry>| {
            Ok::<_, std::io::Error>(entry?.path().extension().is_some_and(|ending| ending == "ytdl"))
        };
        own.read_dir()?.try_fold(false, |found, entry| Ok(found | noted(entry)?))
    });
    if noted.await? { clear(folder).await } else { Ok(()) }
}

async fn clear(folder: &Path) -> Result<(), Failure> {
    let cleared = folder.to_path_buf();
    blocking_or(&writing(folder), move || {
        std::fs::remove_dir_all(&cleared)?;
        std::fs::create_dir_all(&cleared)
    })
    .await
}

/// Looks at what yt-dlp brought, hashes it and gives it its name. `skipped` is what it could not bring.
async fn finish(path: PathBuf, folder: &Path, wanted: &Wanted<'_>, skipped: Vec<String>) -> Result<Finished, Failure> {
    let reading = format!("could not read `{}`", path.display());
    let opened = path.clone();
    let (file, bytes, head) = blocking_or(&reading, move || {
        let mut file = File::open(opened)?;
        let bytes = file.metadata()?.len();
        let mut head = Vec::new();
        (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
        Ok((file, bytes, head))
    })
    .await?;
    if let Looks::Text(what) = looks("", &head) {
        return Err(Failure::permanent(format!("`{}` led to {what}, not a video", masked_url(wanted.url))));
    }
    let sha256 = hash::of_file(&Arc::new(file), bytes).await.map_err(|error| Failure::io(&reading, &error))?;
    let mark = Mark { size: Some(bytes), sha256: Some(sha256.clone()), ..Mark::new(wanted.key) };
    let own = folder.to_path_buf();
    let finish = move || {
        let mut beside = beside::look(&path);
        beside.skipped.extend(skipped);
        beside.save(&own)?;
        mark.finish(&own, &path)
    };
    let path = blocking_or(&writing(folder), finish).await?;
    Ok(Finished { path, bytes, sha256 })
}

fn fetched(
    finished: Finished,
    wanted: &Wanted<'_>,
    folder: &Path,
    room: Room<'_>,
    context: &FetchContext<'_>,
) -> Fetched {
    let Finished { path, bytes, sha256 } = finished;
    (context.report)(What::Downloaded { bytes });
    let beside = Some(Beside::load(folder));
    let record =
        Record { key: wanted.key.to_owned(), etag: None, last_modified: None, bytes: Some(bytes), modified: None };
    Fetched { path, bytes, sha256, record, temporary: true, serial: None, seal: None, beside, room: room.finish(bytes) }
}
