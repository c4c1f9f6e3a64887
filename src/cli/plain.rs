//! Lines for a log: what began and ended, and every half minute how far the run is.

use super::board::Board;
use super::bound::Window;
use super::outcome;
use super::progress::last_line;
use super::text::{clean, time};
use crate::engine::Listener;
use crate::model::event::{Event, Usage, What};

/// Seconds between two lines of totals.
const PAUSE: f64 = 30.0;

/// Which events become lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// All that a person wants in a log.
    Normal,
    /// Failures only.
    Quiet,
}

/// Prints to standard error.
pub(super) struct Plain {
    board: Board,
    window: Window,
    amount: Amount,
    next: f64,
}

impl Plain {
    /// For a run of `items`.
    pub(super) fn new(items: u64, amount: Amount) -> Self {
        Self { board: Board::new(items), window: Window::default(), amount, next: PAUSE }
    }

    fn line(&mut self, event: &Event) -> Option<String> {
        if let Some(video) = self.board.event(event) {
            let wanted = self.amount == Amount::Normal || matches!(event.what, What::Failed { .. });
            return wanted.then(|| outcome::line(&video, &event.what, event.at)).flatten();
        }
        let video = self.board.videos.get(&event.item).filter(|_| self.amount == Amount::Normal)?;
        let name = &video.name;
        match &event.what {
            What::Planned { seconds, summary, .. } => {
                Some(format!("plan  {name}  {} of video: {}", time(*seconds), clean(summary)))
            }
            What::Searching { round, found, .. } if !found.is_empty() => {
                Some(format!("look  {name}  round {round}: {}", clean(found)))
            }
            What::Retrying { why, wait, .. } => Some(format!("wait  {name}  again in {}: {}", time(*wait), clean(why))),
            What::Warning { message } => Some(format!("warn  {name}: {}", clean(message))),
            _ => None,
        }
    }
}

impl Listener for Plain {
    fn event(&mut self, event: &Event) {
        if let Some(line) = self.line(event) {
            super::print_err(&line);
        }
    }

    fn tick(&mut self, usage: &Usage) {
        self.window.add(usage);
        if self.amount == Amount::Normal && usage.at >= self.next {
            self.next = usage.at + PAUSE;
            super::print_err(&format!("----  {}", last_line(&self.board, &self.window, usage.at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    fn lines(amount: Amount) -> Vec<String> {
        let mut plain = Plain::new(3, amount);
        let named = || What::Named { id: "clip".into(), title: None };
        let planned = What::Planned {
            seconds: 12.3,
            chunks: 3,
            resumed: 0,
            renditions: 2,
            objects: 12,
            summary: "720p 360p + audio".into(),
        };
        let events = [
            (0, What::Started { input: "a.mp4".into() }),
            (0, named()),
            (0, planned),
            (0, What::Warning { message: "it flickers".into() }),
            (0, What::Done { master: "m".into(), objects: 9, bytes: 1_500_000 }),
            (1, What::Started { input: "b.mp4".into() }),
            (1, What::Failed { failure: Failure::permanent("it is empty") }),
            (2, What::Parked),
        ];
        events.into_iter().filter_map(|(item, what)| plain.line(&Event { at: 4.5, item, what })).collect()
    }

    #[test]
    fn a_log_has_a_line_for_each_turn() {
        let expected = [
            "plan  clip  12 s of video: 720p 360p + audio",
            "warn  clip: it flickers",
            "done  clip  12 s of video in 0.0 s  2 renditions  1.5 MB",
            "FAIL  b.mp4: it is empty",
        ];
        assert_eq!(lines(Amount::Normal), expected);
    }

    #[test]
    fn quiet_prints_failures_only() {
        assert_eq!(lines(Amount::Quiet), ["FAIL  b.mp4: it is empty"]);
    }
}
