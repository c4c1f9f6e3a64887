//! Webhooks: who is told of jobs that are over, and the outbox of what is to be
//! told, after the Standard Webhooks specification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde::Serialize;
use serde_json::json;
use sha2::Sha256;
use sqlx::{Row as _, SqliteConnection};

use super::index::Entry;
use super::store::{Store, failure, random};
use crate::model::failure::Failure;
use crate::model::secret::Secret;
use crate::queue::State;

/// Webhooks there may be.
const MOST: i64 = 50;

/// Seconds before each further try: a day in all.
const WAITS: [i64; 12] = [5, 30, 120, 300, 900, 1800, 3600, 7200, 10_800, 14_400, 18_000, 30_000];

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Its number.
    pub id: String,
    /// Where to.
    pub url: String,
    /// When it was added, in milliseconds since 1970.
    pub created: i64,
    /// Why it is told no more.
    pub disabled: Option<String>,
    /// Messages that wait for it.
    pub waiting: i64,
    /// Messages that it never took.
    pub failed: i64,
    /// How the last try to tell it went wrong; empty if it did not.
    pub last: Option<String>,
}

/// A message to one webhook.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) webhook: String,
    pub(super) url: String,
    pub(super) secret: Secret,
    pub(super) body: String,
    pub(super) tries: i64,
}

/// How a try to deliver a letter ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It was taken.
    Taken,
    /// It was not; worth another try.
    Failed(String),
    /// The address wants no more letters.
    Gone,
}

/// Which messages to send again.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Only to this webhook.
    pub webhook: Option<String>,
    /// Only those made after this, in milliseconds since 1970.
    pub since: i64,
    /// Only those that were never taken.
    pub failed: bool,
}

impl Store {
    /// Adds a webhook, and gives its number and the secret that its messages are signed with.
    pub async fn add_webhook(&self, url: &str, now: i64) -> Result<(String, String), Failure> {
        let url = check_url(url)?;
        let rows = sqlx::query("SELECT count(*) FROM webhook").fetch_one(self.pool()).await.map_err(failure)?;
        if rows.get::<i64, _>(0) >= MOST {
            return Err(Failure::permanent(format!("there are {MOST} webhooks already")).hint("remove one first"));
        }
        let (id, secret) = (hex::encode(random(6)?), random(32)?);
        sqlx::query("INSERT INTO webhook VALUES (?, ?, ?, ?, NULL)")
            .bind(&id)
            .bind(url)
            .bind(&secret)
            .bind(now)
            .execute(self.pool())
            .await
            .map_err(failure)?;
        Ok((id, format!("whsec_{}", STANDARD.encode(secret))))
    }

