//! A queue in Redis: hashes, sorted sets, and a script for every verb.
//!
//! A script is atomic, so a job is never between two places. Every write to a
//! claimed job compares the token of its lease first; `XACK` and `LREM` compare
//! nothing. It needs one Redis, or a primary with replicas: keys are built in scripts.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, Script};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    Abilities, Asker, Claim, Counts, End, Entry, Filter, Progress, Queue, QueueError, Record, State, Submitted, clock,
    label_key, label_keys, random, word,
};
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::job::{Job, OWN_LABEL};
use crate::model::secret::masked_url;

/// The prefix of every key.
const PREFIX: &str = "forebay:";

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Longest wait for an answer. A script that moves a whole inbox takes a moment.
const ANSWER: Duration = Duration::from_secs(5);

/// The queue in Redis.
pub struct Redis {
    client: Client,
    shown: String,
    keep: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
    scripts: Scripts,
}

struct Scripts {
    submit: Script,
    twin: Script,
    claim: Script,
    renew: Script,
    settle: Script,
    cancel: Script,
    revive: Script,
    list: Script,
    counts: Script,
}

/// A script with what all of them share before it.
macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("prelude.lua"), include_str!($file)))
    };
}

impl Redis {
    /// The queue at `url`, to which a connection is made with the first verb.
    pub fn open(url: &str, keep: Duration) -> Result<Self, Failure> {
        let bad = |why: String| Failure::permanent(format!("the address of the queue is wrong: {why}"));
        let parsed = url::Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let client = Client::open(url).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            client,
            shown: masked_url(&parsed),
            keep,
            connection: Mutex::new(None),
            scripts: Scripts {
                submit: script!("submit.lua"),
                twin: script!("twin.lua"),
                claim: script!("claim.lua"),
                renew: script!("renew.lua"),
                settle: script!("settle.lua"),
                cancel: script!("cancel.lua"),
                revive: script!("revive.lua"),
                list: script!("list.lua"),
                counts: script!("counts.lua"),
            },
        })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, QueueError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref() {
            return Ok(connection.clone());
        }
        // The usual limit of half a second is passed by any busy server.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = made.map_err(|error| self.unreachable(&error))?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    fn unreachable(&self, error: &RedisError) -> QueueError {
        QueueError::Unreachable { queue: self.shown.clone(), why: error.to_string() }
    }

    async fn once<T: FromRedisValue>(&self, script: &Script, arguments: &[String]) -> Result<T, QueueError> {
        let mut connection = self.connection().await?;
        let mut call = script.prepare_invoke();
        call.key(PREFIX);
        for argument in arguments {
            call.arg(argument);
        }
        match call.invoke_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                // Whatever is wrong with it, a new one is as good or better.
                *self.connection.lock().await = None;
                Err(self.unreachable(&error))
            }
        }
    }

    /// For what may be done twice: a connection that was idle may have died unseen.
    async fn twice<T: FromRedisValue>(&self, script: &Script, arguments: &[String]) -> Result<T, QueueError> {
        match self.once(script, arguments).await {
            Err(_) => self.once(script, arguments).await,
            answer => answer,
        }
    }

    async fn records(&self, arguments: &[String; 6]) -> Result<Vec<Record>, QueueError> {
        let texts: Vec<Vec<u8>> = self.twice(&self.scripts.list, arguments).await?;
        let read = |text: &Vec<u8>| serde_json::from_str(&String::from_utf8_lossy(text)).ok().map(|map| record(&map));
        Ok(texts.iter().filter_map(read).collect())
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, QueueError> {
        let mut connection = self.connection().await?;
        let asked = redis::cmd("CONFIG").arg("GET").arg(name).query_async::<Vec<String>>(&mut connection).await;
        // Hosted servers do not tell.
        Ok(asked.ok().and_then(|answer| answer.into_iter().nth(1)))
    }

    /// Says so if jobs that other programs put into `name` are not seen, as it is not what it should be.
    async fn misplaced(&self, name: &str, wanted: &str) -> Result<Option<String>, QueueError> {
        let mut connection = self.connection().await?;
        let key = format!("{PREFIX}{name}");
        let asked = redis::cmd("TYPE").arg(&key).query_async::<String>(&mut connection).await;
        let kind = asked.map_err(|error| self.unreachable(&error))?;
        let wrong = kind != wanted && kind != "none";
        Ok(wrong
            .then(|| format!("`{key}` in this Redis is a {kind} and no {wanted}: jobs there are not taken; delete it")))
    }
}

