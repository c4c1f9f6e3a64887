//! Finds the constant rate factor of every rendition that has the quality
//! which was asked for, by encoding a few seconds of the film and measuring.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::model::media::Media;
use crate::pipeline::lane::Lane;
use crate::plan::encode::{self, Entry, Input, Pass};
use crate::plan::hls::HlsPlan;
use crate::plan::piece::Piece;
use crate::plan::quality::{Quality, Search, samples};
use crate::plan::settings::{HlsSettings, Profile};
use crate::scratch::file::{self, Privacy};
use crate::tool::ffmpeg;

use super::{Report, blocking};

/// What a search works with.
pub struct Bench<'a> {
    /// The encoder.
    pub ffmpeg: &'a Path,
    /// The lane of the cores, and the place in it.
    pub cpu: (&'a Lane<Rank>, Rank),
    /// Ends the search.
    pub cancel: &'a CancellationToken,
    /// A folder for the samples.
    pub folder: &'a Path,
    /// The film.
    pub source: &'a Path,
    /// What the film holds.
    pub media: &'a Media,
    /// What the user asked for.
    pub settings: &'a HlsSettings,
    /// Who hears of it.
    pub report: Report<'a>,
}

/// What was found, by the renditions' names, for a run that goes on after a kill.
type Found = BTreeMap<String, f64>;

/// Sets the factors of `plan` as an earlier run found them for the generation, or finds them and notes them.
pub async fn choose_once(bench: &Bench<'_>, generation: &str, plan: &mut HlsPlan) -> Result<(), Failure> {
    if bench.settings.quality.is_none() {
        return Ok(());
    }
    let note = bench.folder.join(format!("quality-{generation}.json"));
    let read = tokio::fs::read(&note).await.ok();
    if let Some(found) = read.and_then(|bytes| serde_json::from_slice::<(Found, Vec<String>)>(&bytes).ok()) {
        for rendition in &mut plan.video {
            rendition.crf = found.0.get(&rendition.name).copied().unwrap_or(rendition.crf);
        }
        plan.warnings.extend(found.1);
        return Ok(());
    }
    let before = plan.warnings.len();
    choose(bench, plan).await?;
    let found: Found = plan.video.iter().map(|one| (one.name.clone(), one.crf)).collect();
    let said = plan.warnings.get(before..).unwrap_or_default();
    let json = serde_json::to_vec(&(found, said)).map_err(|error| Failure::environment(error.to_string()))?;
    blocking(move || {
        let written = file::write(&note, &json, Privacy::Private);
        written.map_err(|error| Failure::io(&format!("could not write `{}`", note.display()), &error))
    })
    .await
}

/// Sets the factors of `plan` to those that give the wanted quality, if one is wanted.
///
/// All renditions are searched for at once: each round encodes every sample once.
pub async fn choose(bench: &Bench<'_>, plan: &mut HlsPlan) -> Result<(), Failure> {
    let (Some(quality), Some(_)) = (bench.settings.quality, &bench.media.video) else { return Ok(()) };
    let (shift, first) = (bench.settings.profile.crf_shift, plan.first_encoded());
    let search = |(number, crf, codec)| (number >= first).then(|| Search::new(quality, codec, crf + shift));
    let renditions = plan.video.iter().enumerate().map(|(number, one)| (number, one.crf, one.codec));
    let mut searches: Vec<Option<Search>> = renditions.map(search).collect();
    let samples = samples(&plan.grid);
    for round in 1.. {
        let next = |search: &Option<Search>| search.as_ref().and_then(Search::next);
        let tries: BTreeMap<usize, u32> =
            searches.iter().enumerate().filter_map(|(number, search)| Some((number, next(search)?))).collect();
        if tries.is_empty() {
            break;
        }
        let wanted: Vec<usize> = tries.keys().copied().collect();
        set(plan, tries.iter().map(|(number, crf)| (*number, f64::from(*crf) - shift)));
        let (made, of) = (AtomicU64::new(0), samples.len() as u64);
        let tell = |found: String| {
            let done = made.load(Ordering::Relaxed);
            (bench.report)(What::Searching { round, done, samples: of, found: found.into() });
        };
        tell(String::new());
        let (plan_now, wanted, tell_all) = (&*plan, &wanted, &tell);
        let trials = samples.iter().map(async |sample| {
            let scores = trial(bench, plan_now, (quality, sample), wanted).await?;
            // The last one tells what was found as well.
            if made.fetch_add(1, Ordering::Relaxed) + 1 < of {
                tell_all(String::new());
            }
            Ok::<_, Failure>(scores)
        });
        let trials = futures_util::future::try_join_all(trials).await?;
        let mut found = Vec::new();
        for (number, crf) in tries {
            let scores: Vec<f64> = trials.iter().filter_map(|scores| scores.get(&number).copied()).collect();
            #[expect(clippy::cast_precision_loss, reason = "a few samples")]
            let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
            let search = searches.get_mut(number).and_then(Option::as_mut);
            if let Some(rendition) = plan.video.get(number) {
                found.push(format!("{} CRF {crf} {}={mean:.4}", rendition.name, quality.metric.name()));
            }
            // The last digits are the machine's; what is chosen is not to depend on them.
            search.expect("what is tried is searched for").note(crf, (mean * 1e5).round() / 1e5);
        }
        tell(found.join(", "));
    }
    conclude(plan, &searches, quality, &bench.settings.profile);
    Ok(())
}

