//! One chunk: encoded, checked, encrypted, stored, and noted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::format::aes128;
use crate::model::event::{Stage, What};
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::item::Rank;
use crate::model::media::Video;
use crate::pipeline::lane::Permit;
use crate::plan::decoded;
use crate::plan::encode::{self, Entry, Pass};
use crate::plan::grid::Chunk;
use crate::plan::hls::{HlsPlan, clock};
use crate::scratch::file;
use crate::scratch::journal::{self, Object};
use crate::storage::Serving;
use crate::tool::ffmpeg;

use super::blocking;
use super::cut::{Cut, Cutter};
use super::done::journal_place;
use super::work::Work;

/// Objects whose names change with their content are kept for a year.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

const SEGMENT: Serving = Serving { content_type: "video/mp2t", cache_control: IMMUTABLE };

/// An encoder that is killed, or that a full disk cut short, gets this many tries.
const TRIES: u32 = 3;

/// Segments of one chunk that are made and sent at once, so that memory holds
/// a few of them and not all.
const SEGMENTS_AT_ONCE: usize = 3;

/// MP3 and Vorbis often begin with packets that refer to what is not there.
const HARMLESS_SOUND: u64 = 3;

const ACCEPT: &str = "get the file again, or publish what there is with --accept-damaged";

/// One piece of an item's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All renditions of a run of segments.
    Video(Chunk),
    /// One track of sound, whole.
    Audio(usize),
}

impl Part {
    /// Its name in the journal.
    pub fn name(&self) -> String {
        match self {
            Self::Video(chunk) => format!("video-{:05}", chunk.number),
            Self::Audio(track) => format!("audio-{track}"),
        }
    }

    /// Its number in events: sound comes after the last chunk of video.
    fn number(&self, plan: &HlsPlan) -> u64 {
        match self {
            Self::Video(chunk) => chunk.number,
            Self::Audio(track) => plan.grid.chunks() + *track as u64,
        }
    }
}

/// Encodes, checks and stores one part, and notes it when all of it is durable.
/// What an earlier run has made is taken as it is.
pub async fn make(work: &Work<'_>, part: Part) -> Result<journal::Chunk, Failure> {
    if let Some(made) = work.target.get().and_then(|target| target.made.get(&part.name())) {
        return Ok(made.clone());
    }
    let turn = if let Part::Video(chunk) = part { chunk.number } else { 0 };
    let rank = work.cx.chunk_rank(work.rank, work.turn, turn);
    let (_unstored, whole) = begin(work, part, rank).await?;
    let files = match encode(work, part, rank).await {
        // While the source is still coming, a failure means nothing yet.
        Err(failure) if !whole && failure.class != Class::Stopped => {
            work.target.wait().await;
            with_tries(work, part, rank).await?
        }
        Err(failure) => again(failure, work, part, rank).await?,
        Ok(files) => files,
    };
    fault::point("chunk-encoded");
    let target = work.target.wait().await;
    let chunk = work.cx.unless_cancelled(store(work, part, files, rank)).await?;
    fault::point("chunk-stored");
    work.cx.journal.chunk_done(&journal_place(&target.place, work.cx), &part.name(), &chunk).await?;
    fault::point("chunk-noted");
    Ok(chunk)
}

/// Waits until the part may be encoded: the source is whole, or all of it that
/// the part needs is here. Tells which.
async fn begin(work: &Work<'_>, part: Part, rank: Rank) -> Result<(Permit<Rank>, bool), Failure> {
    let Work { cx, .. } = work;
    let early = async {
        work.has_arrived(part).await;
        cx.permit(&cx.lanes.early, rank, 1).await
    };
    tokio::select! {
        biased;
        _ = work.target.wait() => Ok((cx.permit(&cx.lanes.backlog, rank, 1).await?, true)),
        permit = early => Ok((permit?, false)),
    }
}

