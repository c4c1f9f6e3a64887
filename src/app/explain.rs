//! `forebay plan` in words: what would be made of an input, and why.

use std::path::Path;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::job;
use crate::job::quality::Bench;
use crate::job::{done, reuse};
use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::{Item, Locator};
use crate::model::media::{DynamicRange, Media, Place, Video};
use crate::plan::chapter;
use crate::plan::copy::{self, Top};
use crate::plan::generation::Origin;
use crate::plan::hls::{HlsPlan, clock};
use crate::plan::ladder::{Rendition, fits, tallest, upright_size};
use crate::plan::settings::{HlsSettings, Rung};
use crate::plan::subtitle::SubtitleRendition;
use crate::scratch::file::Privacy;
use crate::source::beside;
use crate::source::{FetchContext, Fetched, Sources};
use crate::tool::find;

/// CPU seconds that a million pixels of output cost at `veryfast`, from
/// `bench/RESULTS.md`; other presets by their usual ratio. Only for the forecast.
const CPU_SECONDS_PER_MEGAPIXEL: f64 = 0.022;

/// What MPEG-TS adds to what it carries, and a first buffer that may be filled at once.
const PACKAGING: f64 = 1.08;

/// Says in lines for people what would be made of `item`, and what a package that is published at `to`
/// has of it. A remote input is fetched into a temporary folder first: nothing less tells what it holds.
pub async fn explain(config: &Config, item: &Item, to: Option<&str>) -> Result<Vec<String>, Failure> {
    let settings = config.hls_settings(item.ladder.as_deref(), None)?;
    let tools = find::ffmpeg(&config.tools.ffmpeg, &config.tools.ffprobe).await?;
    if let Some(quality) = settings.quality {
        find::metric(&tools.ffmpeg, quality.metric).await?;
    }
    let cancel = CancellationToken::new();
    let folder = std::env::temp_dir().join(format!("forebay-plan-{}", std::process::id()));
    let (path, came, with) = match &item.locator {
        Locator::File(path) if to.is_none() => (path.clone(), None, None),
        _ => {
            let (id, fetched) = fetch(config, item, &folder, &cancel).await?;
            (fetched.path, Some((id, fetched.sha256)), fetched.beside)
        }
    };
    let planned = async {
        let (path, mut media) = job::probe::probe((&path, &folder), &tools, &settings.limits, &cancel).await?;
        let found = match with {
            Some(with) => Some(with),
            None => beside::find(item, &settings.subtitles).await,
        };
        found.unwrap_or_default().join(&mut media);
        let (mut plan, _) = job::copy::decide(&media, &path, &settings).await?;
        let (cpu, samples) = (super::lanes(config).cpu, folder.join("samples"));
        let bench = Bench {
            ffmpeg: &tools.ffmpeg,
            cpu: (&cpu, item.rank()),
            cancel: &cancel,
            folder: &samples,
            source: &path,
            media: &media,
            settings: &settings,
            report: &|_: What| (),
        };
        job::quality::choose(&bench, &mut plan).await?;
        let mut kept = Vec::new();
        if let (Some(to), Some((id, sha256))) = (to, &came) {
            let published = done::manifest(id, &config.stores.open(to, Privacy::Public)?).await?;
            if let Some(earlier) = published.filter(|earlier| earlier.source.sha256 == *sha256) {
                let origin =
                    Origin { source: sha256, beside: None, ffmpeg: &tools.version, extras: &[], lineage: None };
                kept = reuse::adopt(&mut plan, &earlier.recipes, origin, &settings);
            }
        }
        Ok::<_, Failure>((media, plan, kept))
    };
    let planned = planned.await;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap_or_default();
    }
    let (media, plan, kept) = planned?;
    Ok(lines(&item.locator.shown(), &media, (&plan, &kept), &settings))
}

async fn fetch(
    config: &Config,
    item: &Item,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<(String, Fetched), Failure> {
    let lanes = super::lanes(config);
    let sources = Sources::new(super::source_settings(config), config.stores.clone())?;
    let silent = |_: What| {};
    let settings = config.hls_settings(item.ladder.as_deref(), None)?;
    let context = FetchContext {
        rank: item.rank(),
        network: &lanes.network,
        disk: &lanes.disk,
        room: &lanes.room,
        tallest: tallest(&settings.rungs),
        subtitles: &settings.subtitles,
        cancel,
        report: &silent,
        arrival: &watch::Sender::new(None),
    };
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::io(&format!("could not make `{}`", folder.display()), &error))?;
    let identity = sources.identify(item, &context).await?;
    let fetched = sources.fetch(item, &identity, folder, &context).await?;
    Ok((identity.id, fetched))
}

fn cuts(plan: &HlsPlan) -> String {
    let grid = &plan.grid;
    let (length, segments) = (clock(grid.seconds()), grid.segments());
    let seconds = grid.rate.seconds(grid.longest_segment());
    if plan.video.is_empty() {
        return format!("  grid       {length} of sound alone: {segments} segments of at most {seconds:.3} s");
    }
    format!(
        "  grid       {length} at {:.3} frames a second: {segments} segments of at most {seconds:.3} s, encoded as {} chunks",
        grid.rate.as_f64(),
        grid.chunks()
    )
}

