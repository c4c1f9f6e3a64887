//! One chunk of a film that another worker leads: just the bytes that it needs are read from the
//! source, and it is made as the leader would make it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell, SetOnce, watch};

use crate::format::keys::KeyRing;
use crate::format::mp4;
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::item::{Item, Rank};
use crate::model::media::Media;
use crate::pipeline::lane::Permit;
use crate::plan::generation::{self, Origin};
use crate::plan::hls::{HlsPlan, plan};
use crate::plan::settings::HlsSettings;
use crate::source::Fetched;
use crate::source::beside::Beside;
use crate::tool::ffprobe;

use super::chunk::{self, Part};
use super::early::{HEAD, LARGEST_INDEX};
use super::film::{self, Film};
use super::hls::fetch_context;
use super::probe;
use super::reuse::Recipes;
use super::work::{Stored, Target, Work};
use super::{Context, Report, blocking};

/// So much is read of a place where the head of a box must be.
const BOX: u64 = 64 << 10;

/// A film as a worker knows it that makes chunks of it.
pub struct Known {
    film: Film,
    media: Media,
    plan: HlsPlan,
    source: Reach,
}

/// Where the bytes of the source are.
enum Reach {
    /// All of them in one file, perhaps of the job that leads the film.
    Here(PathBuf),
    /// The index in a file with holes, in these ranges. The rest is read when it is needed.
    Index(PathBuf, Vec<Range<u64>>),
}

/// The folder of a film, in which its index lies, and the source if all of it is needed.
pub struct Shelf {
    /// The folder. It goes with the film.
    pub folder: PathBuf,
    whole: Mutex<Option<Fetched>>,
}

impl Shelf {
    /// With nothing in it yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, whole: Mutex::new(None) }
    }
}

/// What a guest works with.
pub struct Guest<'a> {
    /// The film as an input.
    pub item: &'a Item,
    /// The film's settings.
    pub settings: &'a HlsSettings,
    /// The film's place at the destination: its id and its generation.
    pub place: (&'a str, &'a str),
    /// The folder of the film.
    pub shelf: &'a Shelf,
    /// The run.
    pub cx: &'a Context,
    /// Who hears of it.
    pub report: Report<'a>,
}

impl Known {
    /// The film that a job of this program leads.
    pub fn led(led: &film::Led) -> Self {
        let source = Reach::Here(led.source.clone());
        Self { film: led.film.clone(), media: led.media.clone(), plan: led.plan.clone(), source }
    }

    /// Whether this is what all know by now.
    pub fn is(&self, film: &Film) -> bool {
        self.film == *film
    }
}

