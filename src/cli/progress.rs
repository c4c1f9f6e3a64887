//! Progress on a terminal: a line for every video in flight with a bar for
//! download, encode and upload, and a last line that says what bounds the run.
//!
//! All lines are one message of one bar, so each redraw is one write and
//! nothing flickers. Lines of videos that ended scroll up above it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::{Board, Video};
use super::bound::Window;
use super::outcome;
use super::text::{clean, count, fit, pad, percent, size, time, width};
use crate::engine::Listener;
use crate::model::event::{Event, Usage, What};

/// Columns of one of the three bars.
const BAR: u8 = 8;

/// Draws on the terminal that standard error is.
pub(super) struct Progress {
    bar: ProgressBar,
    board: Board,
    window: Window,
    look: Look,
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    columns: usize,
    rows: usize,
    colours: bool,
    blocks: bool,
}

impl Progress {
    /// For a run of `items`.
    pub(super) fn new(items: u64) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is fixed and right"));
        Self { bar, board: Board::new(items), window: Window::default(), look: Look::of_terminal() }
    }
}

impl Listener for Progress {
    fn event(&mut self, event: &Event) {
        let ended = self.board.event(event);
        let line = match (&ended, &event.what) {
            (Some(video), what) => outcome::line(video, what, event.at),
            (None, What::Warning { message }) => {
                let name = self.board.videos.get(&event.item).map_or("", |video| &video.name);
                Some(format!("warn  {name}: {}", clean(message)))
            }
            _ => None,
        };
        for line in line.iter().flat_map(|lines| lines.lines()) {
            self.bar.println(self.look.painted(line));
        }
    }

