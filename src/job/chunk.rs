//! One chunk: encoded, checked, encrypted, stored, and noted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};

use crate::format::aes128;
use crate::model::event::{Stage, What};
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::item::Rank;
use crate::model::sha256::Sha256;
use crate::pipeline::lane::Permit;
use crate::plan::audio::AudioRendition;
use crate::plan::encode;
use crate::plan::grid::Chunk;
use crate::plan::hls::{HlsPlan, clock};
use crate::plan::loudness;
use crate::plan::piece::Piece;
use crate::plan::settings::{Container, Method};
use crate::scratch::file;
use crate::scratch::journal::{self, Object};
use crate::storage::Serving;
use crate::tool::ffmpeg;

use super::blocking;
use super::cut::{Cut, Cutter};
use super::done::journal_place;
use super::film;
use super::kept;
use super::pack::{self, INIT, Pack};
use super::pictures;
use super::piece;
use super::reuse;
use super::work::Work;

/// Objects whose names change with their content are kept for a year.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// How an object of a part is served, by the ending of its name.
pub(super) fn serving(name: &str) -> Serving {
    let content_type = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("ts") => "video/mp2t",
        Some("m4s") => "video/iso.segment",
        Some("mp4") => "video/mp4",
        Some("jpg") => "image/jpeg",
        Some("vtt") => "text/vtt",
        _ => "application/octet-stream",
    };
    Serving { content_type, cache_control: IMMUTABLE }
}

/// An encoder that is killed, or that a full disk cut short, gets this many tries.
const TRIES: u32 = 3;

/// Segments of one chunk that are made and sent at once, so that memory holds
/// a few of them and not all.
pub(super) const SEGMENTS_AT_ONCE: usize = 3;

/// MP3 and Vorbis often begin with packets that refer to what is not there.
const HARMLESS_SOUND: u64 = 3;

pub(super) const ACCEPT: &str = "get the file again, or publish what there is with --accept-damaged";

/// One piece of an item's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All renditions of a run of segments.
    Video(Chunk),
    /// One track of sound, whole.
    Audio(usize),
    /// Poster and storyboard.
    Pictures,
}

impl Part {
    /// Its name in the journal.
    pub fn name(&self) -> String {
        match self {
            Self::Video(chunk) => format!("video-{:05}", chunk.number),
            Self::Audio(track) => format!("audio-{track}"),
            Self::Pictures => "pictures".into(),
        }
    }

    /// Whether it comes first in its renditions.
    pub(super) fn is_first(&self) -> bool {
        matches!(self, Self::Audio(_) | Self::Video(Chunk { number: 0, .. }))
    }

    /// Its number in events: sound comes after the last chunk of video.
    pub(super) fn number(&self, plan: &HlsPlan) -> u64 {
        match self {
            Self::Video(chunk) => chunk.number,
            Self::Audio(track) => plan.grid.chunks() + *track as u64,
            Self::Pictures => plan.grid.chunks() + plan.audio.len() as u64,
        }
    }
}

/// What came of a part here.
pub enum Made {
    /// It is stored.
    Stored(journal::Chunk),
    /// Any worker may make it: the number of the chunk.
    Left(u64),
}

/// Encodes, checks and stores one part, and notes it when all of it is durable.
/// What an earlier run has made is taken as it is; what others may make is left to them.
pub async fn make(work: &Work<'_>, part: Part) -> Result<Made, Failure> {
    let turn = if let Part::Video(chunk) = part { chunk.number } else { 0 };
    let rank = work.cx.chunk_rank(work.rank, work.turn, turn);
    // What is there already is known with the whole source, and not before.
    let early = head_start(work, part, rank).await?;
    if let Some(made) = work.target.get().and_then(|target| target.made.get(&part.name())) {
        return Ok(Made::Stored(made.clone()));
    }
    let taken = reuse::take(work, part, rank).await?;
    if taken.whole {
        return note(work, part, taken.chunk).await;
    }
    if part == Part::Pictures {
        return note(work, part, pictures::make(work, rank).await?).await;
    }
    let what = (part, &taken.missing[..]);
    let begun = match (early, part) {
        (Some(permit), _) => (permit, false),
        (None, Part::Video(chunk)) if is_left(work, what).await => return Ok(Made::Left(chunk.number)),
        (None, _) => (work.cx.permit(&work.cx.lanes.backlog, rank, 1).await?, true),
    };
    let rest = encoded(work, what, rank, begun).await?;
    note(work, part, taken.chunk.and(rest)).await
}