    /// All webhooks, the oldest first.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, Failure> {
        let query = "SELECT id, url, created, disabled,
                (SELECT count(*) FROM message WHERE webhook = webhook.id AND due IS NOT NULL),
                (SELECT count(*) FROM message WHERE webhook = webhook.id AND due IS NULL AND sent IS NULL),
                (SELECT answer FROM message WHERE webhook = webhook.id AND tries > 0 ORDER BY created DESC LIMIT 1)
            FROM webhook ORDER BY created, id";
        let rows = sqlx::query(query).fetch_all(self.pool()).await.map_err(failure)?;
        let webhook = |row: &sqlx::sqlite::SqliteRow| Webhook {
            id: row.get(0),
            url: row.get(1),
            created: row.get(2),
            disabled: row.get(3),
            waiting: row.get(4),
            failed: row.get(5),
            last: row.get(6),
        };
        Ok(rows.iter().map(webhook).collect())
    }

    /// Removes a webhook and its messages. Says whether there was one.
    pub async fn remove_webhook(&self, id: &str) -> Result<bool, Failure> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(failure)?;
        sqlx::query("DELETE FROM message WHERE webhook = ?").bind(id).execute(&mut *change).await.map_err(failure)?;
        let query = "DELETE FROM webhook WHERE id = ?";
        let done = sqlx::query(query).bind(id).execute(&mut *change).await.map_err(failure)?;
        change.commit().await.map_err(failure)?;
        Ok(done.rows_affected() > 0)
    }

    /// Makes messages due again, and gives how many. Their ids stay, so who has one already knows.
    pub async fn replay(&self, replay: &Replay, now: i64) -> Result<u64, Failure> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(failure)?;
        let webhook = replay.webhook.clone().unwrap_or_default();
        sqlx::query("UPDATE webhook SET disabled = NULL WHERE ? = '' OR id = ?")
            .bind(&webhook)
            .bind(&webhook)
            .execute(&mut *change)
            .await
            .map_err(failure)?;
        let query = "UPDATE message SET due = ?, tries = 0, sent = NULL
            WHERE created >= ? AND (? = '' OR webhook = ?) AND (NOT ? OR sent IS NULL)";
        let done = sqlx::query(query)
            .bind(now)
            .bind(replay.since)
            .bind(&webhook)
            .bind(&webhook)
            .bind(replay.failed)
            .execute(&mut *change)
            .await
            .map_err(failure)?;
        change.commit().await.map_err(failure)?;
        Ok(done.rows_affected())
    }

    /// Letters that are due, the first `each` of every webhook, so that one that hangs keeps no other waiting.
    pub(super) async fn due_letters(&self, now: i64, each: u32) -> Result<Vec<Letter>, Failure> {
        let query = "SELECT message.id, webhook.id, url, secret, body, tries FROM webhook JOIN
            (SELECT *, row_number() OVER (PARTITION BY webhook ORDER BY due, id) AS place FROM message WHERE due <= ?)
                AS message ON message.webhook = webhook.id
            WHERE disabled IS NULL AND place <= ? ORDER BY place, due";
        let rows = sqlx::query(query).bind(now).bind(each).fetch_all(self.pool()).await.map_err(failure)?;
        let letter = |row: &sqlx::sqlite::SqliteRow| Letter {
            id: row.get(0),
            webhook: row.get(1),
            url: row.get(2),
            secret: Secret::new(row.get(3)),
            body: row.get(4),
            tries: row.get(5),
        };
        Ok(rows.iter().map(letter).collect())
    }

    /// Notes how a try ended, and when the next one is.
    pub(super) async fn delivered(&self, letter: &Letter, delivery: &Delivery, now: i64) -> Result<(), Failure> {
        let (due, sent, answer) = match delivery {
            Delivery::Taken => (None, Some(now), String::new()),
            Delivery::Gone => (None, None, "the address is gone (410)".to_owned()),
            Delivery::Failed(why) => (next_try(letter.tries).map(|wait| now + wait * 1000), None, why.clone()),
        };
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(failure)?;
        sqlx::query("UPDATE message SET due = ?, sent = ?, answer = ?, tries = tries + 1 WHERE id = ? AND webhook = ?")
            .bind(due)
            .bind(sent)
            .bind(&answer)
            .bind(&letter.id)
            .bind(&letter.webhook)
            .execute(&mut *change)
            .await
            .map_err(failure)?;
        let gave_up = due.is_none() && sent.is_none();
        if gave_up {
            sqlx::query("UPDATE webhook SET disabled = ? WHERE id = ?")
                .bind(format!("since {now}: {answer}"))
                .bind(&letter.webhook)
                .execute(&mut *change)
                .await
                .map_err(failure)?;
        }
        change.commit().await.map_err(failure)
    }

    /// Forgets messages that were made before `limit` and wait no more.
    pub(super) async fn forget_messages_before(&self, limit: i64) -> Result<(), Failure> {
        let query = "DELETE FROM message WHERE created < ? AND due IS NULL";
        sqlx::query(query).bind(limit).execute(self.pool()).await.map_err(failure)?;
        Ok(())
    }
}

/// Puts a message about a job that is over into the outbox of every webhook.
pub(super) async fn announce(change: &mut SqliteConnection, entry: &Entry, now: i64) -> Result<(), sqlx::Error> {
    let kind = match entry.state {
        State::Done => "job.done",
        State::Dead => "job.failed",
        _ => "job.cancelled",
    };
    // The same end of the same job has the same number, however often it is read.
    let id = format!("msg_{}_{}", entry.id, entry.version);
    let timestamp = jiff::Timestamp::from_millisecond(now).map(|time| time.to_string()).unwrap_or_default();
    let body = json!({ "type": kind, "timestamp": timestamp, "data": entry.summary }).to_string();
    sqlx::query(
        "INSERT OR IGNORE INTO message (id, webhook, body, created, due)
            SELECT ?, id, ?, ?, ? FROM webhook",
    )
    .bind(id)
    .bind(body)
    .bind(now)
    .bind(now)
    .execute(change)
    .await?;
    Ok(())
}

