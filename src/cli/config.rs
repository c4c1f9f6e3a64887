//! `forebay config`: the effective settings, each with where it came from.

use super::options::Flags;
use super::text::{clean, width};
use super::trouble::Trouble;
use super::{Exit, print_out};
use crate::config::Effective;
use crate::config::layer::DEFAULTS;

/// Shows the effective settings, each with where it came from.
///
/// Settings come from the defaults, /etc/forebay.toml, the user's
/// forebay/config.toml, ./forebay.toml, FOREBAY_… variables and flags; the last
/// one wins.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the default settings with their explanations instead, as a file to start from.
    #[arg(long)]
    defaults: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    if args.defaults {
        print_out(DEFAULTS.trim_end());
        return Ok(Exit::Done);
    }
    let config = Flags::default().config()?;
    for line in table(config.effective()) {
        print_out(&line);
    }
    Ok(Exit::Done)
}

/// `key = value  # origin`, aligned; valid TOML.
fn table(settings: &[Effective]) -> Vec<String> {
    let keys = settings.iter().map(|setting| width(&setting.key)).max().unwrap_or(0);
    // One long value must not push all origins out of sight.
    let values = settings.iter().map(|setting| width(&setting.value)).max().unwrap_or(0).min(32);
    let line = |setting: &Effective| {
        let Effective { key, value, origin } = setting;
        format!("{key:keys$} = {value:values$}  # {}", clean(origin))
    };
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_a_table_with_origins() {
        let setting = |key: &str, value: &str, origin: &str| Effective {
            key: key.into(),
            value: value.into(),
            origin: origin.into(),
        };
        let settings = [setting("hls.segment", "\"6s\"", "default"), setting("lanes.disk", "8", "./forebay.toml")];
        assert_eq!(table(&settings), ["hls.segment = \"6s\"  # default", "lanes.disk  = 8     # ./forebay.toml"]);
    }
}
