//! A job as it travels: plain JSON that any program can write, and nothing that
//! could be a secret. `docs/job.schema.json` says the same for other languages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::id;
use super::sha256::Sha256;

/// The largest job, in bytes.
pub const LONGEST: usize = 64 * 1024;

/// Labels a job may ask for, and a worker may have.
pub const MOST_LABELS: usize = 6;

/// Attempts a job has if it does not say.
pub const ATTEMPTS: u32 = 3;

/// Members every kind of job may have.
const MEMBERS: &[&str] =
    &["v", "kind", "input", "to", "id", "title", "priority", "tenant", "key", "labels", "delay", "attempts", "options"];

/// How an option of a job is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Whole,
    /// A list of texts, kept as JSON.
    Texts,
}

/// An option of a job, and the setting it stands for.
#[derive(Clone, Copy, Debug)]
pub struct OptionRule {
    /// Its name in `options`.
    pub name: &'static str,
    /// The setting it replaces, such as `hls.ladder`; empty if it is none.
    pub setting: &'static str,
    /// How it is written.
    pub kind: Kind,
}

/// What `options` of an `hls` job may hold. Nothing that names a file, a tool, or a secret.
pub const HLS_OPTIONS: &[OptionRule] = &[
    OptionRule { name: "ladder", setting: "hls.ladder", kind: Kind::Text },
    OptionRule { name: "profile", setting: "hls.profile", kind: Kind::Text },
    OptionRule { name: "segment", setting: "hls.segment", kind: Kind::Text },
    OptionRule { name: "container", setting: "hls.container", kind: Kind::Text },
    OptionRule { name: "dash", setting: "hls.dash", kind: Kind::Switch },
    OptionRule { name: "codec", setting: "hls.codec", kind: Kind::Text },
    OptionRule { name: "hdr", setting: "hls.hdr", kind: Kind::Switch },
    OptionRule { name: "copy", setting: "hls.copy", kind: Kind::Switch },
    OptionRule { name: "two-pass", setting: "hls.two-pass", kind: Kind::Switch },
    OptionRule { name: "quality", setting: "hls.quality", kind: Kind::Text },
    OptionRule { name: "audio-bitrate", setting: "hls.audio-bitrate", kind: Kind::Whole },
    OptionRule { name: "audio", setting: "hls.audio", kind: Kind::Text },
    OptionRule { name: "subtitles", setting: "hls.subtitles", kind: Kind::Text },
    OptionRule { name: "loudness", setting: "hls.loudness", kind: Kind::Text },
    OptionRule { name: "i-frames", setting: "hls.i-frames", kind: Kind::Switch },
    OptionRule { name: "poster", setting: "hls.poster", kind: Kind::Switch },
    OptionRule { name: "storyboard", setting: "hls.storyboard", kind: Kind::Switch },
    OptionRule { name: "encrypt", setting: "hls.encrypt", kind: Kind::Text },
    OptionRule { name: "key-uri", setting: "hls.key-uri", kind: Kind::Text },
    OptionRule { name: "rotate", setting: "hls.rotate", kind: Kind::Whole },
    OptionRule { name: "accept-damaged", setting: "hls.accept-damaged", kind: Kind::Switch },
];

/// What `options` of a `photos` job may hold.
pub const PHOTO_OPTIONS: &[OptionRule] = &[
    OptionRule { name: "format", setting: "photos.format", kind: Kind::Text },
    OptionRule { name: "max-size", setting: "photos.max-size", kind: Kind::Text },
    OptionRule { name: "max-edge", setting: "photos.max-edge", kind: Kind::Whole },
    OptionRule { name: "keep-location", setting: "photos.keep-location", kind: Kind::Switch },
];

/// What `options` of a `migrate` job may hold. The catalog is the worker's.
pub const MIGRATE_OPTIONS: &[OptionRule] = &[
    OptionRule { name: "keys", setting: "", kind: Kind::Texts },
    OptionRule { name: "include", setting: "", kind: Kind::Texts },
    OptionRule { name: "exclude", setting: "", kind: Kind::Texts },
    OptionRule { name: "read-back", setting: "", kind: Kind::Switch },
    OptionRule { name: "bandwidth", setting: "migrate.bandwidth", kind: Kind::Text },
];

/// What `options` of a `chunk` hold, all of it.
pub const CHUNK_OPTIONS: &[OptionRule] = &[
    OptionRule { name: "film", setting: "", kind: Kind::Text },
    OptionRule { name: "generation", setting: "", kind: Kind::Text },
    OptionRule { name: "chunk", setting: "", kind: Kind::Whole },
];

