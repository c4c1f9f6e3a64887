//! What bounds a run: the cores, a link, the scratch space, or nothing.

use std::collections::VecDeque;

use super::text::percent;
use crate::model::event::{LaneUse, Usage};

/// A lane this busy is what the run waits for.
const BUSY: f64 = 0.8;

/// Two lanes whose use is this close bound the run together.
const ALIKE: f64 = 0.08;

/// How busy each lane was over a span of time, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shares {
    /// Encoder threads in use.
    pub(super) cpu: f64,
    /// Time in which something was downloaded.
    pub(super) network: f64,
    /// Time in which something was stored.
    pub(super) upload: f64,
    /// Connections in use.
    pub(super) connections: f64,
    /// Scratch space in use.
    pub(super) scratch: f64,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Cpu,
    Network,
    Upload,
    Scratch,
    CpuAndNetwork,
    Nothing,
}

impl Shares {
    /// Those from the run's begin to `usage`.
    pub(super) fn of_run(usage: &Usage) -> Self {
        Self::between(&Usage::default(), usage)
    }

    /// Those between two moments.
    pub(super) fn between(from: &Usage, to: &Usage) -> Self {
        let seconds = (to.at - from.at).max(1e-6);
        let busy =
            |lane: fn(&Usage) -> LaneUse| share(lane(to).busy_seconds - lane(from).busy_seconds, lane(to), seconds);
        let active = |lane: fn(&Usage) -> LaneUse| {
            ((lane(to).active_seconds - lane(from).active_seconds) / seconds).clamp(0.0, 1.0)
        };
        Self {
            cpu: busy(|usage| usage.cpu),
            network: active(|usage| usage.network),
            upload: active(|usage| usage.upload),
            connections: busy(|usage| usage.network),
            scratch: busy(|usage| usage.scratch),
        }
    }

    /// What the run waited for.
    pub(super) fn bound(&self) -> Bound {
        // Full scratch space holds downloads back; while the cores are busy it does no harm.
        if self.cpu < BUSY && self.scratch > 0.9 {
            return Bound::Scratch;
        }
        let most = self.cpu.max(self.network).max(self.upload);
        if most < 0.5 {
            return Bound::Nothing;
        }
        if self.cpu >= BUSY && self.network >= BUSY && (self.cpu - self.network).abs() < ALIKE {
            return Bound::CpuAndNetwork;
        }
        // An encode that could use no more threads is still what the run waits for.
        if self.cpu + ALIKE >= most {
            return Bound::Cpu;
        }
        if self.network >= self.upload { Bound::Network } else { Bound::Upload }
    }

    /// `CPU-bound: cores 96 %, network idle 61 %`.
    pub(super) fn line(&self) -> String {
        let (cores, idle) = (percent(self.cpu), percent(1.0 - self.network));
        match self.bound() {
            Bound::Cpu => format!("CPU-bound: cores {cores}, network idle {idle}"),
            Bound::Network => format!("network-bound: network {}, cores {cores}", percent(self.network)),
            Bound::Upload => format!("upload-bound: uploads {}, cores {cores}", percent(self.upload)),
            Bound::Scratch => format!("scratch-bound: space {} full, cores {cores}", percent(self.scratch)),
            Bound::CpuAndNetwork => format!("cores {cores} and network {} busy", percent(self.network)),
            Bound::Nothing => format!("waiting: cores {cores}, network idle {idle}"),
        }
    }