/// A checked file of the encoder and the folder it is for.
type Rendition = (String, Arc<Cutter>, PathBuf);

async fn with_tries(work: &Work<'_>, part: Part, rank: Rank) -> Result<Vec<Rendition>, Failure> {
    match encode(work, part, rank).await {
        Err(failure) => again(failure, work, part, rank).await,
        files => files,
    }
}

/// Tries once more after `failure`, and perhaps once more, if that may help.
async fn again(mut failure: Failure, work: &Work<'_>, part: Part, rank: Rank) -> Result<Vec<Rendition>, Failure> {
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
        match encode(work, part, rank).await {
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

async fn encode(work: &Work<'_>, part: Part, rank: Rank) -> Result<Vec<Rendition>, Failure> {
    let Work { cx, plan, .. } = work;
    let permit = cx.permit(&cx.lanes.cpu, rank, 1).await?;
    cx.served(rank);
    let number = part.number(plan);
    (work.report)(What::ChunkStarted { chunk: number });
    fault::point("chunk-started");
    let cpu_seconds = match part {
        Part::Video(chunk) => encode_video(work, chunk).await?,
        Part::Audio(track) => encode_audio(work, track).await?,
    };
    drop(permit);
    let files = open(work, part).await?;
    (work.report)(What::ChunkEncoded { chunk: number, cpu_seconds });
    Ok(files)
}

/// Encodes a chunk, from the key frame before it; where that shows a gap, which
/// may be no more than a seek that went astray, once more from the head of the file.
async fn encode_video(work: &Work<'_>, chunk: Chunk) -> Result<f64, Failure> {
    let video = work.media.video.as_ref().expect("a plan is made only of what has a picture");
    let mut made = passes(work, video, chunk, Entry::KeyFrame).await?;
    let mut cpu_seconds = made.cpu_seconds;
    if made.damage.is_some() && chunk.first_frame > 0 {
        made = passes(work, video, chunk, Entry::Head).await?;
        cpu_seconds += made.cpu_seconds;
    }
    let Some(what) = made.damage.filter(|_| !fault::mutant("trust-exit-codes")) else { return Ok(cpu_seconds) };
    if !work.settings.accept_damaged {
        return Err(Failure::permanent(what).hint(ACCEPT));
    }
    (work.report)(What::Warning { message: what });
    let begin = work.plan.start + work.plan.grid.rate.seconds(chunk.first_frame);
    if let Some(last) = made.last.filter(|last| *last < begin) {
        // Nothing of this chunk is left: it shows the last picture that is. ffmpeg prints its time in six digits.
        let mut shorter = video.clone();
        shorter.timeline.times.retain(|time| *time < last - 0.01 - last * 1e-5);
        cpu_seconds += passes(work, &shorter, chunk, Entry::Head).await?.cpu_seconds;
    }
    Ok(cpu_seconds)
}

/// What came of all passes over a chunk.
struct Made {
    cpu_seconds: f64,
    damage: Option<String>,
    /// Time of the last picture that could be decoded.
    last: Option<f64>,
}

/// All passes over a chunk. Its renditions are made by one ffmpeg from one decode; only the
/// last chunk of an item is shared out to a second core that nobody else wants. The bytes
/// are the same: what a rendition is made of does not depend on the others.
async fn passes(work: &Work<'_>, video: &Video, chunk: Chunk, entry: Entry) -> Result<Made, Failure> {
    let Work { settings, plan, .. } = work;
    let renditions = plan.video.len();
    let is_last = chunk.number + 1 == plan.grid.chunks();
    let spare = if is_last && renditions > 1 { work.cx.lanes.cpu.try_acquire(1) } else { None };
    let groups = if spare.is_some() { vec![(0, 1), (1, renditions)] } else { vec![(0, renditions)] };
    let passes: &[Pass] = if settings.two_pass { &[Pass::First, Pass::Second] } else { &[Pass::Only] };
    let mut made = Made { cpu_seconds: 0.0, damage: None, last: None };
    for (done, &pass) in passes.iter().enumerate() {
        let runs = groups.iter().map(|&wanted| {
            let input = encode::Input { source: &work.source, container: &work.media.container, video, entry, wanted };
            one_run(work, chunk, input, (pass, done, passes.len()))
        });
        for report in futures_util::future::try_join_all(runs).await? {
            made.cpu_seconds += report.cpu_seconds;
            made.damage = damage_in(&report, work, &chunk).or(made.damage);
            made.last = report.decoded.iter().copied().max_by(f64::total_cmp);
        }
    }
    Ok(made)
}

/// One ffmpeg over a chunk. The one with the largest rendition takes longest and tells the progress.
async fn one_run(
    work: &Work<'_>,
    chunk: Chunk,
    input: encode::Input<'_>,
    (pass, done, passes): (Pass, usize, usize),
) -> Result<ffmpeg::Report, Failure> {
    let Work { settings, plan, .. } = work;
    let arguments = encode::chunk(&input, plan, (&chunk, pass), settings, work.folder);
    let seconds = plan.grid.rate.seconds(chunk.frames);
    #[expect(clippy::cast_precision_loss, reason = "one pass or two")]
    let (done, passes) = (done as f64, passes as f64);
    let progress = |made: f64| {
        let part = (done + (made / seconds).clamp(0.0, 1.0)) / passes;
        if input.wanted.0 == 0 {
            (work.report)(What::ChunkProgress { chunk: chunk.number, part });
        }
    };
    let report = ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, progress).await;
    report.map_err(|failure| refused(failure, work, chunk.first_frame))
}

fn damage_in(report: &ffmpeg::Report, work: &Work<'_>, chunk: &Chunk) -> Option<String> {
    let plan = &work.plan;
    let timeline = &work.media.video.as_ref()?.timeline;
    if report.damaged > 0 {
        let at = clock(plan.grid.rate.seconds(chunk.first_frame));
        let first = report.errors.first().map_or(String::new(), |error| format!(" ({})", error.escape_debug()));
        return Some(format!(
            "the source is damaged: {} pictures after {at} cannot be decoded whole{first}",
            report.damaged
        ));
    }
    let (from, length) = decoded::gap(&report.decoded, timeline, &plan.grid, chunk, plan.start)?;
    let at = clock(from - plan.start);
    Some(format!("the source is damaged: {length:.1} s of picture cannot be decoded, {at} into the video"))
}

async fn encode_audio(work: &Work<'_>, track: usize) -> Result<f64, Failure> {
    let Work { settings, plan, .. } = work;
    let rendition = plan.audio.get(track).expect("parts are made from the plan");
    let arguments = encode::audio(&work.source, plan, (track, rendition), settings, work.folder);
    let number = Part::Audio(track).number(plan);
    let seconds = plan.grid.seconds();
    let progress =
        |made: f64| (work.report)(What::ChunkProgress { chunk: number, part: (made / seconds).clamp(0.0, 1.0) });
    let report = ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, progress).await;
    let report = report.map_err(|failure| refused(failure, work, 0))?;
    let source = work.media.audio.iter().find(|source| source.index == rendition.index);
    let damaged = report.damaged.saturating_sub(source.map_or(0, |source| source.empty_packets));
    if damaged > HARMLESS_SOUND {
        let what = format!("the source is damaged: {damaged} packets of {} cannot be decoded", rendition.folder);
        if !settings.accept_damaged && !fault::mutant("trust-exit-codes") {
            return Err(Failure::permanent(what).hint(ACCEPT));
        }
        (work.report)(What::Warning { message: what });
    }
    Ok(report.cpu_seconds)
}