fn lines(input: &str, media: &Media, (plan, kept): (&HlsPlan, &[String]), settings: &HlsSettings) -> Vec<String> {
    let mut lines = vec![input.to_string()];
    if let Some(video) = &media.video {
        lines.push(format!("  source     {}", picture(video, media)));
        lines.extend(treatment(video, plan).iter().map(|line| format!("  picture    {line}")));
        lines.extend(settings.rungs.iter().filter(|rung| !fits(video, rung)).map(|rung| left_out(video, rung)));
    }
    let grid = &plan.grid;
    lines.push(cuts(plan));
    let mut kbps = 0.0;
    let mut megapixels = 0.0;
    if let (Top::Encoded { because }, Some(largest)) = (&plan.top, plan.video.first()) {
        lines.push(format!("  not copied {:<9} {because}", largest.name));
    }
    for (number, one) in plan.video.iter().enumerate() {
        if kept.contains(&one.name) {
            lines.push(format!("  keep       {:<9} {}x{}, as it is published", one.name, one.width, one.height));
            kbps += f64::from(one.max_kbps) * settings.profile.rate;
            continue;
        }
        if number < plan.first_encoded() {
            lines.push(format!("  copy       {:<9} {}x{}, the source's own packets", one.name, one.width, one.height));
            kbps += media.video.as_ref().map_or(0.0, copy::kbps);
            continue;
        }
        let quality = quality(one, settings);
        let most = f64::from(one.max_kbps) * settings.profile.rate;
        let range = if one.range == DynamicRange::Sdr { "" } else { " HDR" };
        lines.push(format!(
            "  encode     {:<9} {}x{}, {} {} {quality}, at most {most:.0} kb/s",
            one.name,
            one.width,
            one.height,
            one.codec.encoder().trim_start_matches("lib").to_owned() + range,
            settings.profile.preset
        ));
        kbps += most;
        megapixels += f64::from(one.width * one.height) * grid.rate.as_f64() / 1e6;
    }
    let loudness = settings.loudness.map_or(String::new(), |loudness| format!(", brought to {loudness} LUFS"));
    for track in &plan.audio {
        kbps += f64::from(settings.audio_kbps);
        if kept.contains(&track.folder) {
            lines.push(format!("  keep       {:<9} as it is published", track.folder));
            continue;
        }
        lines.push(format!("  encode     {:<9} stereo AAC at {} kb/s{loudness}", track.folder, settings.audio_kbps));
    }
    lines.extend(plan.subtitles.iter().map(words));
    let chapters = chapter::chapters(&media.chapters, plan.start, grid.seconds()).len();
    lines.extend((chapters > 0).then(|| format!("  chapters   {chapters}, in a track of WebVTT and in Apple's list")));
    let bytes = kbps * 125.0 * grid.seconds() * PACKAGING;
    lines
        .push(format!("  result     about {:.1} MB at the destination, less where the picture is simple", bytes / 1e6));
    let cpu_seconds = megapixels * CPU_SECONDS_PER_MEGAPIXEL * preset_cost(&settings.profile.preset) * grid.seconds();
    lines.push(format!("  work       about {cpu_seconds:.0} CPU seconds, roughly, on a machine of 2024"));
    lines.extend(plan.warnings.iter().map(|warning| format!("  note       {warning}")));
    lines
}

/// What decides on the bits of a rendition.
fn quality(one: &Rendition, settings: &HlsSettings) -> String {
    if settings.two_pass {
        return "two passes".into();
    }
    let found = settings.quality.map(|quality| format!(" for {}={}", quality.metric.name(), quality.target));
    format!("CRF {:.1}{}", one.crf + settings.profile.crf_shift, found.unwrap_or_default())
}

fn picture(video: &Video, media: &Media) -> String {
    let (width, height) = upright_size(video);
    let sound = match media.audio.len() {
        0 => "no sound".into(),
        1 => "1 track of sound".into(),
        count => format!("{count} tracks of sound"),
    };
    format!("{} {width:.0}x{height:.0}, {}, {sound}", video.codec, video.pixel_format)
}

fn words(track: &SubtitleRendition) -> String {
    let from = if matches!(track.place, Place::Beside(_)) { "a file beside the source" } else { "the source" };
    let forced = if track.forced { ", forced" } else { "" };
    format!("  subtitles  {:<9} WebVTT, of {from}{forced}", track.folder)
}

/// What is done to the picture before it is encoded, and why.
fn treatment(video: &Video, plan: &HlsPlan) -> Vec<String> {
    let mut lines = Vec::new();
    if video.rotation != 0 || video.mirrored {
        lines.push(format!("turned by {} degrees, as the camera was held", video.rotation));
    }
    if video.interlaced {
        lines.push("deinterlaced: the source has two fields a frame".into());
    }
    if video.pixel_aspect.num() != video.pixel_aspect.den() {
        lines.push(format!("pixels made square: they are {} wide for their height", video.pixel_aspect));
    }
    if video.dynamic_range() != DynamicRange::Sdr {
        let hdr = plan.video.iter().any(|one| one.range != DynamicRange::Sdr);
        let kept = if hdr {
            "HDR is kept where it says so, and tone-mapped elsewhere"
        } else {
            "tone-mapped: the source is HDR, the renditions are SDR"
        };
        lines.push(kept.into());
    }
    let rate = plan.grid.rate.as_f64();
    if video.average_rate.is_some_and(|average| (average.as_f64() / rate - 1.0).abs() > 0.02) {
        lines.push(format!("put on a constant grid of {rate:.3} frames a second"));
    }
    lines
}

fn left_out(video: &Video, rung: &Rung) -> String {
    let (width, height) = upright_size(video);
    format!("  left out   {:<9} the source is only {width:.0}x{height:.0}, and nothing is blown up", rung.name)
}

/// CPU time of a preset against `veryfast`.
fn preset_cost(preset: &str) -> f64 {
    match preset {
        "ultrafast" | "superfast" => 0.6,
        "faster" => 1.5,
        "fast" => 1.8,
        "medium" => 2.1,
        "slow" | "slower" | "veryslow" | "placebo" => 4.0,
        _ => 1.0,
    }
}