/// The renditions of a part that have to be made, encoded and stored.
async fn encoded(
    work: &Work<'_>,
    what: (Part, &[usize]),
    rank: Rank,
    (mut unstored, whole): (Permit<Rank>, bool),
) -> Result<journal::Chunk, Failure> {
    let part = what.0;
    let mut files = match kept::find(work, what).await {
        Some(files) => files,
        None => made(work, what, rank, whole).await?,
    };
    fault::point("chunk-encoded");
    if work.target.get().is_none() {
        // Others may have a head start too as long as there is room for what comes of it.
        if let Some(room) = kept::keep(work, part, &files).await? {
            unstored = room;
        }
        // A film has many chunks, and each has many files.
        drop(files);
        work.target.wait().await;
        files = open(work, what).await?;
    }
    let stored = work.cx.unless_cancelled(store(work, part, files, rank)).await?;
    kept::forget(work, part).await;
    drop(unstored);
    Ok(stored)
}

/// The encoder's checked files of a part, of which nothing is there yet.
async fn made(work: &Work<'_>, what: (Part, &[usize]), rank: Rank, whole: bool) -> Result<Vec<Rendition>, Failure> {
    match encode(work, what, rank).await {
        // While the source is still coming, a failure means nothing yet.
        Err(failure) if !whole && failure.class != Class::Stopped => {
            work.target.wait().await;
            with_tries(work, what, rank).await
        }
        Err(failure) => again(failure, work, what, rank).await,
        files => files,
    }
}

/// Notes a part all of whose objects are stored.
async fn note(work: &Work<'_>, part: Part, chunk: journal::Chunk) -> Result<Made, Failure> {
    fault::point("chunk-stored");
    work.source_is_the_same().await?;
    if work.guest || work.target().led.is_some() {
        film::note(work, part, &chunk).await?;
    } else {
        work.cx.journal.chunk_done(&journal_place(&work.target().place, work.cx), &part.name(), &chunk).await?;
    }
    fault::point("chunk-noted");
    Ok(Made::Stored(chunk))
}

/// Waits until the source is whole, or all of it that the part's first piece needs is here: then there is a permit to
/// encode before the rest comes.
async fn head_start(work: &Work<'_>, part: Part, rank: Rank) -> Result<Option<Permit<Rank>>, Failure> {
    let early = async {
        match part {
            Part::Video(chunk) => work.has_arrived(work.pieces(&chunk).first()).await,
            // These need all of the source.
            Part::Audio(_) | Part::Pictures => std::future::pending().await,
        }
        work.cx.permit(&work.cx.lanes.early, rank, 1).await
    };
    tokio::select! {
        biased;
        _ = work.target.wait() => Ok(None),
        permit = early => permit.map(Some),
    }
}

/// Whether others may make the part. What an earlier run has encoded is only to be stored.
async fn is_left(work: &Work<'_>, what: (Part, &[usize])) -> bool {
    work.target().led.is_some() && kept::find(work, what).await.is_none()
}

/// The folder of a rendition, and the encoder's checked files of it.
pub(super) type Rendition = (String, Arc<Cutter>);

async fn with_tries(work: &Work<'_>, what: (Part, &[usize]), rank: Rank) -> Result<Vec<Rendition>, Failure> {
    match encode(work, what, rank).await {
        Err(failure) => again(failure, work, what, rank).await,
        files => files,
    }
}

