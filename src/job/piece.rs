//! The pieces of a chunk: each is encoded by one ffmpeg as soon as its bytes
//! and a core are there, and what came of it is compared with the packets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::item::Rank;
use crate::model::media::{Media, Video};
use crate::pipeline::lane::Permit;
use crate::plan::decoded;
use crate::plan::encode::{self, Entry, Pass};
use crate::plan::filter;
use crate::plan::hls::clock;
use crate::plan::piece::Piece;
use crate::tool::ffmpeg;

use super::chunk::{ACCEPT, refused};
use super::work::Work;

/// What all pieces of a chunk share while they are encoded.
struct Effort<'a> {
    work: &'a Work<'a>,
    pieces: &'a [Piece],
    /// The numbers of the renditions that are encoded.
    wanted: Vec<usize>,
    rank: Rank,
    begun: AtomicBool,
    /// Frames made of each piece.
    made: Mutex<Vec<f64>>,
}

/// Encodes all pieces of a chunk, several at once. Gives the CPU seconds it took.
///
/// Of the renditions, all but the `missing` ones are there already.
pub async fn encode_all(work: &Work<'_>, (pieces, missing): (&[Piece], &[usize]), rank: Rank) -> Result<f64, Failure> {
    let wanted: Vec<usize> = missing.iter().copied().filter(|number| *number >= work.plan.first_encoded()).collect();
    if wanted.is_empty() && missing.len() < work.plan.video.len() {
        // What is there was encoded of the same pictures: they are not damaged.
        return Ok(0.0);
    }
    let made = Mutex::new(vec![0.0; pieces.len()]);
    let effort = Effort { work, pieces, wanted, rank, begun: AtomicBool::new(false), made };
    let all = pieces.iter().map(|piece| effort.piece(piece));
    Ok(futures_util::future::try_join_all(all).await?.into_iter().sum())
}