/// Labels that begin like this are Forebay's own: a chunk of a film has one, by which only workers
/// that would make the same bytes take it.
pub const OWN_LABEL: &str = "forebay-";

/// Texts in one list of a job.
pub const MOST_TEXTS: usize = 1000;

/// Bytes of one text in a list: the longest key of an object.
pub const LONGEST_TEXT: usize = 1024;

/// What a job is to do. A new kind is one more arm here, and one where jobs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Download, encode, publish.
    Hls,
    /// Make pictures fit.
    Photos,
    /// Move objects from store to store.
    Migrate,
    /// Encode one chunk of a film that another job leads. Only workers submit these.
    Chunk,
}

impl Task {
    /// All kinds.
    pub const ALL: &'static [Self] = &[Self::Hls, Self::Photos, Self::Migrate, Self::Chunk];

    /// Its name in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hls => "hls",
            Self::Photos => "photos",
            Self::Migrate => "migrate",
            Self::Chunk => "chunk",
        }
    }

    /// What its `options` may hold, but for `force`.
    pub fn options(self) -> &'static [OptionRule] {
        match self {
            Self::Hls => HLS_OPTIONS,
            Self::Photos => PHOTO_OPTIONS,
            Self::Migrate => MIGRATE_OPTIONS,
            Self::Chunk => CHUNK_OPTIONS,
        }
    }
}

/// One job, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What to do.
    pub task: Task,
    /// With what: a URL, or a path that the worker allows.
    pub input: String,
    /// Where to: a storage the worker knows, or a place that it allows.
    pub to: String,
    /// The id at the destination.
    pub id: Option<String>,
    /// A title for people.
    pub title: Option<String>,
    /// From -9 to 9; higher goes first.
    pub priority: i32,
    /// Whose job it is: tenants take turns.
    pub tenant: String,
    /// The sender's own name for this job: sent again, it is the same job.
    pub key: Option<String>,
    /// What a worker must have to take it.
    pub labels: BTreeSet<String>,
    /// Seconds to wait before the first attempt.
    pub delay: u64,
    /// Attempts before it counts as dead.
    pub attempts: u32,
    /// Options by name, as text, all of them known.
    pub options: BTreeMap<&'static str, String>,
    /// Make again what is there already.
    pub force: bool,
}

impl Job {
    /// A job with nothing but what it needs.
    pub fn new(task: Task, input: &str, to: &str) -> Self {
        Self {
            task,
            input: input.into(),
            to: to.into(),
            id: None,
            title: None,
            priority: 0,
            tenant: String::new(),
            key: None,
            labels: BTreeSet::new(),
            delay: 0,
            attempts: ATTEMPTS,
            options: BTreeMap::new(),
            force: false,
        }
    }