/// Tries once more after `failure`, and perhaps once more, if that may help.
async fn again(
    mut failure: Failure,
    work: &Work<'_>,
    what: (Part, &[usize]),
    rank: Rank,
) -> Result<Vec<Rendition>, Failure> {
    for tries in 1..TRIES {
        if failure.class != Class::Temporary {
            break;
        }
        let wait = Duration::from_secs(1) * tries;
        (work.report)(What::Retrying { stage: Stage::Encode, why: failure.what, wait: wait.as_secs_f64() });
        tokio::select! {
            () = work.cx.stop.cancelled() => return Err(Failure::stopped()),
            () = tokio::time::sleep(wait) => {}
        }
        match encode(work, what, rank).await {
            Err(next) => failure = next,
            files => return files,
        }
    }
    // ffmpeg may exit 0 on a full disk, and then only its files show that something is wrong.
    if failure.class == Class::Temporary && file::is_full(work.folder) {
        return Err(ffmpeg::no_space());
    }
    Err(failure)
}

async fn encode(work: &Work<'_>, what: (Part, &[usize]), rank: Rank) -> Result<Vec<Rendition>, Failure> {
    let (part, missing) = what;
    let Work { cx, plan, .. } = work;
    let number = part.number(plan);
    let (cpu_seconds, files) = match part {
        Part::Video(chunk) => {
            let pieces = work.pieces(&chunk);
            let cpu_seconds = piece::encode_all(work, (&pieces, missing), rank).await?;
            (cpu_seconds, open_video(work, (chunk, missing), pieces).await?)
        }
        Part::Audio(track) => {
            let permit = cx.permit(&cx.lanes.cpu, rank, 1).await?;
            cx.served(rank);
            (work.report)(What::ChunkStarted { chunk: number });
            fault::point("chunk-started");
            let cpu_seconds = encode_audio(work, track).await?;
            drop(permit);
            (cpu_seconds, open_audio(work, track).await?)
        }
        Part::Pictures => return Ok(Vec::new()),
    };
    (work.report)(What::ChunkEncoded { chunk: number, cpu_seconds });
    Ok(files)
}

/// Decibels that a track of sound is made louder by, and the CPU seconds it took to know.
async fn gain(work: &Work<'_>, rendition: &AudioRendition) -> Result<(f64, f64), Failure> {
    let Some(wanted) = work.settings.loudness else { return Ok((0.0, 0.0)) };
    let arguments = encode::loudness(&work.source, &work.plan, rendition);
    let report = ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, |_| {}).await;
    let report = report.map_err(|failure| refused(failure, work, 0))?;
    let found = report.loudness.ok_or_else(|| {
        Failure::environment("ffmpeg measured no loudness").hint("install an ffmpeg that has the filter `loudnorm`")
    })?;
    let (gain, limited) = loudness::gain(found, wanted);
    if limited {
        let reached = found.integrated + gain;
        let message = format!("{} is at {reached:.1} LUFS: its peaks allow no more", rendition.folder);
        (work.report)(What::Warning { message });
    }
    Ok((gain, report.cpu_seconds))
}

async fn encode_audio(work: &Work<'_>, track: usize) -> Result<f64, Failure> {
    let Work { settings, plan, .. } = work;
    let rendition = plan.audio.get(track).expect("parts are made from the plan");
    let (gain, measuring) = gain(work, rendition).await?;
    let arguments = encode::audio(&work.source, plan, (track, rendition, gain), settings, work.folder);
    let mut report = audio_run(work, track, &arguments).await?;
    let (made, grid) = (encode::audio_output(work.folder, track), plan.grid.clone());
    if blocking(move || Cutter::is_too_long(&made, &grid)).await? {
        let plain = encode::plain_audio(&work.source, (track, rendition), work.folder);
        let first = audio_run(work, track, &plain).await?;
        let source = encode::plain_audio_output(work.folder, track);
        let rendition = AudioRendition { index: 0, ..rendition.clone() };
        let arguments = encode::audio(&source, plan, (track, &rendition, gain), settings, work.folder);
        let second = audio_run(work, track, &arguments).await;
        remove(&source).await;
        let cpu_seconds = report.cpu_seconds + first.cpu_seconds;
        report = ffmpeg::Report { damaged: first.damaged, ..second? };
        report.cpu_seconds += cpu_seconds;
    }
    let source = work.media.audio.iter().find(|source| source.index == rendition.index);
    let damaged = report.damaged.saturating_sub(source.map_or(0, |source| source.empty_packets));
    if damaged > HARMLESS_SOUND {
        let what = format!("the source is damaged: {damaged} packets of {} cannot be decoded", rendition.folder);
        if !settings.accept_damaged && !fault::mutant("trust-exit-codes") {
            return Err(Failure::permanent(what).hint(ACCEPT));
        }
        (work.report)(What::Warning { message: what });
    }
    Ok(measuring + report.cpu_seconds)
}