#[async_trait]
impl Queue for Redis {
    async fn submit(&self, job: &Job) -> Result<Submitted, QueueError> {
        let arguments = [
            job.to_value().to_string(),
            identity(job),
            u8::from(job.key.is_some()).to_string(),
            label_key(&job.labels),
            job.priority.to_string(),
            job.tenant.clone(),
            job.attempts.to_string(),
            (job.delay * 1000).to_string(),
            random(16)?,
        ];
        let (id, new): (String, bool) = self.twice(&self.scripts.submit, &arguments).await?;
        Ok(Submitted { id, new })
    }

    async fn twin(&self, job: &Job) -> Result<Option<String>, QueueError> {
        self.twice(&self.scripts.twin, &[identity(job), u8::from(job.key.is_some()).to_string()]).await
    }

    async fn claim(&self, asker: &Asker, lease: Duration) -> Result<Option<Claim>, QueueError> {
        let token = random(16)?;
        let counted = u8::from(!fault::mutant("no-attempts"));
        let mut arguments = vec![
            asker.worker.clone(),
            token.clone(),
            clock::millis(lease).to_string(),
            clock::millis(self.keep).to_string(),
            random(16)?,
            counted.to_string(),
        ];
        arguments.extend(label_keys(asker));
        let claimed: Option<(String, Vec<u8>, u32, u32)> = self.once(&self.scripts.claim, &arguments).await?;
        Ok(claimed.map(|(id, text, attempt, misses)| {
            let text = String::from_utf8_lossy(&text).into_owned();
            Claim { id, text, attempt, misses, worker: asker.worker.clone(), token }
        }))
    }

    async fn renew(&self, claim: &Claim, lease: Duration, progress: Option<&Progress>) -> Result<bool, QueueError> {
        let progress = progress.map(|progress| serde_json::to_string(progress).unwrap_or_default());
        let arguments =
            [claim.id.clone(), claim.token.clone(), clock::millis(lease).to_string(), progress.unwrap_or_default()];
        match self.twice::<i64>(&self.scripts.renew, &arguments).await? {
            -1 => Err(QueueError::Lost { id: claim.id.clone() }),
            cancel => Ok(cancel == 1),
        }
    }

    async fn settle(&self, claim: &Claim, end: &End) -> Result<State, QueueError> {
        let (name, wait, miss) = match end {
            End::Done(_) => ("done", Duration::ZERO, false),
            End::Retry { wait, .. } => ("retry", *wait, false),
            End::Dead { .. } => ("dead", Duration::ZERO, false),
            End::Released { wait, miss, .. } => ("release", *wait, *miss),
            End::Cancelled => ("cancelled", Duration::ZERO, false),
        };
        let result = if let End::Done(result) = end { result.to_string() } else { String::new() };
        let token = if fault::mutant("no-owner") { "*".into() } else { claim.token.clone() };
        let arguments = [
            claim.id.clone(),
            token,
            name.into(),
            word(end),
            clock::millis(wait).to_string(),
            result,
            u8::from(miss).to_string(),
        ];
        let state: Option<String> = self.once(&self.scripts.settle, &arguments).await?;
        state.and_then(|state| State::named(&state)).ok_or_else(|| QueueError::Lost { id: claim.id.clone() })
    }

    async fn cancel(&self, id: &str) -> Result<Option<State>, QueueError> {
        let state: Option<String> = self.twice(&self.scripts.cancel, &[id.to_owned()]).await?;
        Ok(state.and_then(|state| State::named(&state)))
    }

