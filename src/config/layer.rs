//! Layers of settings: files, variables and flags over the defaults, each
//! value with its origin.
//!
//! The default file is the schema. A key exists if it is there, and has the
//! kind of value it has there. Under `ladders`, `rungs` and `profiles` the
//! user's own names may stand beside ours, with the same fields.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use toml::{Table, Value};

use super::error::ConfigError;
use crate::model::id;

/// The manual of settings, which is also the lowest layer.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Before every variable that is a setting.
const PREFIX: &str = "FOREBAY_";

static SCHEMA: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let table = toml::from_str(DEFAULTS).expect("the embedded defaults are TOML, which a test checks");
    flat(table)
});

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded defaults.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(&path.to_string_lossy()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One value and who set it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
}

/// A flag of the command line that stands for a setting.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as typed, such as `--downloads`.
    pub name: &'static str,
    /// The setting, such as `lanes.downloads`.
    pub key: &'static str,
    /// The value as typed.
    pub value: String,
}

/// Where layers are looked for. Given by the caller, so that a test needs no machine.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Files in order, the strongest last. A missing one is no error.
    pub files: Vec<PathBuf>,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Vec<Flag>,
}

impl Surroundings {
    /// Those of this process, with `flags` on top.
    pub fn of_process(flags: Vec<Flag>) -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config_home = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        let mut files = vec![PathBuf::from("/etc/forebay.toml")];
        files.extend(config_home.map(|folder| folder.join("forebay/config.toml")));
        files.push(PathBuf::from("./forebay.toml"));
        Self { files, variables: std::env::vars_os().collect(), flags }
    }
}

/// All values by key, the strongest layer's each.
#[derive(Clone, Debug)]
pub struct Layers {
    values: BTreeMap<String, Setting>,
}

impl Layers {
    /// Reads all layers.
    pub fn read(surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let defaults = SCHEMA.iter().map(|(key, value)| {
            let setting = Setting { value: value.clone(), origin: Origin::Default };
            (key.clone(), setting)
        });
        let mut layers = Self { values: defaults.collect() };
        for file in &surroundings.files {
            layers.add_file(file)?;
        }
        let mut variables: Vec<_> = surroundings.variables.iter().collect();
        // The environment has no order of its own; errors shall not depend on chance.
        variables.sort();
        for (name, value) in variables {
            layers.add_variable(name.to_str(), value)?;
        }
        for flag in &surroundings.flags {
            layers.add_text(flag.key.into(), &flag.value, Origin::Flag(flag.name))?;
        }
        Ok(layers)
    }

    /// All settings, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// The setting at `key`, if some layer has it.
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)
    }

    fn add_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let shown = || file.to_string_lossy().into_owned();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(ConfigError::Unreadable { file: shown(), source }),
        };
        let table: Table = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            file: shown(),
            line: line_of(&text, error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', " "),
        })?;
        for (key, value) in flat(table) {
            self.add(key, value, Origin::File(file.to_path_buf()))?;
        }
        Ok(())
    }

    fn add_variable(&mut self, name: Option<&str>, value: &OsString) -> Result<(), ConfigError> {
        let Some(name) = name.filter(|name| name.starts_with(PREFIX) && !is_reserved(name)) else { return Ok(()) };
        if is_of_cluster(name, &value.to_string_lossy()) {
            return Ok(());
        }
        let key = name.trim_start_matches(PREFIX).to_lowercase().replace("__", ".").replace('_', "-");
        self.add_text(key, &value.to_string_lossy(), Origin::Variable(name.into()))
    }

    /// A value that comes as text takes the kind its setting has.
    fn add_text(&mut self, key: String, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let Some(sample) = sample(&key) else { return Err(unknown(key, origin)) };
        let value = match sample {
            Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
            Value::Float(_) => text.trim().parse().ok().map(Value::Float),
            Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
            Value::Array(_) => {
                Some(Value::Array(text.split(',').map(|part| Value::String(part.trim().into())).collect()))
            }
            _ => Some(Value::String(text.into())),
        };
        let value = value.unwrap_or_else(|| Value::String(text.into()));
        self.add(key, value, origin)
    }

    fn add(&mut self, key: String, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(sample) = sample(&key) else { return Err(unknown(key, origin)) };
        let value = match (sample, value) {
            (Value::Float(_), Value::Integer(whole)) => {
                Value::Float(f64::from(i32::try_from(whole).unwrap_or(i32::MAX)))
            }
            (_, value) => value,
        };
        if !sample.same_type(&value) {
            let wanted = format!("give {}, such as `{key} = {sample}`", kind(sample));
            return Err(ConfigError::Wrong { key, value: shown(&value), origin, wanted });
        }
        self.values.insert(key, Setting { value, origin });
        Ok(())
    }
}

/// A value as people write it, in back-ticks.
pub(super) fn shown(value: &Value) -> String {
    match value.as_str() {
        Some("") => "empty".into(),
        Some(text) => format!("`{}`", text.escape_debug()),
        None => format!("`{value}`"),
    }
}

/// Variables of ours that are no settings: the log filter, the test switches, and a secret.
fn is_reserved(name: &str) -> bool {
    let ours =
        ["FOREBAY_LOG", "FOREBAY_LOG_FORMAT", "FOREBAY_MASTER_KEY", "FOREBAY_VERIFY_KEY", "FOREBAY_MAIL_PASSWORD"];
    ours.contains(&name) || name.starts_with("FOREBAY_FAULT_")
}