    /// One sentence with the numbers, and one that says what would make it faster.
    pub(super) fn sentences(&self) -> (String, String) {
        let (cores, network) = (percent(self.cpu), percent(self.network));
        let idle = percent(1.0 - self.network);
        match self.bound() {
            Bound::Cpu => (
                format!(
                    "The CPU bounded this run: the cores were {cores} busy, the network was idle {idle} of the time."
                ),
                "More cores would make it faster; so would `--profile fast`, at more bits.".into(),
            ),
            Bound::Network => (
                format!(
                    "The network bounded this run: downloads ran {network} of the time, the cores were {cores} busy."
                ),
                self.faster_network().into(),
            ),
            Bound::Upload => (
                format!(
                    "Uploads bounded this run: they ran {} of the time, the cores were {cores} busy.",
                    percent(self.upload)
                ),
                "A faster link to the destination or more `--uploads` would make it faster.".into(),
            ),
            Bound::Scratch => (
                format!(
                    "Scratch space bounded this run: it was {} full, so downloads waited; the cores were {cores} busy.",
                    percent(self.scratch)
                ),
                "A larger `--scratch-limit` would make it faster.".into(),
            ),
            Bound::CpuAndNetwork => (
                format!(
                    "CPU and network bounded this run together: the cores were {cores} busy, downloads ran {network} of the time."
                ),
                "Only more cores together with a faster link would make it faster.".into(),
            ),
            Bound::Nothing => (
                format!("Nothing was busy most of the time: the cores {cores}, the network {network}."),
                "A longer list or longer videos use the machine better.".into(),
            ),
        }
    }

    fn faster_network(&self) -> &'static str {
        if self.connections > 0.9 * self.network {
            "More `--downloads` would make it faster where servers throttle each connection, else a faster link."
        } else {
            "A faster link would make it faster."
        }
    }
}

fn share(busy_seconds: f64, lane: LaneUse, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    let capacity = lane.capacity.max(1) as f64;
    (busy_seconds / (capacity * seconds)).clamp(0.0, 1.0)
}

/// The shares over the last seconds, for a display of what is true now.
#[derive(Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<Usage>,
}

impl Window {
    /// As long as a person needs to read a number twice.
    const SECONDS: f64 = 5.0;

    /// Takes the next sample.
    pub(super) fn add(&mut self, usage: &Usage) {
        self.samples.push_back(*usage);
        while self.samples.get(1).is_some_and(|second| usage.at - second.at >= Self::SECONDS) {
            self.samples.pop_front();
        }
    }

    /// The shares over the window.
    pub(super) fn shares(&self) -> Shares {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) if last.at > first.at => Shares::between(first, last),
            (_, Some(last)) => Shares::of_run(last),
            _ => Shares::default(),
        }
    }

    /// Bytes downloaded a second over the window.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    pub(super) fn download_rate(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) if last.at > first.at => {
                last.downloaded_bytes.saturating_sub(first.downloaded_bytes) as f64 / (last.at - first.at)
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(cpu: f64, network: f64, upload: f64, scratch: f64) -> Shares {
        Shares { cpu, network, upload, connections: network / 2.0, scratch }
    }

    #[test]
    fn the_busiest_lane_is_named() {
        let cases = [
            (shares(0.96, 0.39, 0.1, 0.0), Bound::Cpu),
            (shares(0.30, 0.99, 0.1, 0.0), Bound::Network),
            (shares(0.30, 0.20, 0.9, 0.0), Bound::Upload),
            (shares(0.50, 0.90, 0.1, 0.95), Bound::Scratch),
            (shares(0.96, 0.39, 0.1, 0.95), Bound::Cpu),
            (shares(0.95, 0.97, 0.1, 0.0), Bound::CpuAndNetwork),
            (shares(0.10, 0.20, 0.1, 0.0), Bound::Nothing),
        ];
        for (shares, expected) in cases {
            assert_eq!(shares.bound(), expected, "{shares:?}");
        }
        assert_eq!(cases[0].0.line(), "CPU-bound: cores 96 %, network idle 61 %");
    }

    #[test]
    fn the_window_forgets_what_is_long_past() {
        let mut window = Window::default();
        for step in 0..100_u32 {
            let at = f64::from(step) / 4.0;
            let busy_seconds = if at > 10.0 { (at - 10.0) * 2.0 } else { 0.0 };
            let cpu = LaneUse { capacity: 2, busy_seconds, ..LaneUse::default() };
            window.add(&Usage { at, cpu, ..Usage::default() });
        }
        assert!((window.shares().cpu - 1.0).abs() < 1e-9);
        assert!(window.samples.len() <= 22);
    }
}