    fn tick(&mut self, usage: &Usage) {
        self.window.add(usage);
        self.look = Look::of_terminal();
        self.bar.set_message(screen(&self.board, &self.window, usage.at, self.look));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Look {
    fn of_terminal() -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let (columns, rows) = size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        // Locale variables in the order in which C programs ask them.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| set(name)).and_then(std::env::var_os);
        let locale = locale.unwrap_or_default().to_string_lossy().to_lowercase();
        Self {
            columns: if columns == 0 { 80 } else { columns },
            rows: if rows == 0 { 24 } else { rows },
            colours: !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            blocks: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.into() }
    }

    /// A line that scrolls up, its first word in colour.
    fn painted(self, line: &str) -> String {
        let colour = match line.split(' ').next() {
            Some("done") => "32",
            Some("FAIL") => "1;31",
            Some("warn") => "33",
            _ => "2",
        };
        match line.split_once(' ') {
            Some((word, rest)) if !word.is_empty() => format!("{} {rest}", self.paint(colour, word)),
            _ => line.to_owned(),
        }
    }

    /// One bar, in eighths of a column where the terminal can.
    fn bar(self, colour: &str, part: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of 64")]
        let eighths = (part.clamp(0.0, 1.0) * f64::from(BAR) * 8.0).round() as usize;
        let (full, rest, all) = (eighths / 8, eighths % 8, usize::from(BAR));
        let (filled, empty) = if self.blocks {
            let edge = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(rest).copied().unwrap_or_default();
            ("█".repeat(full) + edge, "·".repeat(all - full - usize::from(rest > 0)))
        } else {
            ("#".repeat(full), ".".repeat(all - full))
        };
        self.paint(colour, &filled) + &self.paint("2", &empty)
    }
}

/// All that is shown below the scrolling lines.
fn screen(board: &Board, window: &Window, at: f64, look: Look) -> String {
    // One row stays free for the cursor, one for the last line, one for what is left out.
    let room = look.rows.saturating_sub(3).max(1);
    let shown = board.videos.values().take(room);
    let names = shown.clone().map(|video| width(&video.name)).max().unwrap_or(0);
    let names = names.clamp(8, (look.columns / 3).clamp(8, 28));
    let mut lines: Vec<String> = shown.map(|video| video_line(video, at, names, look)).collect();
    let hidden = board.videos.len().saturating_sub(room);
    if hidden > 0 {
        lines.push(look.paint("2", &fit(&format!("… and {hidden} more in flight"), look.columns)));
    }
    lines.push(look.paint("1", &fit(&last_line(board, window, at), look.columns)));
    lines.join("\n")
}

fn video_line(video: &Video, at: f64, names: usize, look: Look) -> String {
    let bars = [("34", video.download_part()), ("33", video.encode_part()), ("32", video.upload_part())];
    let bars: Vec<String> = bars.into_iter().map(|(colour, part)| look.bar(colour, part)).collect();
    let taken = names + 2 + 3 * (usize::from(BAR) + 1);
    let status = status(video, at);
    let mut text = status;
    if !video.title.is_empty() {
        text = format!("{}  {}", pad(&text, 30), video.title);
    }
    let text = fit(&text, look.columns.saturating_sub(taken + 1));
    // A narrow terminal keeps the name and the words, which say more than bars.
    if look.columns < 60 {
        return fit(&format!("{}  {text}", pad(&video.name, names)), look.columns);
    }
    format!("{}  {} {text}", pad(&video.name, names), bars.join(" "))
}

/// What a video is doing, its speed, and when that ends.
fn status(video: &Video, at: f64) -> String {
    let eta = video.eta(at).map(|seconds| format!(", ETA {}", time(seconds))).unwrap_or_default();
    if let Some((why, until)) = &video.retry {
        return format!("again in {}: {why}", time(until - at));
    }
    let Some(plan) = video.plan.as_ref() else {
        return match (video.downloaded, video.bytes) {
            (true, _) if video.search > 0 => format!("looks for the quality, round {}", video.search),
            (true, _) => "looking at it".into(),
            (_, (0, _)) => "waiting".into(),
            (_, (bytes, None)) => format!("{} {}/s", size(bytes), rate(video.download_rate())),
            (..) => format!("{} {}/s{eta}", percent(video.download_part()), rate(video.download_rate())),
        };
    };
    if plan.is_encoded() {
        return format!("storing, {}", size(video.stored.1));
    }
    if plan.is_running() {
        return format!("{} {:.1}x{eta}", percent(video.encode_part()), plan.speed(at));
    }
    format!("{} waits for a core", percent(video.encode_part()))
}

fn rate(bytes: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown with three digits")]
    let bytes = bytes.max(0.0) as u64;
    size(bytes)
}

/// What bounds the run right now, and how far it is.
pub(super) fn last_line(board: &Board, window: &Window, at: f64) -> String {
    let totals = board.totals;
    let mut parts = vec![format!("{}/{} done", totals.done + totals.already, board.items)];
    if totals.failed > 0 {
        parts.push(format!("{} failed", totals.failed));
    }
    let download = window.download_rate();
    if download >= 1.0 {
        parts.push(format!("{}/s in", rate(download)));
    }
    if let Some(seconds) = board.eta(at).filter(|_| totals.ended() < board.items) {
        parts.push(format!("ETA {}", time(seconds)));
    }
    format!("{}  |  {}", window.shares().line(), parts.join(", "))
}

/// The first line of a run, for displays that scroll.
pub(super) fn first_line(items: u64, to: &str) -> String {
    format!("{} to {}", count(items, "video"), clean(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::LaneUse;

    const PLAIN: Look = Look { columns: 80, rows: 6, colours: false, blocks: false };

    fn board(items: u64) -> Board {
        let mut board = Board::new(items);
        let mut feed = |at, item, what| board.event(&Event { at, item, what });
        for item in 0..items.min(64) {
            feed(0.0, item, What::Started { input: "https://host/a.mp4".into() });
            let title = Some("Ein Film \u{1b}[2J mit einem langen Titel, der nicht in die Zeile passt 日本語".into());
            feed(0.0, item, What::Named { id: format!("video-{item}").into(), title });
        }
        feed(4.0, 0, What::Downloading { bytes: 1_000_000, total: Some(4_000_000) });
        feed(4.0, 1, What::Downloaded { bytes: 4_000_000 });
        let summary = "720p 360p + audio".into();
        feed(4.0, 1, What::Planned { seconds: 60.0, chunks: 4, resumed: 2, renditions: 2, objects: 44, summary });
        feed(4.0, 1, What::ChunkStarted { chunk: 3 });
        feed(5.0, 1, What::ChunkProgress { chunk: 3, part: 0.5 });
        board
    }

    fn window() -> Window {
        let mut window = Window::default();
        let cpu = LaneUse { capacity: 2, busy_seconds: 9.6, ..LaneUse::default() };
        let network = LaneUse { capacity: 4, busy_seconds: 2.0, active_seconds: 1.95, ..LaneUse::default() };
        window.add(&Usage { at: 5.0, cpu, network, ..Usage::default() });
        window
    }

    #[test]
    fn every_video_in_flight_has_a_line_and_the_last_says_what_bounds() {
        let text = screen(&board(3), &window(), 5.0, PLAIN);
        let expected = [
            "video-0   ##...... ........ ........ 25 % 250 kB/s, ETA 12 s         Ein Film …",
            "video-1   ######## #####... ........ 62 % 7.5x, ETA 3.0 s            Ein Film …",
            "video-2   ........ ........ ........ waiting                         Ein Film …",
            "CPU-bound: cores 96 %, network idle 61 %  |  0/3 done, ETA 19 s",
        ];
        assert_eq!(text.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_wider_or_higher_than_the_terminal() {
        for columns in [20, 40, 60, 80, 200] {
            let look = Look { columns, ..PLAIN };
            let text = screen(&board(10_000), &window(), 5.0, look);
            assert!(text.lines().count() < look.rows, "{text}");
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}: {text}");
            assert!(!text.contains('\u{1b}'));
        }
    }

    #[test]
    fn bars_grow_by_eighths() {
        let look = Look { blocks: true, ..PLAIN };
        assert_eq!(
            [0.0, 0.3, 0.5, 1.0].map(|part| look.bar("", part)),
            ["········", "██▍·····", "████····", "████████"]
        );
    }
}