impl Guest<'_> {
    /// Reads as much of the source as it takes to plan, and plans what the leader planned.
    pub async fn open(&self, film: Film) -> Result<Known, Failure> {
        let Self { settings, cx, place, .. } = self;
        let extras: Vec<&str> = film.extras.iter().map(String::as_str).collect();
        let origin = Origin {
            source: &film.source.sha256,
            beside: film.source.beside.as_deref(),
            ffmpeg: &cx.ffmpeg.version,
            extras: &extras,
            lineage: None,
        };
        if generation::name(&origin, settings) != place.1 {
            return Err(Failure::environment("this worker's settings would make another package of the film")
                .hint("give all workers of a queue the same settings and the same FOREBAY_MASTER_KEY"));
        }
        let unplanned = || Failure::environment("this worker plans the film otherwise than the one that leads it");
        let by_index = match self.index(&film).await {
            Ok((media, source)) => self.planned(&film, media, source),
            Err(failure) if failure.class == Class::Stopped => return Err(failure),
            Err(failure) => {
                tracing::debug!(%failure, "a film is not told by its index");
                None
            }
        };
        if let Some(known) = by_index {
            return Ok(known);
        }
        let path = self.whole(&film).await?;
        let place = (&*path, &*self.shelf.folder);
        let (path, media) = probe::probe(place, &cx.ffmpeg, &settings.limits, &cx.cancel).await?;
        self.planned(&film, media, Reach::Here(path)).ok_or_else(unplanned)
    }

    fn planned(&self, film: &Film, media: Media, source: Reach) -> Option<Known> {
        let plan = plan(&media, self.settings).ok()?;
        let same = film::digest(&media, &plan) == film.plan;
        same.then(|| Known { film: film.clone(), media, plan, source })
    }

    /// The index of an MP4 file, and what the file holds by it.
    async fn index(&self, film: &Film) -> Result<(Media, Reach), Failure> {
        let cx = self.cx;
        let size = film.source.bytes;
        let path = self.shelf.folder.join("index");
        let index = with_holes(&path, size).await?;
        let mut here = Vec::new();
        self.read(film, &index, 0..HEAD.min(size), &mut here).await?;
        let (at, length) = loop {
            let (reading, known) = (Arc::clone(&index), here.clone());
            match blocking(move || Ok(find_index(&reading, size, &known))).await? {
                Ok(Some(moov)) if moov.1 <= LARGEST_INDEX => break moov,
                Ok(_) => return Err(Failure::permanent("it is no MP4 file with an index")),
                Err(at) => self.read(film, &index, at..(at + BOX).min(size), &mut here).await?,
            }
        };
        // A faststart file has its first pictures behind the index, and they tell their format.
        self.read(film, &index, at..(at + length + HEAD).min(size), &mut here).await?;
        let media = ffprobe::probe_index(&cx.ffmpeg.ffprobe, &path, &self.settings.limits, &cx.cancel).await?;
        Ok((media, Reach::Index(path, here)))
    }

    /// Reads a range of the source, and notes that it is here.
    async fn read(
        &self,
        film: &Film,
        into: &Arc<File>,
        range: Range<u64>,
        here: &mut Vec<Range<u64>>,
    ) -> Result<(), Failure> {
        let nobody = watch::Sender::new(None);
        let context = fetch_context(self.item, self.cx, self.report, &nobody);
        let range = std::slice::from_ref(&range);
        self.cx.sources.spans(self.item, &film.source.input, range, into, &context).await?;
        here.extend_from_slice(range);
        Ok(())
    }

    /// All of the source, which is fetched once for all chunks.
    async fn whole(&self, film: &Film) -> Result<PathBuf, Failure> {
        let mut whole = self.shelf.whole.lock().await;
        if let Some(fetched) = whole.as_ref() {
            return Ok(fetched.path.clone());
        }
        let nobody = watch::Sender::new(None);
        let context = fetch_context(self.item, self.cx, self.report, &nobody);
        let identity = self.cx.sources.identify(self.item, &context).await?;
        let fetched = self.cx.sources.fetch(self.item, &identity, &self.shelf.folder.join("whole"), &context).await?;
        if fetched.sha256 != film.source.sha256 {
            return Err(Failure::permanent("the source is no longer the one that the film was planned by"));
        }
        let path = fetched.path.clone();
        *whole = Some(fetched);
        Ok(path)
    }

    /// Makes chunk `number` of `known`, unless that is done already, and notes it at the destination.
    pub async fn make(&self, known: &Known, number: u64, folder: &Path) -> Result<(), Failure> {
        let beside = Beside::default();
        let rest;
        let mut work = self.work(known, folder, &beside);
        if number >= known.plan.grid.chunks() {
            return Err(Failure::permanent(format!("the film has no chunk {number}")));
        }
        let (chunk, renditions) = (known.plan.grid.chunk(number), known.plan.video.len() as u64);
        let part = Part::Video(chunk);
        (self.report)(What::Planned {
            seconds: known.plan.grid.rate.seconds(chunk.frames),
            chunks: 1,
            resumed: 0,
            renditions,
            objects: chunk.segments * renditions,
            summary: format!("chunk {number} of a film").into(),
        });
        let mut room = None;
        match &known.source {
            Reach::Here(path) => work.source.clone_from(path),
            Reach::Index(index, here) => {
                work.source = folder.join("source");
                room = self.some(known, &work, part, (index, here)).await?;
                rest = Rest { guest: self, film: &known.film, to: work.source.clone(), done: OnceCell::new() };
                work.rest = Some(&rest);
            }
        }
        fault::point("chunk-fetched");
        let made = chunk::make(&work, part).await;
        drop(room);
        made.map(drop)
    }

    /// Brings the index and the bytes that a chunk needs into the file of `work`. Gives the room they take.
    async fn some(
        &self,
        known: &Known,
        work: &Work<'_>,
        part: Part,
        (index, here): (&Path, &[Range<u64>]),
    ) -> Result<Option<Permit<Rank>>, Failure> {
        let size = known.film.source.bytes;
        let needed = if let Part::Video(chunk) = part { work.bytes_of_chunk(&chunk) } else { None };
        // Where that cannot be told, all of it.
        let (from, to) = needed.unwrap_or((0, size));
        let span = from..to.min(size);
        let spans = std::slice::from_ref(&span);
        let bytes = here.iter().chain(spans).map(|range| range.end.saturating_sub(range.start)).sum();
        let room = self.cx.permit(&self.cx.lanes.room, work.rank, bytes).await?;
        let file = with_holes(&work.source, size).await?;
        let (from, here, into) = (index.to_path_buf(), here.to_vec(), Arc::clone(&file));
        blocking(move || {
            copy(&from, &into, &here).map_err(|error| Failure::io("could not write to the work folder", &error))
        })
        .await?;
        let nobody = watch::Sender::new(None);
        let context = fetch_context(self.item, self.cx, self.report, &nobody);
        let record = &known.film.source.input;
        match self.cx.sources.spans(self.item, record, spans, &file, &context).await {
            Ok(()) => Ok(Some(room)),
            Err(failure) if failure.class == Class::Stopped => Err(failure),
            Err(failure) => {
                tracing::debug!(%failure, "a film is not read in parts");
                // Nobody waits for room with room in hand.
                drop(room);
                link(&self.whole(&known.film).await?, &work.source).await.map(|()| None)
            }
        }
    }

    fn work<'w>(&'w self, known: &Known, folder: &'w Path, beside: &'w Beside) -> Work<'w> {
        let Self { settings, cx, place: (id, generation), .. } = self;
        let key_ring =
            settings.encryption.as_ref().map(|wish| Arc::new(KeyRing::new(&wish.master_key, generation, wish.rotate)));
        let target = Target {
            generation: (*generation).to_owned(),
            place: format!("{id}/{generation}"),
            key_ring,
            pointer: None,
            chapters: Vec::new(),
            recipes: Recipes::default(),
            earlier: None,
            made: std::collections::HashMap::new(),
            led: None,
        };
        Work {
            cx,
            settings,
            media: known.media.clone(),
            plan: known.plan.clone(),
            original: None,
            source: PathBuf::new(),
            beside,
            folder,
            id,
            rank: self.item.rank(),
            turn: cx.turn(),
            report: self.report,
            stored: Stored::default(),
            serial: None,
            seal: None,
            arrival: None,
            target: SetOnce::new_with(Some(target)),
            guest: true,
            rest: None,
        }
    }
}

