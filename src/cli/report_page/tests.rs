//! A page about a made-up run: what it says, and that nothing hostile gets in.

use super::*;
use crate::model::event::{Event, LaneUse, Usage, What};
use crate::model::failure::Failure;

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn between(&mut self, least: f64, most: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (most - least) * as_f64(self.0 >> 40) / as_f64(1 << 24)
    }
}

fn planned(seconds: f64) -> What {
    let summary = "1080p 720p 360p + audio".into();
    What::Planned { seconds, chunks: 3, resumed: 0, renditions: 3, objects: 20, summary }
}

/// A run of `items` in which two connections and two cores work through a list.
fn run(items: u64) -> (Report, Summary) {
    let (mut report, mut dice) = (Report::default(), Dice(7));
    let mut events = Vec::new();
    let (mut network, mut cores) = ([0.0_f64; 2], [0.0_f64; 2]);
    let (mut downloads, mut encodes) = (Vec::new(), Vec::new());
    for item in 0..items {
        let mut add = |at: f64, what| events.push(Event { at, item, what });
        let link = usize::from(network[1] < network[0]);
        let (from, bytes) = (network[link], dice.between(8e6, 3e7));
        let to = from + bytes / 9e6;
        network[link] = to;
        downloads.push((from, to, bytes));
        add(from, What::Started { input: "https://host/a.mp4".into() });
        let title = (item == 2).then(|| "<script>alert('hi')</script> & \"more\" \u{202e}".into());
        add(from, What::Named { id: format!("clip-{item:02}-3fa9").into(), title });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
        let whole = bytes as u64;
        add(from, What::Downloading { bytes: 0, total: Some(whole) });
        if item == 5 {
            add(from + 0.8, What::Failed { failure: Failure::permanent("`a.mp4` ends before its index says") });
            continue;
        }
        add(to, What::Downloaded { bytes: whole });
        add(to, planned(bytes / 8e5));
        let mut end = to;
        for chunk in 0..3 {
            let core = usize::from(cores[1] < cores[0]);
            let begin = cores[core].max(to);
            let busy = dice.between(1.2, 2.4);
            cores[core] = begin + busy;
            encodes.push((begin, begin + busy));
            add(begin, What::ChunkStarted { chunk });
            add(begin + busy, What::ChunkEncoded { chunk, cpu_seconds: busy });
            add(begin + busy + 0.2, What::Uploading { objects: 3 * chunk, bytes: 1_000_000 * chunk });
            end = end.max(begin + busy);
        }
        add(end + 0.5, What::Done { master: "m".into(), objects: 12, bytes: 3_000_000 });
    }
    let end = events.iter().map(|event| event.at).fold(0.0, f64::max);
    events.sort_by(|one, other| one.at.total_cmp(&other.at));
    fill(&mut report, &events);
    let mut usage = Usage::default();
    // Four samples a second, but no more than a test has time for.
    let mut at = 0.0;
    while at < end {
        at += f64::max(0.25, end / 300.0);
        usage = sample(at, &downloads, &encodes);
        report.tick(&usage);
    }
    let summary = Summary {
        done: items - 1,
        already: 0,
        would: 0,
        failed: 1,
        environment: 0,
        parked: 0,
        stopped: false,
        seconds: end,
        source_seconds: downloads.iter().map(|(_, _, bytes)| bytes / 8e5).sum(),
        usage,
    };
    (report, summary)
}

fn fill(report: &mut Report, events: &[Event]) {
    for event in events {
        report.event(event);
    }
}

fn sample(at: f64, downloads: &[(f64, f64, f64)], encodes: &[(f64, f64)]) -> Usage {
    let busy = |spans: &[(f64, f64)]| -> f64 { spans.iter().map(|(from, to)| (at.min(*to) - from).max(0.0)).sum() };
    let spans: Vec<(f64, f64)> = downloads.iter().map(|(from, to, _)| (*from, *to)).collect();
    let bytes: f64 =
        downloads.iter().map(|(from, to, bytes)| bytes * ((at - from) / (to - from)).clamp(0.0, 1.0)).sum();
    let last = spans.iter().map(|span| span.1).fold(0.0, f64::max);
    let lane = |capacity, busy_seconds, active_seconds| LaneUse {
        capacity,
        busy_seconds,
        active_seconds,
        ..LaneUse::default()
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
    let downloaded_bytes = bytes as u64;
    Usage {
        at,
        network: lane(2, busy(&spans), at.min(last)),
        cpu: lane(2, busy(encodes), busy(encodes)),
        upload: lane(4, at / 9.0, at / 8.0),
        downloaded_bytes,
        ..Usage::default()
    }
}

#[test]
fn a_page_explains_the_run_and_lets_nothing_hostile_in() {
    let (report, summary) = run(14);
    let page = page(&report, &summary, "/srv/<video>");
    if let Ok(file) = std::env::var("REPORT_PAGE") {
        std::io::Write::write_all(&mut std::fs::File::create(file).unwrap(), page.as_bytes()).unwrap();
    }
    for expected in
        ["The CPU bounded this run", "/srv/&lt;video&gt;", "ends before its index says", "13 done, 1 failed"]
    {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(page.contains("&lt;script&gt;alert(&#39;hi&#39;)&lt;/script&gt; &amp; &quot;more&quot;"));
    assert!(!page.contains("<script") && !page.contains('\u{202e}'));
    assert_eq!(page.matches(r#"class="row""#).count(), 14);
    for tag in ["div", "section", "svg", "g", "table", "tr", "span", "p"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_long_list_gives_a_page_of_bounded_size() {
    let (report, summary) = run(3000);
    let page = page(&report, &summary, "out");
    if let Ok(file) = std::env::var("REPORT_PAGE") {
        std::io::Write::write_all(&mut std::fs::File::create(file + ".long.html").unwrap(), page.as_bytes()).unwrap();
    }
    assert!(page.contains("Of 3000 videos, the 300 slowest are drawn."));
    assert!(page.contains("Of 3000 videos, failures and the slowest are listed."));
    assert!(page.len() < 1_500_000, "{}", page.len());
}

#[test]
fn a_run_in_which_nothing_happened_has_a_page() {
    let summary = Summary {
        done: 0,
        already: 0,
        would: 0,
        failed: 0,
        environment: 0,
        parked: 0,
        stopped: false,
        seconds: 0.0,
        source_seconds: 0.0,
        usage: Usage::default(),
    };
    let page = page(&Report::default(), &summary, "out");
    assert!(page.contains("0 videos in 0.0 s") && !page.contains("NaN") && !page.contains("inf"));
}