impl Effort<'_> {
    /// Encodes one piece when all of it is here and a core is free.
    async fn piece(&self, piece: &Piece) -> Result<f64, Failure> {
        let Work { media, target, .. } = self.work;
        let early = tokio::select! {
            biased;
            () = std::future::ready(()), if self.work.rest.is_some() => true,
            _ = target.wait() => false,
            () = self.work.has_arrived(Some(piece)) => true,
        };
        let mut cpu_seconds = 0.0;
        if early {
            let permit = self.permit(piece).await?;
            let made = self.passes(picture(media), piece, Entry::KeyFrame).await?;
            if made.damage.is_none() {
                return Ok(made.cpu_seconds);
            }
            // A decoder that read on may have come to where nothing is yet.
            drop(permit);
            cpu_seconds = made.cpu_seconds;
            match self.work.rest {
                Some(rest) => rest.fetch().await?,
                None => drop(target.wait().await),
            }
        }
        let _permit = self.permit(piece).await?;
        Ok(cpu_seconds + self.encode(piece).await?)
    }

    /// Waits for a core.
    async fn permit(&self, piece: &Piece) -> Result<Permit<Rank>, Failure> {
        let cx = self.work.cx;
        // A chunk that is begun is finished, also when the run is to stop.
        let permit = if self.begun.load(Ordering::Relaxed) {
            cx.lanes.cpu.acquire(self.rank, 1).await
        } else {
            cx.permit(&cx.lanes.cpu, self.rank, 1).await?
        };
        cx.served(self.rank);
        if !self.begun.swap(true, Ordering::Relaxed) {
            (self.work.report)(What::ChunkStarted { chunk: piece.chunk });
        }
        fault::point("chunk-started");
        Ok(permit)
    }

    /// Encodes a piece, from the key frame before it; where that shows a gap, which
    /// may be no more than a seek that went astray, once more from the head of the file.
    async fn encode(&self, piece: &Piece) -> Result<f64, Failure> {
        let work = self.work;
        let video = picture(&work.media);
        let mut made = self.passes(video, piece, Entry::KeyFrame).await?;
        let mut cpu_seconds = made.cpu_seconds;
        if made.damage.is_some() && piece.first_frame > 0 {
            made = self.passes(video, piece, Entry::Head).await?;
            cpu_seconds += made.cpu_seconds;
        }
        let Some(what) = made.damage.filter(|_| !fault::mutant("trust-exit-codes")) else { return Ok(cpu_seconds) };
        if !work.settings.accept_damaged {
            return Err(Failure::permanent(what).hint(ACCEPT));
        }
        (work.report)(What::Warning { message: what });
        let begin = work.plan.start + work.plan.grid.rate.seconds(piece.first_frame);
        if let Some(last) = made.last.filter(|last| *last < begin) {
            // Nothing of this piece is left: it shows the last picture that is. ffmpeg prints its time in six digits.
            let mut shorter = video.clone();
            shorter.timeline.times.retain(|time| *time < last - 0.01 - last * 1e-5);
            cpu_seconds += self.passes(&shorter, piece, Entry::Head).await?.cpu_seconds;
        }
        Ok(cpu_seconds)
    }

    /// All passes over a piece, and all once more if pictures of another shape turn up: they get black bars.
    async fn passes(&self, video: &Video, piece: &Piece, entry: Entry) -> Result<Made, Failure> {
        let made = self.all_passes(video, piece, entry).await?;
        if !made.changes_shape || self.wanted.is_empty() {
            return Ok(made);
        }
        let again = self.all_passes(&Video { changes_shape: true, ..video.clone() }, piece, entry).await?;
        Ok(Made { cpu_seconds: made.cpu_seconds + again.cpu_seconds, ..again })
    }

    /// All passes over a piece. Its renditions are made by one ffmpeg from one decode; only in the
    /// first and the last chunk of an item they are shared out to a second core that nobody else
    /// wants. The bytes are the same: what a rendition is made of does not depend on the others.
    async fn all_passes(&self, video: &Video, piece: &Piece, entry: Entry) -> Result<Made, Failure> {
        let Work { settings, plan, cx, source, media, .. } = self.work;
        let wanted = self.wanted.as_slice();
        let is_edge = piece.chunk == 0 || piece.chunk + 1 == plan.grid.chunks();
        let spare = if is_edge && wanted.len() > 1 { cx.lanes.cpu.try_acquire(1) } else { None };
        let (groups, passes): (Vec<&[usize]>, &[Pass]) = match (wanted.split_at_checked(1), settings.two_pass) {
            // Where all is copied, the source is decoded all the same: it may be damaged.
            (None, _) => (vec![&[0]], &[Pass::Look]),
            (Some((largest, others)), false) if spare.is_some() => (vec![largest, others], &[Pass::Only]),
            (Some((largest, others)), true) if spare.is_some() => (vec![largest, others], &[Pass::First, Pass::Second]),
            (Some(_), false) => (vec![wanted], &[Pass::Only]),
            (Some(_), true) => (vec![wanted], &[Pass::First, Pass::Second]),
        };
        let mut made = Made { cpu_seconds: 0.0, damage: None, last: None, changes_shape: false };
        let differs = |shape: &f64| (shape / video.shape() - 1.0).abs() > filter::SAME_SHAPE;
        for (done, &pass) in passes.iter().enumerate() {
            let runs = groups.iter().map(|&wanted| {
                let input = encode::Input { source, container: &media.container, video, entry, wanted };
                self.one_run(piece, input, (pass, done, passes.len()))
            });
            for report in futures_util::future::try_join_all(runs).await? {
                made.cpu_seconds += report.cpu_seconds;
                made.changes_shape |= report.shapes.iter().any(differs);
                made.damage = self.damage_in(&report, piece).or(made.damage);
                made.last = report.decoded.iter().copied().max_by(f64::total_cmp);
            }
        }
        Ok(made)
    }

    /// One ffmpeg over a piece. The one with the largest rendition takes longest and tells the progress.
    async fn one_run(
        &self,
        piece: &Piece,
        input: encode::Input<'_>,
        (pass, done, passes): (Pass, usize, usize),
    ) -> Result<ffmpeg::Report, Failure> {
        let Work { settings, plan, cx, folder, .. } = self.work;
        let arguments = encode::piece(&input, plan, (piece, pass), settings, folder);
        let seconds = plan.grid.rate.seconds(piece.frames);
        #[expect(clippy::cast_precision_loss, reason = "one pass or two")]
        let (done, passes) = (done as f64, passes as f64);
        let progress = |made: f64| {
            if self.wanted.is_empty() || input.wanted.first() == self.wanted.first() {
                self.progress(piece, (done + (made / seconds).clamp(0.0, 1.0)) / passes);
            }
        };
        let report = ffmpeg::encode(&cx.ffmpeg.ffmpeg, &arguments, &cx.cancel, progress).await;
        report.map_err(|failure| refused(failure, self.work, piece.first_frame))
    }

    /// Tells how much of the chunk is made, when `part` of a piece is.
    #[expect(clippy::cast_precision_loss, reason = "frames of a chunk")]
    fn progress(&self, piece: &Piece, part: f64) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_piece) = made.get_mut(piece.number) {
            *of_piece = part * piece.frames as f64;
        }
        let frames: u64 = self.pieces.iter().map(|piece| piece.frames).sum();
        let part = made.iter().sum::<f64>() / frames.max(1) as f64;
        (self.work.report)(What::ChunkProgress { chunk: piece.chunk, part });
    }

    fn damage_in(&self, report: &ffmpeg::Report, piece: &Piece) -> Option<String> {
        let plan = &self.work.plan;
        let timeline = &self.work.media.video.as_ref()?.timeline;
        if report.damaged > 0 {
            let at = clock(plan.grid.rate.seconds(piece.first_frame));
            let first = report.errors.first().map_or(String::new(), |error| format!(" ({})", error.escape_debug()));
            return Some(format!(
                "the source is damaged: {} pictures after {at} cannot be decoded whole{first}",
                report.damaged
            ));
        }
        let (from, length) = decoded::gap(&report.decoded, timeline, &plan.grid, piece, plan.start)?;
        let at = clock(from - plan.start);
        Some(format!("the source is damaged: {length:.1} s of picture cannot be decoded, {at} into the video"))
    }
}

fn picture(media: &Media) -> &Video {
    media.video.as_ref().expect("a plan is made only of what has a picture")
}

/// What came of all passes over a piece.
struct Made {
    cpu_seconds: f64,
    damage: Option<String>,
    /// Time of the last picture that could be decoded.
    last: Option<f64>,
    /// Whether a decoded picture has another shape than the plan says.
    changes_shape: bool,
}