fn set(plan: &mut HlsPlan, factors: impl Iterator<Item = (usize, f64)>) {
    for (number, crf) in factors {
        if let Some(rendition) = plan.video.get_mut(number) {
            rendition.crf = crf;
        }
    }
}

fn conclude(plan: &mut HlsPlan, searches: &[Option<Search>], quality: Quality, profile: &Profile) {
    let (name, shift, rate) = (quality.metric.name(), profile.crf_shift, profile.rate);
    for (rendition, search) in plan.video.iter_mut().zip(searches) {
        let Some(choice) = search.as_ref().and_then(Search::choice) else { continue };
        rendition.crf = f64::from(choice.crf) - shift;
        if !choice.reached {
            let (target, most) = (quality.target, f64::from(rendition.max_kbps) * rate);
            let what = format!("{} reaches {name}={:.4}, not {target}", rendition.name, choice.score);
            plan.warnings.push(format!("{what}: at most {most:.0} kb/s allow no more"));
        }
    }
}

/// Encodes one sample and measures it; gives the scores by the renditions' numbers.
async fn trial(
    bench: &Bench<'_>,
    plan: &HlsPlan,
    (quality, sample): (Quality, &Piece),
    wanted: &[usize],
) -> Result<BTreeMap<usize, f64>, Failure> {
    let video = bench.media.video.as_ref().expect("only a picture is searched for");
    let (source, container) = (bench.source, bench.media.container.as_str());
    let entry = Entry::KeyFrame;
    let input = Input { source, container, video, entry, wanted };
    let folder = bench.folder.join(format!("sample-{}", sample.number));
    tokio::fs::create_dir_all(&folder).await.map_err(|error| Failure::io("could not make a folder", &error))?;
    let _permit = bench.cpu.0.acquire(bench.cpu.1, 1).await;
    let arguments = encode::piece(&input, plan, (sample, Pass::Only), bench.settings, &folder);
    ffmpeg::encode(bench.ffmpeg, &arguments, bench.cancel, |_| ()).await?;
    let arguments = encode::measure(&input, plan, (sample, quality.metric), bench.settings, &folder);
    let report = ffmpeg::encode(bench.ffmpeg, &arguments, bench.cancel, |_| ()).await?;
    tokio::fs::remove_dir_all(&folder).await.map_err(|error| Failure::io("could not remove a sample", &error))?;
    let scores: BTreeMap<usize, f64> = report.scores.into_iter().collect();
    if wanted.iter().all(|number| scores.contains_key(number)) {
        return Ok(scores);
    }
    Err(Failure::environment("ffmpeg measured no quality").hint("run `forebay doctor`"))
}