    /// Reads a job that somebody else wrote.
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        if text.len() > LONGEST {
            return Err(wrong(&format!("it has {} bytes, more than {LONGEST}", text.len())));
        }
        let value: Value = serde_json::from_slice(text).map_err(|error| wrong(&format!("not valid JSON: {error}")))?;
        Self::from_value(&value)
    }

    /// Reads a job from JSON that is parsed already.
    pub fn from_value(value: &Value) -> Result<Self, Failure> {
        let map = value.as_object().ok_or_else(|| wrong("it is not an object"))?;
        let read = Members { map };
        read.known(MEMBERS, "")?;
        if read.whole("v", 1, 1)?.is_none() {
            return Err(wrong("`v` is missing; this version reads 1"));
        }
        let kind = read.text("kind", 32)?.ok_or_else(|| wrong("`kind` is missing"))?;
        let task = Task::ALL.iter().copied().find(|task| task.name() == kind).ok_or_else(|| {
            let known: Vec<_> = Task::ALL.iter().filter(|task| **task != Task::Chunk).map(|task| task.name()).collect();
            wrong(&format!("there is no kind `{}`; kinds: {}", kind.escape_debug(), known.join(", ")))
        })?;
        let (options, force) = options(task, map.get("options"))?;
        let job = Self {
            task,
            input: read.text("input", 4096)?.ok_or_else(|| wrong("`input` is missing"))?,
            to: read.text("to", 1024)?.ok_or_else(|| wrong("`to` is missing"))?,
            id: read.text("id", id::LONGEST)?,
            title: read.text("title", 500)?,
            priority: narrow(read.whole("priority", -9, 9)?.unwrap_or(0)),
            tenant: read.text("tenant", 64)?.unwrap_or_default(),
            key: read.text("key", 128)?,
            labels: labels(map.get("labels"))?,
            delay: read.whole("delay", 0, 30 * 86_400)?.unwrap_or(0).unsigned_abs(),
            attempts: narrow(read.whole("attempts", 1, 20)?.unwrap_or(i64::from(ATTEMPTS))).unsigned_abs(),
            options,
            force,
        };
        job.check()?;
        Ok(job)
    }

    /// What the types cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(id) = self.id.as_ref().filter(|id| !id::check(id)) {
            return Err(wrong(&format!("`{}` cannot be an id", id.escape_debug())));
        }
        if !self.tenant.is_empty() && !id::check(&self.tenant) {
            return Err(wrong("`tenant` must be letters, digits, `.`, `_` or `-`"));
        }
        for (name, text) in [("input", &self.input), ("to", &self.to)] {
            if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
                return Err(wrong(&format!("`{name}` is empty, begins with `-` or holds control characters")));
            }
        }
        for url in [&self.input, &self.to].into_iter().filter_map(|text| url::Url::parse(text).ok()) {
            if url.password().is_some() {
                return Err(wrong("a job must not hold a password")
                    .hint("name a storage of the worker's settings, which has the password"));
            }
        }
        self.check_chunk()
    }

    /// A chunk names its film, and nothing else has a label of ours.
    fn check_chunk(&self) -> Result<(), Failure> {
        let own = self.labels.iter().filter(|label| label.starts_with(OWN_LABEL)).count();
        if self.task != Task::Chunk {
            return if own == 0 { Ok(()) } else { Err(wrong(&format!("labels with `{OWN_LABEL}` are Forebay's own"))) };
        }
        let named = |option: &str, check: fn(&str) -> bool| self.options.get(option).is_some_and(|text| check(text));
        let whole = own == 1 && named("film", id::check) && named("generation", id::is_generation);
        if whole && self.id.is_some() && self.options.contains_key("chunk") {
            return Ok(());
        }
        Err(wrong("a chunk is submitted by the worker that leads its film, and by nobody else"))
    }

    /// The job, unless it is of a kind that only workers submit.
    pub fn from_outside(self) -> Result<Self, Failure> {
        match self.task {
            Task::Chunk => Err(wrong("a chunk is submitted by the worker that leads its film, and by nobody else")),
            _ => Ok(self),
        }
    }

    /// The list that an option holds; empty if it was not given.
    pub fn texts(&self, option: &str) -> Vec<String> {
        self.options.get(option).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The job as JSON, with nothing that is left at its default.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| drop(map.insert(name.into(), value));
        put("v", json!(1));
        put("kind", json!(self.task.name()));
        put("input", json!(self.input));
        put("to", json!(self.to));
        for (name, text) in [("id", &self.id), ("title", &self.title), ("key", &self.key)] {
            if let Some(text) = text {
                put(name, json!(text));
            }
        }
        for (name, number, usual) in [
            ("priority", i64::from(self.priority), 0),
            ("delay", i64::try_from(self.delay).unwrap_or(0), 0),
            ("attempts", i64::from(self.attempts), i64::from(ATTEMPTS)),
        ] {
            if number != usual {
                put(name, json!(number));
            }
        }
        if !self.tenant.is_empty() {
            put("tenant", json!(self.tenant));
        }
        if !self.labels.is_empty() {
            put("labels", json!(self.labels));
        }
        let options = self.options_value();
        if !options.is_empty() {
            put("options", Value::Object(options));
        }
        Value::Object(map)
    }

    fn options_value(&self) -> Map<String, Value> {
        let typed = |rule: &OptionRule, text: &str| match rule.kind {
            Kind::Text => json!(text),
            Kind::Switch => json!(text == "true"),
            Kind::Whole => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
            Kind::Texts => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        };
        let rules = self.task.options().iter();
        let given = rules.filter_map(|rule| Some((rule.name.to_owned(), typed(rule, self.options.get(rule.name)?))));
        let mut map: Map<String, Value> = given.collect();
        if self.force {
            map.insert("force".into(), json!(true));
        }
        map
    }

    /// By what a queue knows that two submissions are one job: the sender's own
    /// key, else a digest of all that shapes the result. `true` for the sender's own.
    pub fn identity(&self) -> (String, bool) {
        let mut hash = Sha256::new();
        let scope = if self.key.is_some() { "key" } else { self.task.name() };
        let parts = match &self.key {
            Some(key) => vec![key.clone()],
            None => vec![
                self.input.clone(),
                self.to.clone(),
                self.id.clone().unwrap_or_default(),
                Value::Object(self.options_value()).to_string(),
            ],
        };
        for part in [scope, &self.tenant].into_iter().chain(parts.iter().map(String::as_str)) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        (hex::encode(&hash.finalize()[..16]), self.key.is_some())
    }
}

