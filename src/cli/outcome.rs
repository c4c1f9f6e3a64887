//! How one video ended, in one plain line, and how the run ended.

use super::board::Video;
use super::bound::Shares;
use super::text::{clean, count, size, time};
use crate::engine::Summary;
use crate::model::event::What;
use crate::model::failure::Failure;

/// The line of an event that nothing follows; a failure's hint is a second one.
pub(super) fn line(video: &Video, what: &What, at: f64) -> Option<String> {
    let name = &video.name;
    Some(match what {
        What::Done { bytes, .. } => {
            let (seconds, renditions) = video.plan.as_ref().map_or((0.0, 0), |plan| (plan.seconds, plan.renditions));
            format!(
                "done  {name}  {} of video in {}  {}  {}",
                time(seconds),
                time(at - video.since),
                count(renditions, "rendition"),
                size(*bytes)
            )
        }
        What::Would { what } => format!("would {name}  {}", clean(what)),
        What::AlreadyDone { .. } => format!("kept  {name}  published by an earlier run"),
        What::Failed { failure } => self::failed(name, failure),
        What::Parked if name.is_empty() => return None,
        What::Parked => format!("park  {name}  goes on with the next run"),
        _ => return None,
    })
}

/// `FAIL id: what`, and the hint below.
pub(super) fn failed(name: &str, failure: &Failure) -> String {
    let hint = failure.hint.as_ref().map(|hint| format!("\n      hint: {}", clean(hint)));
    format!("FAIL  {}: {}{}", clean(name), clean(&failure.what), hint.unwrap_or_default())
}

/// The end of a run: what became of the videos, what bounded it, what to do next.
pub(super) fn summary(summary: &Summary, bad_lines: u64) -> String {
    let mut parts = vec![format!("{} done", summary.done)];
    let mut add = |number: u64, words: &str| {
        if number > 0 {
            parts.push(format!("{number} {words}"));
        }
    };
    add(summary.already, "already done");
    add(summary.would, "would be made");
    add(summary.failed, "failed");
    add(bad_lines, if bad_lines == 1 { "bad line" } else { "bad lines" });
    add(summary.parked, "put aside");
    let mut first = format!("{} in {}", parts.join(", "), time(summary.seconds));
    let mut lines = Vec::new();
    if summary.source_seconds > 0.0 && summary.seconds > 0.0 {
        let speed = summary.source_seconds / summary.seconds;
        first = format!("{first}; {} of video, {speed:.1}x its own speed", time(summary.source_seconds));
        let (bound, faster) = Shares::of_run(&summary.usage).sentences();
        lines.extend([bound, faster]);
    }
    if summary.parked > 0 {
        lines.push("Run the same command to go on.".into());
    }
    lines.insert(0, first);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{LaneUse, Usage};

    #[test]
    fn the_end_names_what_bounded_the_run_with_the_numbers() {
        let cpu = LaneUse { capacity: 2, busy_seconds: 96.0, ..LaneUse::default() };
        let network = LaneUse { capacity: 4, busy_seconds: 30.0, active_seconds: 19.5, ..LaneUse::default() };
        let usage = Usage { at: 50.0, cpu, network, ..Usage::default() };
        let run = Summary {
            done: 7,
            already: 1,
            would: 0,
            failed: 1,
            environment: 0,
            parked: 2,
            stopped: false,
            seconds: 50.0,
            source_seconds: 300.0,
            usage,
        };
        let expected = "\
            7 done, 1 already done, 1 failed, 2 bad lines, 2 put aside in 50 s; 5m 00s of video, 6.0x its own speed\n\
            The CPU bounded this run: the cores were 96 % busy, the network was idle 61 % of the time.\n\
            More cores would make it faster; so would `--profile fast`, at more bits.\n\
            Run the same command to go on.";
        assert_eq!(summary(&run, 2), expected);
    }

    #[test]
    fn a_failure_is_one_clean_line_and_its_hint() {
        let failure = Failure::permanent("the server said\n404").hint("check the URL");
        assert_eq!(
            failed("a\u{1b}b", &failure),
            "FAIL  a\u{fffd}b: the server said\u{fffd}404\n      hint: check the URL"
        );
    }
}