/// Whether Kubernetes sets this variable in every container beside a service called `forebay` or `forebay-…`.
fn is_of_cluster(name: &str, value: &str) -> bool {
    let is_transport = |rest: &str| {
        let (port, kind) = rest.split_once('_').unwrap_or_default();
        let kind = kind.split('_').next().unwrap_or_default();
        port.parse::<u16>().is_ok() && matches!(kind, "TCP" | "UDP" | "SCTP")
    };
    let is_port = name.ends_with("_PORT") && value.contains("://");
    let is_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    !name.contains("__") && (is_port || is_service || name.split("_PORT_").skip(1).any(is_transport))
}

/// A value of the kind that `key` has to have; `None` if there is no such key.
fn sample(key: &str) -> Option<&'static Value> {
    if let Some(value) = SCHEMA.get(key) {
        return Some(value);
    }
    let parts: Vec<&str> = key.split('.').collect();
    match parts[..] {
        ["ladders", name] if id::check(name) => SCHEMA.get("ladders.default"),
        ["storage", name, kind, field] if id::check(name) => SCHEMA.get(&format!("storage.example.{kind}.{field}")),
        [section @ ("rungs" | "profiles"), name, field] if id::check(name) => SCHEMA.get(&like(section, field)),
        _ => None,
    }
}

/// A key of the defaults that has the same field as the user's own rung or profile.
fn like(section: &str, field: &str) -> String {
    let known = if section == "rungs" { "240p" } else { "fast" };
    format!("{section}.{known}.{field}")
}

fn kind(sample: &Value) -> &'static str {
    match sample {
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "`true` or `false`",
        Value::Array(_) => "a list",
        _ => "a text",
    }
}

/// Tables become dotted keys; lists stay values.
fn flat(table: Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    let mut open: Vec<(String, Value)> = table.into_iter().collect();
    while let Some((key, value)) = open.pop() {
        match value {
            Value::Table(table) => open.extend(table.into_iter().map(|(name, value)| (format!("{key}.{name}"), value))),
            value => {
                flat.insert(key, value);
            }
        }
    }
    flat
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn unknown(key: String, origin: Origin) -> ConfigError {
    // The same key again would be of no use: a name in it is what is wrong.
    let nearest = nearest(&key).filter(|known| *known != key).map(|known| match origin {
        Origin::Variable(_) => format!("{PREFIX}{}", known.replace('.', "__").replace('-', "_").to_uppercase()),
        _ => known,
    });
    ConfigError::Unknown { key, origin, nearest }
}

/// The key that exists and is fewest typing errors away, if it is near at all.
fn nearest(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.split('.').collect();
    let near = SCHEMA.keys().map(|known| {
        let known_parts: Vec<&str> = known.split('.').collect();
        // The user's own rung or storage keeps its name in the answer.
        match (&parts[..], &known_parts[..]) {
            ([section, name, _], [known_section @ ("rungs" | "profiles"), _, field]) if section == known_section => {
                format!("{section}.{name}.{field}")
            }
            (["storage", name, _, _], ["storage", _, kind, field]) => format!("storage.{name}.{kind}.{field}"),
            _ => known.clone(),
        }
    });
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |known: &str| typos(key, known).min(typos(&last(key), &last(known)) + 1);
    let best = near.min_by_key(|known| distance(known))?;
    (distance(&best) <= 1 + last(key).len() / 3).then_some(best)
}

/// Letters to insert, delete or change to get from one word to the other.
fn typos(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_has_one_comment_line_above() {
        let lines: Vec<&str> = DEFAULTS.lines().collect();
        for (number, line) in
            lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'))
        {
            let above = (lines[number - 1], lines[number - 2]);
            assert!(above.0.starts_with("# ") && above.0.ends_with(['.', '}']), "{line}");
            assert!(!above.1.starts_with('#'), "{line} has more than one comment line");
        }
    }

    #[test]
    fn near_keys_are_found() {
        let cases = [
            ("lanes.download", "lanes.downloads"),
            ("downloads", "lanes.downloads"),
            ("lane.uploads", "lanes.uploads"),
            ("hls.keyuri", "hls.key-uri"),
            ("rungs.900p.cfr", "rungs.900p.crf"),
            ("scratch.limits", "scratch.limit"),
        ];
        for (key, expected) in cases {
            assert_eq!(nearest(key).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(nearest("storage.archive.s3.bukket").as_deref(), Some("storage.archive.s3.bucket"));
        assert_eq!(nearest("colour.of.the.sky"), None);
    }

    #[test]
    fn what_a_cluster_says_of_its_services_is_no_setting() {
        let cluster = [
            ("FOREBAY_SERVICE_HOST", "10.0.0.7"),
            ("FOREBAY_SERVICE_PORT", "8080"),
            ("FOREBAY_SERVICE_PORT_HTTP", "8080"),
            ("FOREBAY_PORT", "tcp://10.0.0.7:8080"),
            ("FOREBAY_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
            ("FOREBAY_PORT_8080_TCP_ADDR", "10.0.0.7"),
            ("FOREBAY_KEY_SERVER_PORT_53_UDP_PROTO", "udp"),
        ];
        for (name, value) in cluster {
            assert!(is_of_cluster(name, value), "{name}");
        }
        let ours = [
            ("FOREBAY_MAIL__PORT", "25"),
            ("FOREBAY_MAIL_PORT", "25"),
            ("FOREBAY_PORT", "25"),
            ("FOREBAY_PORT_TCP", ""),
        ];
        for (name, value) in ours {
            assert!(!is_of_cluster(name, value), "{name} may be a mistake, which is to be told");
        }
    }
}