/// The members of an object, read one by one.
struct Members<'a> {
    map: &'a Map<String, Value>,
}

impl Members<'_> {
    fn known(&self, known: &[&str], whose: &str) -> Result<(), Failure> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(odd) => {
                let odd: String = odd.chars().take(60).collect();
                Err(wrong(&format!("there is no `{whose}{}`; known: {}", odd.escape_debug(), known.join(", "))))
            }
            None => Ok(()),
        }
    }

    fn text(&self, name: &str, longest: usize) -> Result<Option<String>, Failure> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() > longest => {
                Err(wrong(&format!("`{name}` is longer than {longest} bytes")))
            }
            Some(Value::String(text)) if text.chars().any(char::is_control) => {
                Err(wrong(&format!("`{name}` holds control characters")))
            }
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(&format!("`{name}` must be text"))),
        }
    }

    fn whole(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Failure> {
        let Some(value) = self.map.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let number = value.as_i64().filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| wrong(&format!("`{name}` must be a whole number from {least} to {most}")))
    }
}

fn options(task: Task, value: Option<&Value>) -> Result<(BTreeMap<&'static str, String>, bool), Failure> {
    let empty = Map::new();
    let map = match value {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(map)) => map,
        Some(_) => return Err(wrong("`options` must be an object")),
    };
    let mut known: Vec<&str> = task.options().iter().map(|rule| rule.name).collect();
    known.push("force");
    let read = Members { map };
    read.known(&known, "options.")?;
    let mut options = BTreeMap::new();
    for rule in task.options() {
        let Some(value) = map.get(rule.name).filter(|value| !value.is_null()) else { continue };
        let text = match (rule.kind, value) {
            (Kind::Text, _) => read.text(rule.name, 1024)?,
            (Kind::Switch, Value::Bool(switch)) => Some(switch.to_string()),
            (Kind::Switch, _) => return Err(wrong(&format!("`options.{}` must be true or false", rule.name))),
            (Kind::Texts, value) => Some(texts(rule.name, value)?),
            (Kind::Whole, _) => read.whole(rule.name, 0, i64::from(u32::MAX))?.map(|number| number.to_string()),
        };
        options.extend(text.map(|text| (rule.name, text)));
    }
    let force = match map.get("force") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(force)) => *force,
        Some(_) => return Err(wrong("`options.force` must be true or false")),
    };
    Ok((options, force))
}

/// A list of texts, as JSON. Keys of objects may hold anything, so that nothing is refused but what is too long.
fn texts(name: &str, value: &Value) -> Result<String, Failure> {
    let list = value.as_array().filter(|list| list.len() <= MOST_TEXTS);
    let list = list.ok_or_else(|| wrong(&format!("`options.{name}` must be a list of at most {MOST_TEXTS} texts")))?;
    let right = |text: &Value| text.as_str().is_some_and(|text| (1..=LONGEST_TEXT).contains(&text.len()));
    if list.iter().all(right) {
        return Ok(value.to_string());
    }
    Err(wrong(&format!("`options.{name}` must hold texts of 1 to {LONGEST_TEXT} bytes")))
}

fn labels(value: Option<&Value>) -> Result<BTreeSet<String>, Failure> {
    let list = match value {
        None | Some(Value::Null) => return Ok(BTreeSet::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("`labels` must be a list")),
    };
    let names: Vec<String> = list.iter().filter_map(Value::as_str).map(String::from).collect();
    if names.len() != list.len() {
        return Err(wrong("`labels` must hold texts"));
    }
    label_set(names).map_err(|what| wrong(&what))
}

/// Labels that are checked: few, and plain names.
pub fn label_set(names: impl IntoIterator<Item = String>) -> Result<BTreeSet<String>, String> {
    let labels: BTreeSet<String> = names.into_iter().collect();
    let odd = labels.iter().find(|label| {
        label.len() > 32
            || label.is_empty()
            || !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    });
    if let Some(odd) = odd {
        return Err(format!("the label `{}` is not lower-case letters, digits and `-`", odd.escape_debug()));
    }
    if labels.len() > MOST_LABELS {
        return Err(format!("there are more than {MOST_LABELS} labels"));
    }
    Ok(labels)
}

