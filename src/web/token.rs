//! Tokens: who may do what. The text is shown once, a digest is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sqlx::Row as _;
use subtle::ConstantTimeEq as _;

use super::store::{Store, failure, random};
use crate::model::failure::Failure;
use crate::model::id;
use crate::model::sha256::Sha256;

/// What a token begins with, so that people and scanners know one.
const PREFIX: &str = "fby_";

/// Longest name.
const LONGEST_NAME: usize = 32;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See jobs, fetch media and keys.
    Read,
    /// Upload and hand in jobs, cancel and retry them, let others play.
    Submit,
    /// All of it, and webhooks.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Submit, Self::Admin];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// The part of it that is no secret.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
}

impl Token {
    /// Whether it may do what needs `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&Scope::Admin) || self.scopes.contains(&scope)
    }
}

impl Store {
    /// Makes a token, and gives its text, which nobody can give again.
    pub async fn add_token(&self, name: &str, scopes: &[Scope], now: i64) -> Result<String, Failure> {
        if !id::check(name) || name.len() > LONGEST_NAME {
            return Err(Failure::permanent(format!("`{}` cannot be a token's name", name.escape_debug()))
                .hint("use up to 32 letters, digits, `.`, `_` and `-`"));
        }
        let (number, secret) = (hex::encode(random(4)?), URL_SAFE_NO_PAD.encode(random(32)?));
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let added = sqlx::query("INSERT OR IGNORE INTO token VALUES (?, ?, ?, ?, ?)")
            .bind(&number)
            .bind(name)
            .bind(scopes.join(" "))
            .bind(digest(&secret))
            .bind(now)
            .execute(self.pool())
            .await
            .map_err(failure)?;
        if added.rows_affected() == 0 {
            return Err(Failure::permanent(format!("there is a token called `{name}` already"))
                .hint("choose another name, or revoke that one first"));
        }
        Ok(format!("{PREFIX}{number}_{secret}"))
    }

    /// All tokens, the oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>, Failure> {
        let query = "SELECT id, name, scopes, created FROM token ORDER BY created, name";
        let rows = sqlx::query(query).fetch_all(self.pool()).await.map_err(failure)?;
        Ok(rows.iter().map(token).collect())
    }

    /// Removes the token of that name or id. Says whether there was one.
    pub async fn revoke_token(&self, name: &str) -> Result<bool, Failure> {
        let query = "DELETE FROM token WHERE name = ? OR id = ?";
        let done = sqlx::query(query).bind(name).bind(name).execute(self.pool()).await.map_err(failure)?;
        Ok(done.rows_affected() > 0)
    }

    /// Whether there is any token.
    pub async fn has_tokens(&self) -> Result<bool, Failure> {
        let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM token)").fetch_one(self.pool()).await.map_err(failure)?;
        Ok(row.get::<i64, _>(0) == 1)
    }

    /// The token whose text this is.
    pub(super) async fn token_of(&self, text: &str) -> Result<Option<Token>, Failure> {
        let Some((number, secret)) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else {
            return Ok(None);
        };
        let query = "SELECT id, name, scopes, created, digest FROM token WHERE id = ?";
        let row = sqlx::query(query).bind(number).fetch_optional(self.pool()).await.map_err(failure)?;
        let kept: Option<Vec<u8>> = row.as_ref().map(|row| row.get(4));
        // As much work for a number that does not exist.
        let same = digest(secret).ct_eq(&kept.unwrap_or_else(|| vec![0; 32]));
        Ok(row.as_ref().filter(|_| bool::from(same)).map(token))
    }

    /// The token with that id.
    pub(super) async fn token_with_id(&self, number: &str) -> Result<Option<Token>, Failure> {
        let query = "SELECT id, name, scopes, created FROM token WHERE id = ?";
        let row = sqlx::query(query).bind(number).fetch_optional(self.pool()).await.map_err(failure)?;
        Ok(row.as_ref().map(token))
    }
}

/// A digest suffices: nobody guesses 256 random bits.
fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

fn token(row: &sqlx::sqlite::SqliteRow) -> Token {
    let scopes: String = row.get(2);
    Token {
        id: row.get(0),
        name: row.get(1),
        scopes: scopes.split(' ').filter_map(Scope::named).collect(),
        created: row.get(3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_opens_what_its_scopes_say_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        assert!(!store.has_tokens().await.unwrap());
        let text = store.add_token("site", &[Scope::Submit], 5).await.unwrap();
        assert!(store.add_token("site", &[Scope::Read], 5).await.is_err(), "names are taken once");
        let token = store.token_of(&text).await.unwrap().unwrap();
        assert!(token.may(Scope::Submit) && !token.may(Scope::Read) && !token.may(Scope::Admin));
        let mut wrong = text.clone();
        wrong.replace_range(text.len() - 1.., if text.ends_with('A') { "B" } else { "A" });
        for bad in [wrong.as_str(), "", "fby_", "fby_00000000_x", "site"] {
            assert_eq!(store.token_of(bad).await.unwrap(), None, "{bad}");
        }
        let kept = std::fs::read(folder.path().join("serve.db-wal")).unwrap();
        let secret = text.rsplit_once('_').unwrap().1;
        assert!(!kept.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "only a digest is kept");
        assert!(store.revoke_token("site").await.unwrap());
        assert_eq!(store.token_of(&text).await.unwrap(), None);
    }
}