    async fn revive(&self, id: &str) -> Result<Option<State>, QueueError> {
        let state: Option<String> = self.twice(&self.scripts.revive, &[id.to_owned()]).await?;
        Ok(state.and_then(|state| State::named(&state)))
    }

    async fn get(&self, id: &str) -> Result<Option<Record>, QueueError> {
        if id.is_empty() {
            return Ok(None);
        }
        let none = String::new;
        Ok(self.records(&[id.to_owned(), none(), none(), none(), none(), none()]).await?.pop())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Record>, QueueError> {
        let state = filter.state.map_or("", State::name).to_owned();
        let after = filter.after.map(|after| after.to_string()).unwrap_or_default();
        let chunks = if filter.chunks { String::new() } else { OWN_LABEL.into() };
        self.records(&[String::new(), state, after, filter.limit.to_string(), random(16)?, chunks]).await
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        let all: Vec<u64> = self.twice(&self.scripts.counts, &[random(16)?]).await?;
        let mut counts = Counts::default();
        for (state, count) in State::ALL.into_iter().zip(all) {
            *counts.of(state) = count;
        }
        Ok(counts)
    }

    async fn warnings(&self) -> Result<Vec<String>, QueueError> {
        let mut warnings = Vec::new();
        let fsync = "`appendfsync always` loses none";
        match (self.setting("appendonly").await?.as_deref(), self.setting("appendfsync").await?.as_deref()) {
            (Some("yes"), Some("always")) => {}
            (Some("yes"), Some(other)) => warnings.push(format!(
                "this Redis has `appendfsync {other}`: if its machine loses power, the last jobs may be lost; {fsync}"
            )),
            (Some(_), _) => warnings.push(format!(
                "this Redis has `appendonly no`: jobs are lost when it stops; set `appendonly yes`, and {fsync}"
            )),
            (None, _) => warnings.push(format!("this Redis does not tell whether it keeps jobs on disk; {fsync}")),
        }
        if let Some(policy) = self.setting("maxmemory-policy").await?.filter(|policy| policy != "noeviction") {
            warnings.push(format!("this Redis throws keys away when memory is short (`{policy}`): set `noeviction`"));
        }
        for (name, wanted) in [("inbox", "list"), ("jobs", "stream")] {
            warnings.extend(self.misplaced(name, wanted).await?);
        }
        Ok(warnings)
    }

    fn address(&self) -> String {
        self.shown.clone()
    }

    fn abilities(&self) -> Abilities {
        Abilities { once: true, fair: true, lists_waiting: true, remote: true }
    }
}

/// By what two submissions are one job: so written that scripts can make it of a stranger's job.
fn identity(job: &Job) -> String {
    match &job.key {
        Some(key) => format!("k:{}:{key}", job.tenant),
        None => format!("d:{}", job.identity().0),
    }
}

/// A record of the members that a script gives as texts.
fn record(map: &serde_json::Map<String, Value>) -> Record {
    let text = |name: &str| map.get(name).and_then(Value::as_str);
    let json = |name: &str| text(name).and_then(|text| serde_json::from_str(text).ok());
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
    let small = |name: &str| number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    // An empty list of Lua is an object in JSON.
    let log = map.get("log").and_then(Value::as_array).into_iter().flatten();
    let log = log.filter_map(Value::as_str).filter_map(|text| serde_json::from_str::<Entry>(text).ok());
    Record {
        id: text("id").unwrap_or_default().into(),
        job: json("text").unwrap_or(Value::Null),
        state: text("state").and_then(State::named).unwrap_or(State::Dead),
        attempt: small("attempt"),
        worker: text("worker").map(Into::into),
        submitted: number("submitted").unwrap_or(0),
        due: number("due").unwrap_or(0),
        started: number("started"),
        ended: number("ended"),
        progress: text("progress").and_then(|text| serde_json::from_str(text).ok()),
        result: json("result"),
        log: log.collect(),
        cancel: small("cancel") == 1,
        version: number("version").and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
    }
}