async fn audio_run(work: &Work<'_>, track: usize, arguments: &[OsString]) -> Result<ffmpeg::Report, Failure> {
    let number = Part::Audio(track).number(&work.plan);
    let seconds = work.plan.grid.seconds();
    let progress =
        |made: f64| (work.report)(What::ChunkProgress { chunk: number, part: (made / seconds).clamp(0.0, 1.0) });
    let report = ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, arguments, &work.cx.cancel, progress).await;
    report.map_err(|failure| refused(failure, work, 0))
}

/// Puts ffmpeg's own refusal into words.
pub(super) fn refused(failure: Failure, work: &Work<'_>, first_frame: u64) -> Failure {
    if failure.class != Class::Permanent {
        return failure;
    }
    let at = clock(work.plan.grid.rate.seconds(first_frame));
    failure.context(&format!("the source cannot be encoded after {at}"))
}

/// Opens and checks what the encoder wrote of a part.
pub(super) async fn open(work: &Work<'_>, (part, missing): (Part, &[usize])) -> Result<Vec<Rendition>, Failure> {
    match part {
        Part::Video(chunk) => open_video(work, (chunk, missing), work.pieces(&chunk)).await,
        Part::Audio(track) => open_audio(work, track).await,
        Part::Pictures => Ok(Vec::new()),
    }
}

/// Opens and checks what the encoder wrote of a chunk.
async fn open_video(
    work: &Work<'_>,
    (chunk, missing): (Chunk, &[usize]),
    pieces: Vec<Piece>,
) -> Result<Vec<Rendition>, Failure> {
    let (grid, folder, original) = (work.plan.grid.clone(), work.folder.to_path_buf(), work.original.clone());
    let all = work.plan.video.iter().map(|rendition| rendition.name.clone()).enumerate();
    let names: Vec<(usize, String)> = all.filter(|(number, _)| missing.contains(number)).collect();
    blocking(move || {
        let open = |(number, name)| {
            if let Some(original) = original.as_ref().filter(|_| number == 0) {
                return Ok((name, Arc::new(Cutter::copy(original, &grid, &chunk)?)));
            }
            let file = |piece: &Piece| (encode::video_output(&folder, piece, number), piece.clone());
            let files: Vec<(PathBuf, Piece)> = pieces.iter().map(file).collect();
            Ok((name, Arc::new(Cutter::video(&files, &grid, &chunk)?)))
        };
        names.into_iter().map(open).collect()
    })
    .await
}

/// Opens and checks what the encoder wrote of a track of sound.
async fn open_audio(work: &Work<'_>, track: usize) -> Result<Vec<Rendition>, Failure> {
    let (grid, path) = (work.plan.grid.clone(), encode::audio_output(work.folder, track));
    let name = work.plan.audio.get(track).map(|rendition| rendition.folder.clone()).unwrap_or_default();
    blocking(move || Ok(vec![(name, Arc::new(Cutter::audio(&path, &grid)?))])).await
}