/// A number that was checked to be small.
fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or_default()
}

fn wrong(what: &str) -> Failure {
    Failure::permanent(format!("this is no job: {what}")).hint("docs/queue.md says what a job looks like")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let failure = Job::parse(text.as_bytes()).unwrap_err();
        assert!(failure.what.contains(part), "{text}: {failure}");
    }

    const LEAST: &str = r#"{"v":1,"kind":"hls","input":"https://a/b.mp4","to":"cdn:videos"}"#;

    #[test]
    fn what_is_written_is_read_again() {
        let mut job = Job::parse(LEAST.as_bytes()).unwrap();
        assert_eq!(job, Job::new(Task::Hls, "https://a/b.mp4", "cdn:videos"));
        assert_eq!(job.to_value().to_string().len(), LEAST.len());
        job.priority = -3;
        job.labels = label_set(["gpu".into()]).unwrap();
        job.options.insert("ladder", "360p".into());
        job.options.insert("two-pass", "true".into());
        job.options.insert("rotate", "5".into());
        (job.force, job.delay, job.attempts, job.tenant) = (true, 9, 5, "ann".into());
        let mut moving = Job::new(Task::Migrate, "old:", "new:");
        moving.options.insert("keys", r#"["a","b\nc"]"#.into());
        assert_eq!(Job::from_value(&moving.to_value()).unwrap(), moving);
        assert_eq!((moving.texts("keys"), moving.texts("include")), (vec!["a".to_owned(), "b\nc".into()], vec![]));
        (job.id, job.key, job.title) = (Some("x".into()), Some("k".into()), Some("A film".into()));
        assert_eq!(Job::from_value(&job.to_value()).unwrap(), job);
    }

    #[test]
    fn hostile_jobs_are_refused() {
        let with = |member: &str| format!("{},{member}}}", LEAST.trim_end_matches('}'));
        for (text, part) in [
            ("{", "not valid JSON"),
            ("[]", "not an object"),
            ("{}", "`v` is missing"),
            (r#"{"v":2}"#, "`v`"),
            (r#"{"v":1,"kind":"rm","input":"a","to":"b"}"#, "no kind `rm`"),
            (&with(r#""shell":"x""#), "no `shell`"),
            (&with(r#""id":"../up""#), "cannot be an id"),
            (&with(r#""priority":99"#), "from -9 to 9"),
            (&with(r#""priority":1.5"#), "from -9 to 9"),
            (&with(r#""options":{"scratch":"/"}"#), "no `options.scratch`"),
            (&with(r#""options":{"two-pass":"yes"}"#), "true or false"),
            (&with(r#""options":{"max-size":"1MB"}"#), "no `options.max-size`"),
            (r#"{"v":1,"kind":"migrate","input":"a:","to":"b:","options":{"keys":"x"}}"#, "must be a list"),
            (r#"{"v":1,"kind":"migrate","input":"a:","to":"b:","options":{"keys":[""]}}"#, "must hold texts"),
            (r#"{"v":1,"kind":"migrate","input":"a:","to":"b:","options":{"catalog":"x"}}"#, "no `options.catalog`"),
            (&with(r#""labels":["../x"]"#), "the label"),
            (&with(r#""labels":["a","b","c","d","e","f","g"]"#), "more than 6"),
            (&with(r#""title":"a\u0000b""#), "control"),
            (&with(r#""tenant":"a b""#), "`tenant`"),
            (r#"{"v":1,"kind":"hls","input":"--exec","to":"b"}"#, "begins with `-`"),
            (r#"{"v":1,"kind":"hls","input":"a","to":"s3://k:pw@h/b"}"#, "password"),
            (&with(&format!(r#""title":"{}""#, "x".repeat(70_000))), "more than"),
        ] {
            refused(text, part);
        }
    }

    #[test]
    fn the_same_wish_is_the_same_job() {
        let (one, mut two) = (Job::parse(LEAST.as_bytes()).unwrap(), Job::parse(LEAST.as_bytes()).unwrap());
        two.priority = 5;
        assert_eq!(one.identity(), two.identity());
        two.options.insert("ladder", "360p".into());
        assert_ne!(one.identity(), two.identity());
        two.key = Some("k".into());
        let mut three = one.clone();
        three.key = Some("k".into());
        assert_eq!(two.identity(), three.identity());
        three.tenant = "other".into();
        assert_ne!(two.identity(), three.identity());
    }
}