/// Puts ffmpeg's own refusal into words.
fn refused(failure: Failure, work: &Work<'_>, first_frame: u64) -> Failure {
    if failure.class != Class::Permanent {
        return failure;
    }
    let at = clock(work.plan.grid.rate.seconds(first_frame));
    failure.context(&format!("the source cannot be encoded after {at}"))
}

/// Opens and checks what the encoder wrote.
async fn open(work: &Work<'_>, part: Part) -> Result<Vec<Rendition>, Failure> {
    let (grid, folder) = (work.plan.grid, work.folder.to_path_buf());
    let names: Vec<String> = match part {
        Part::Video(_) => work.plan.video.iter().map(|rendition| rendition.name.clone()).collect(),
        Part::Audio(track) => {
            work.plan.audio.get(track).map(|rendition| rendition.folder.clone()).into_iter().collect()
        }
    };
    blocking(move || {
        let open = |(number, name): (usize, String)| {
            let (path, cutter) = match part {
                Part::Video(chunk) => {
                    let path = encode::video_output(&folder, &chunk, number);
                    let cutter = Cutter::video(&path, &grid, &chunk)?;
                    (path, cutter)
                }
                Part::Audio(track) => {
                    let path = encode::audio_output(&folder, track);
                    let cutter = Cutter::audio(&path, &grid)?;
                    (path, cutter)
                }
            };
            Ok((name, Arc::new(cutter), path))
        };
        names.into_iter().enumerate().map(open).collect()
    })
    .await
}