/// Seconds until the next try after so many; nothing if it is given up.
fn next_try(tries: i64) -> Option<i64> {
    WAITS.get(usize::try_from(tries).ok()?).copied()
}

/// The signature of a message: `v1,` and the code in base64.
pub(super) fn signature(secret: &Secret, id: &str, timestamp: i64, body: &str) -> String {
    let mut code = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    code.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(code.finalize().into_bytes()))
}

/// A URL that messages can be sent to, as it is kept.
pub(super) fn check_url(text: &str) -> Result<String, Failure> {
    let wrong = |what: &str| Failure::permanent(format!("the webhook's URL {what}"));
    let url = url::Url::parse(text).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() || text.len() > 2048 {
        return Err(wrong("is too long, or holds a password"));
    }
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_signed_as_the_specification_shows() {
        // The example of the specification's reference libraries.
        let secret = Secret::new(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_message_is_tried_for_a_day() {
        let all: i64 = (0..).map_while(next_try).sum();
        assert!((86_400..100_000).contains(&all), "{all}");
    }

    fn ended(version: u64, state: State, ended: Option<i64>) -> Entry {
        Entry { id: "j".into(), version, state, submitted: 1, ended, summary: json!({ "id": "j" }) }
    }

    #[tokio::test]
    async fn each_webhook_has_its_own_letters_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        for url in ["https://a.example/", "https://b.example/"] {
            store.add_webhook(url, 0).await.unwrap();
        }
        for version in 1..20 {
            let id = format!("j{version}");
            store.take_in(&[Entry { id, ..ended(version, State::Done, Some(5)) }], "q", 5).await.unwrap();
        }
        let letters = store.due_letters(9, 3).await.unwrap();
        let of = |url: &str| letters.iter().filter(|letter| letter.url == url).count();
        assert_eq!((of("https://a.example/"), of("https://b.example/")), (3, 3));
    }

    #[tokio::test]
    async fn a_job_that_ends_again_between_two_looks_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        store.add_webhook("https://a.example/", 0).await.unwrap();
        for (version, at, told) in [(1, 5, 1), (2, 5, 1), (5, 8, 2)] {
            store.take_in(&[ended(version, State::Dead, Some(at))], "q", 5).await.unwrap();
            assert_eq!(store.due_letters(9, 9).await.unwrap().len(), told, "version {version}");
        }
    }

    #[tokio::test]
    async fn a_job_that_is_over_is_told_once_and_can_be_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        assert!(store.add_webhook("file:///etc/passwd", 0).await.is_err());
        let (hook, secret) = store.add_webhook("https://site.example/hook", 0).await.unwrap();
        assert!(secret.starts_with("whsec_"));
        let entry = |version, state| Entry {
            id: "j".into(),
            version,
            state,
            submitted: 0,
            ended: None,
            summary: json!({ "id": "j" }),
        };
        store.take_in(&[entry(1, State::Running)], "q", 5).await.unwrap();
        assert!(store.due_letters(9, 9).await.unwrap().is_empty());
        store.take_in(&[entry(2, State::Done)], "q", 5).await.unwrap();
        store.take_in(&[entry(2, State::Done)], "q", 6).await.unwrap();
        let letters = store.due_letters(9, 9).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert!(letters[0].body.contains("\"type\":\"job.done\""), "{}", letters[0].body);
        store.delivered(&letters[0], &Delivery::Failed("503".into()), 10).await.unwrap();
        assert!(store.due_letters(5009, 9).await.unwrap().is_empty(), "not before its time");
        store.delivered(&store.due_letters(5010, 9).await.unwrap()[0], &Delivery::Taken, 5010).await.unwrap();
        assert!(store.due_letters(i64::MAX, 9).await.unwrap().is_empty());
        assert_eq!(store.replay(&Replay { failed: true, ..Replay::default() }, 7000).await.unwrap(), 0);
        assert_eq!(store.replay(&Replay { webhook: Some(hook.clone()), ..Replay::default() }, 7000).await.unwrap(), 1);
        let again = store.due_letters(7000, 9).await.unwrap();
        assert_eq!(again[0].id, letters[0].id);
        store.delivered(&again[0], &Delivery::Gone, 7001).await.unwrap();
        let known = store.webhooks().await.unwrap();
        assert!(known[0].disabled.is_some() && known[0].failed == 1);
        assert!(store.remove_webhook(&hook).await.unwrap() && store.webhooks().await.unwrap().is_empty());
    }
}
