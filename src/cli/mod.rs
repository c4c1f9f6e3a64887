//! Arguments, and everything that is printed. One file a command.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

use crate::tool::reaper;
use trouble::Trouble;

mod config;
mod doctor;
mod gc;
mod hls;
mod jobs;
#[cfg(feature = "stores")]
mod migrate;
#[cfg(feature = "stores")]
mod migrate_page;
mod options;
#[cfg(feature = "photos")]
mod photo_sheet;
#[cfg(feature = "photos")]
mod photos;
mod plan;
#[cfg(feature = "serve")]
mod serve;
mod submit;
mod submit_bulk;
#[cfg(feature = "serve")]
mod token;
mod trouble;
mod verify;
#[cfg(feature = "serve")]
mod webhook;
mod worker;

mod board;
mod bound;
mod outcome;
mod text;

mod json;
mod plain;
mod progress;
mod report;
mod report_chart;
mod report_page;
mod tee;

const EXIT_CODES: &str = "\
Exit codes:
  0    all is done, or was done already
  1    some videos failed, the others are done
  2    the command line, a list or a setting is wrong
  3    this machine or the destination is at fault: a tool is missing, no space, no rights
  130  stopped by a signal; the same command goes on

Environment:
  FOREBAY_<SECTION>__<KEY>  a setting, such as FOREBAY_LANES__DOWNLOADS=8
  FOREBAY_MASTER_KEY        the master key of --encrypt, in hex
  FOREBAY_MAIL_PASSWORD     the password of the mail server
  FOREBAY_VERIFY_KEY        the key of the package that verify looks into, in hex
  FOREBAY_LOG               what to log, such as `debug` or `forebay=trace`
  FOREBAY_LOG_FORMAT        `json` for one object a line";

const EXAMPLES: &str = "\
Examples:
  forebay hls https://example.org/talk.mp4 --to /srv/video
  forebay hls -a videos.txt --to /srv/video --report run.html
  forebay plan talk.mp4
  forebay verify /srv/video/talk-1f0c2a9b/master.m3u8
  forebay doctor --to /srv/video";

/// Downloads videos, encodes them to HLS and publishes them, with the network
/// and the CPU busy at the same time.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Hls(Box<hls::Args>),
    #[cfg(feature = "stores")]
    Migrate(Box<migrate::Args>),
    #[cfg(feature = "photos")]
    Photos(photos::Args),
    Plan(plan::Args),
    Verify(verify::Args),
    Submit(submit::Args),
    Worker(Box<worker::Args>),
    Jobs(jobs::Args),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    #[cfg(feature = "serve")]
    Token(token::Args),
    #[cfg(feature = "serve")]
    Webhook(webhook::Args),
    Gc(gc::Args),
    Doctor(doctor::Args),
    Config(config::Args),
}

/// How the program ends, as promised to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    SomeFailed = 1,
    Usage = 2,
    Environment = 3,
    Stopped = 130,
}

/// Runs the program.
pub fn main() -> ExitCode {
    // The reaper must not depend on anything else being right.
    if std::env::args_os().nth(1).is_some_and(|command| command == reaper::COMMAND) {
        reaper::serve();
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell to a terminal that is gone.
            error.print().unwrap_or_default();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 });
        }
    };
    start_log();
    let exit = run(cli.command).unwrap_or_else(|trouble| {
        print_err(trouble.to_string().trim_end());
        trouble.exit
    });
    ExitCode::from(with_output(exit) as u8)
}

fn run(command: Command) -> Result<Exit, Trouble> {
    match command {
        Command::Hls(args) => hls::run(&args),
        #[cfg(feature = "stores")]
        Command::Migrate(args) => migrate::run(&args),
        #[cfg(feature = "photos")]
        Command::Photos(args) => photos::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Jobs(args) => jobs::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "serve")]
        Command::Token(args) => token::run(&args),
        #[cfg(feature = "serve")]
        Command::Webhook(args) => webhook::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => config::run(&args),
    }
}

/// The log goes to standard error, and only if it is asked for: people read events instead.
fn start_log() {
    if let Some(filter) = std::env::var("FOREBAY_LOG").ok().filter(|filter| !filter.is_empty()) {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        if std::env::var("FOREBAY_LOG_FORMAT").is_ok_and(|format| format == "json") {
            log.json().init();
        } else {
            log.init();
        }
    }
}

/// Runs `work` to its end. The work is waiting; encoders are processes of their own.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::environment("could not start").because(&error))?;
    let result = runtime.block_on(work);
    // A read of standard input that nobody waits for must not keep the program.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    Ok(result)
}

/// A report that cannot be written is better known before the run than after it.
fn check_report(file: &std::path::Path) -> Result<(), Trouble> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if file.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
        let trouble = Trouble::usage(format!("cannot write a report to `{}`", file.to_string_lossy()));
        return Err(trouble.hint("give the path of a file in a folder that exists"));
    }
    Ok(())
}

/// Whether something that belongs on standard output did not get there.
static LOST: AtomicBool = AtomicBool::new(false);

/// A line to standard output.
fn print_out(line: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        note_lost(&error);
    }
}

/// Notes that output was lost, which is no success. A reader that is gone has what it wanted.
fn note_lost(error: &std::io::Error) {
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// How the program ends when all that it had to say is said, or was lost.
fn with_output(exit: Exit) -> Exit {
    let stopped = matches!(exit, Exit::Usage | Exit::Stopped);
    if !LOST.load(Ordering::Relaxed) || stopped {
        return exit;
    }
    print_err("error: not all could be written to standard output\n\nhint: free some space where it goes");
    Exit::Environment
}

/// A line to standard error.
fn print_err(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_exit_codes_and_every_option_has_a_word() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("130  stopped by a signal"), "{help}");
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let mute = command.get_arguments().find(|argument| argument.get_help().is_none());
            assert!(mute.is_none(), "{mute:?}");
        }
    }

    #[test]
    fn features_that_are_not_there_are_not_offered() {
        for flag in ["--subtitles", "--encoder"] {
            assert!(Cli::try_parse_from(["forebay", "hls", "a.mp4", "--to", "out", flag]).is_err(), "{flag}");
        }
    }
}
