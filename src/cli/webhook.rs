//! `forebay webhook`: who is told of jobs that are over.

use std::path::PathBuf;

use super::text::clean;
use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app::serve::store;
use crate::config::unit;
use crate::web::now;
use crate::web::webhook::Replay;

const EXAMPLES: &str = "\
Examples:
  forebay webhook add https://www.example.org/hooks/video
  forebay webhook list
  forebay webhook replay --failed
  forebay webhook replay --since 2h

Messages are signed after the Standard Webhooks specification, and tried for a
day. A replayed message keeps its id, so a receiver that had it can tell.";

/// Adds, lists, removes and replays the webhooks of the server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The server's state folder, if it was given one.
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Adds a webhook, and prints the secret that its messages are signed with.
    Add {
        /// Where to send.
        url: String,
    },
    /// Lists webhooks, and how many messages wait.
    List,
    /// Removes a webhook and its messages.
    Remove {
        /// Its number.
        id: String,
    },
    /// Sends messages again, and enables webhooks that were given up.
    Replay {
        /// Only to this webhook.
        #[arg(long, value_name = "NUMBER")]
        webhook: Option<String>,
        /// Only those of the last time, such as `2h`.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only those that were never taken.
        #[arg(long)]
        failed: bool,
    },
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    block_on(act(args))?
}

async fn act(args: &Args) -> Result<Exit, Trouble> {
    let store = store(args.state.as_deref()).await?;
    match &args.verb {
        Verb::Add { url } => {
            let (id, secret) = store.add_webhook(url, now()).await?;
            print_out(&format!("{id}  {secret}"));
            print_err("keep the secret: it is not shown again");
        }
        Verb::List => {
            for webhook in store.webhooks().await? {
                let state = webhook.disabled.map_or_else(|| "enabled".into(), |why| format!("disabled {why}"));
                let (waiting, failed) = (webhook.waiting, webhook.failed);
                let line = format!("{}  {}  {waiting} waiting, {failed} failed, {state}", webhook.id, webhook.url);
                print_out(&clean(&line));
            }
        }
        Verb::Remove { id } => {
            if !store.remove_webhook(id).await? {
                return Err(Trouble::usage(format!("there is no webhook `{}`", id.escape_debug())));
            }
        }
        Verb::Replay { webhook, since, failed } => {
            let since = since.as_ref().map(|text| {
                let time = unit::time(text).and_then(|time| i64::try_from(time.as_millis()).ok());
                time.map(|time| now() - time).ok_or_else(|| Trouble::usage(format!("`{text}` is not a time")))
            });
            let since = since.transpose()?.unwrap_or(0);
            let replay = Replay { webhook: webhook.clone(), since, failed: *failed };
            let messages = store.replay(&replay, now()).await?;
            print_err(&format!("{messages} messages are sent again"));
        }
    }
    store.close().await;
    Ok(Exit::Done)
}