/// The rest of a source of which some is here. A decoder may have to read on, or to begin at its head.
pub struct Rest<'a> {
    guest: &'a Guest<'a>,
    film: &'a Film,
    to: PathBuf,
    done: OnceCell<()>,
}

impl Rest<'_> {
    /// Puts all of the source where some of it was.
    pub(super) async fn fetch(&self) -> Result<(), Failure> {
        let fetch = || async { link(&self.guest.whole(self.film).await?, &self.to).await };
        self.done.get_or_try_init(fetch).await.map(drop)
    }
}

/// Where the index of an MP4 file is, or where to read to know it.
fn find_index(file: &File, size: u64, here: &[Range<u64>]) -> Result<Option<(u64, u64)>, u64> {
    let read = |at: u64| {
        let mut bytes = [0; 16];
        let to = size.min(at + 16);
        let known = here.iter().any(|range| range.start <= at && to <= range.end);
        let wanted = bytes.get_mut(..usize::try_from(to - at).unwrap_or(16)).unwrap_or_default();
        if !known || file.read_exact_at(wanted, at).is_err() {
            return Err(at);
        }
        Ok(bytes)
    };
    if read(0)?.get(4..8) != Some(b"ftyp") {
        return Ok(None);
    }
    mp4::find_moov(size, read)
}

/// An empty file of `size` bytes, of which nothing is on the disk.
async fn with_holes(path: &Path, size: u64) -> Result<Arc<File>, Failure> {
    let path = path.to_path_buf();
    blocking(move || {
        let made = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = made.and_then(|file| file.set_len(size).map(|()| file));
        file.map(Arc::new).map_err(|error| Failure::io(&format!("could not write `{}`", path.display()), &error))
    })
    .await
}

fn copy(from: &Path, to: &File, ranges: &[Range<u64>]) -> io::Result<()> {
    let from = File::open(from)?;
    let mut buffer = vec![0; 256 << 10];
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let count = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let bytes = buffer.get_mut(..count).unwrap_or_default();
            from.read_exact_at(bytes, at)?;
            to.write_all_at(bytes, at)?;
            at += count as u64;
        }
    }
    Ok(())
}

/// Gives a file a second name, in the place of what has it.
async fn link(from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (from.to_path_buf(), to.to_path_buf());
    blocking(move || {
        let linked = match std::fs::remove_file(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::fs::hard_link(&from, &to),
        };
        linked.map_err(|error| Failure::io(&format!("could not link `{}`", to.display()), &error))
    })
    .await
}