/// Cuts, encrypts and stores all segments of a part, then removes the encoder's files.
async fn store(work: &Work<'_>, part: Part, files: Vec<Rendition>, rank: Rank) -> Result<journal::Chunk, Failure> {
    let codecs = files.iter().map(|(name, cutter)| (name.clone(), pack::codec(work, name, cutter))).collect();
    let pack = |(name, cutter): &Rendition| Ok((name.clone(), Arc::new(Pack::new(work, name, Arc::clone(cutter))?)));
    let packs: Vec<(String, Arc<Pack>)> = files.iter().map(pack).collect::<Result<_, Failure>>()?;
    let segments = packs.iter().flat_map(|(name, pack)| pack.cutter().cuts().iter().map(move |cut| (name, pack, cut)));
    let segments: Vec<(String, Arc<Pack>, Cut)> =
        segments.map(|(name, pack, cut)| (name.clone(), Arc::clone(pack), cut.clone())).collect();
    let mut objects: Vec<Object> = futures_util::stream::iter(segments)
        .map(|(name, pack, cut)| store_segment(work, name, pack, cut, rank))
        .buffer_unordered(SEGMENTS_AT_ONCE)
        .try_collect()
        .await?;
    let mut inits = Vec::new();
    for (name, pack) in &packs {
        let Some(init) = pack.init() else { continue };
        inits.push((name.clone(), hex::encode(Sha256::digest(&init))));
        // All chunks have the same header, which is looked at when they come together.
        if part.is_first() {
            objects.push(put(work, (format!("{name}/{INIT}"), 0.0), init, serving(INIT)).await?);
        }
    }
    for path in files.iter().flat_map(|(_, cutter)| cutter.own_files()) {
        remove(path).await;
    }
    if let (Part::Video(chunk), true) = (part, work.settings.two_pass) {
        for number in 0..work.plan.video.len() {
            let statistics = encode::statistics(work.folder, chunk.number, number);
            for ending in ["-0.log", "-0.log.mbtree"] {
                let mut name = statistics.clone().into_os_string();
                name.push(ending);
                remove(Path::new(&name)).await;
            }
        }
    }
    Ok(journal::Chunk { codecs, inits, objects })
}

async fn store_segment(
    work: &Work<'_>,
    folder: String,
    pack: Arc<Pack>,
    cut: Cut,
    rank: Rank,
) -> Result<Object, Failure> {
    // Not by `Context::permit`: what is encoded when the run stops is worth storing.
    let permit = work.cx.lanes.upload.acquire(rank, 1).await;
    let ending = match work.settings.container {
        Container::Ts => "ts",
        Container::Fmp4 => "m4s",
    };
    let whole = work.settings.encryption.as_ref().is_some_and(|wish| wish.method == Method::Aes128);
    let key_ring = work.target().key_ring.clone().filter(|_| whole);
    let is_led_to = work.settings.i_frames && work.plan.video.iter().any(|rendition| rendition.name == folder);
    let (name, seconds) = (format!("{folder}/{:05}.{ending}", cut.segment), cut.seconds);
    let serving = serving(&name);
    let (bytes, head) = blocking(move || {
        let (plain, head) = pack.segment(&cut)?;
        let Some(ring) = key_ring else { return Ok((plain, head)) };
        let key = ring.key(cut.segment).key;
        let key: &[u8; 16] = key.expose().try_into().expect("derived keys have 16 bytes");
        Ok((aes128::encrypt(key, &ring.iv(&folder, cut.segment), plain), 0))
    })
    .await?;
    let object = put(work, (name, seconds), bytes, serving).await?;
    drop(permit);
    fault::point("segment-stored");
    Ok(Object { head: if is_led_to { head } else { 0 }, ..object })
}

/// Stores one object of a part and tells of it.
pub(super) async fn put(
    work: &Work<'_>,
    (name, seconds): (String, f64),
    bytes: Vec<u8>,
    serving: Serving,
) -> Result<Object, Failure> {
    let (bytes, sha256) = blocking(move || {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok((bytes, sha256))
    })
    .await?;
    let object = Object { name, bytes: bytes.len() as u64, sha256, seconds, head: 0 };
    work.cx.storage.write(&format!("{}/{}", work.target().place, object.name), bytes.into(), &serving.into()).await?;
    let objects = work.stored.objects.fetch_add(1, Ordering::Relaxed) + 1;
    let bytes = work.stored.bytes.fetch_add(object.bytes, Ordering::Relaxed) + object.bytes;
    (work.report)(What::Uploading { objects, bytes });
    Ok(object)
}

async fn remove(path: &Path) {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "a work file could not be removed");
        }
        _ => {}
    }
}