/// Cuts, encrypts and stores all segments of a part, then removes the encoder's files.
async fn store(work: &Work<'_>, part: Part, files: Vec<Rendition>, rank: Rank) -> Result<journal::Chunk, Failure> {
    let codecs = files.iter().map(|(name, cutter, _)| (name.clone(), cutter.codec())).collect();
    let segments = files.iter().flat_map(|(name, cutter, _)| cutter.cuts().iter().map(move |cut| (name, cutter, cut)));
    let segments: Vec<(String, Arc<Cutter>, Cut)> =
        segments.map(|(name, cutter, cut)| (name.clone(), Arc::clone(cutter), cut.clone())).collect();
    let objects = futures_util::stream::iter(segments)
        .map(|(name, cutter, cut)| store_segment(work, name, cutter, cut, rank))
        .buffer_unordered(SEGMENTS_AT_ONCE)
        .try_collect()
        .await?;
    for (_, _, path) in &files {
        remove(path).await;
    }
    if let (Part::Video(chunk), true) = (part, work.settings.two_pass) {
        for number in 0..files.len() {
            let statistics = work.folder.join(format!("pass-{:05}-{number}-0.log", chunk.number));
            remove(&statistics).await;
            remove(&statistics.with_extension("log.mbtree")).await;
        }
    }
    Ok(journal::Chunk { codecs, objects })
}

async fn store_segment(
    work: &Work<'_>,
    folder: String,
    cutter: Arc<Cutter>,
    cut: Cut,
    rank: Rank,
) -> Result<Object, Failure> {
    let cx = work.cx;
    // Not by `cx.permit`: what is encoded when the run stops is worth storing.
    let permit = cx.lanes.upload.acquire(rank, 1).await;
    let (key_ring, name) = (work.target().key_ring.clone(), format!("{folder}/{:05}.ts", cut.segment));
    let seconds = cut.seconds;
    let (bytes, sha256) = blocking(move || {
        let plain = cutter.segment(&cut)?;
        let bytes = match key_ring {
            Some(ring) => {
                let key = ring.key(cut.segment).key;
                let key: &[u8; 16] = key.expose().try_into().expect("derived keys have 16 bytes");
                aes128::encrypt(key, &ring.iv(&folder, cut.segment), plain)
            }
            None => plain,
        };
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok((bytes, sha256))
    })
    .await?;
    let object = Object { name, bytes: bytes.len() as u64, sha256, seconds };
    cx.storage.write(&format!("{}/{}", work.target().place, object.name), bytes, SEGMENT).await?;
    drop(permit);
    fault::point("segment-stored");
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
