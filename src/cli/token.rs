//! `forebay token`: who may use the server.

use std::path::PathBuf;

use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app::serve::store;
use crate::web::now;
use crate::web::token::Scope;

const EXAMPLES: &str = "\
Examples:
  forebay token add ann --scope admin
  forebay token add website --scope submit
  forebay token list
  forebay token revoke website

Scopes: `read` sees jobs and plays videos; `submit` uploads, hands in jobs,
cancels and retries them, and grants playing; `admin` may do everything.";

/// Makes, lists and revokes the tokens of the server.
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
    /// Makes a token and prints it, once.
    Add {
        /// Whose it is.
        name: String,
        /// What it may do: `read`, `submit` or `admin`; may be given several times.
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
        scopes: Vec<Scope>,
    },
    /// Lists tokens.
    List,
    /// Makes a token worthless, at once.
    Revoke {
        /// Its name, or its number.
        name: String,
    },
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::named(name).ok_or_else(|| "give `read`, `submit` or `admin`".to_owned())
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    block_on(act(args))?
}

async fn act(args: &Args) -> Result<Exit, Trouble> {
    let store = store(args.state.as_deref()).await?;
    let exit = match &args.verb {
        Verb::Add { name, scopes } => {
            print_out(&store.add_token(name, scopes, now()).await?);
            print_err("keep it: it is not shown again");
            Exit::Done
        }
        Verb::List => {
            for token in store.tokens().await? {
                let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
                print_out(&format!("{}  {}  {}", token.id, token.name, scopes.join(",")));
            }
            Exit::Done
        }
        Verb::Revoke { name } => {
            if !store.revoke_token(name).await? {
                return Err(Trouble::usage(format!("there is no token `{}`", name.escape_debug())));
            }
            Exit::Done
        }
    };
    store.close().await;
    Ok(exit)
}
