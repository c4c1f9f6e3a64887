//! Addresses of places: `s3://bucket/prefix`, `archive:prefix`, or a folder.

use std::path::PathBuf;

use super::options::{Environment, Fields};
use crate::model::failure::Failure;
use crate::model::id;

/// Kinds of places and what stands before their `://`.
const KINDS: &[(&str, &str)] = &[
    ("s3", "s3"),
    ("swift", "swift"),
    ("gs", "gs"),
    ("az", "az"),
    ("webdav", "webdav"),
    ("webdavs", "webdav"),
    ("sftp", "sftp"),
];

/// Whether a text begins as the address of a kind of place does.
pub(super) fn has_kind(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| KINDS.iter().any(|(known, _)| *known == scheme))
}

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A place that is described by the address, and a prefix in it.
    Place(Fields, String),
    /// A place of the settings, and a prefix in it.
    Named(String, String),
}

/// Takes an address apart. `is_named` knows the places of the settings.
pub(super) fn parse(text: &str, is_named: impl Fn(&str) -> bool) -> Result<Address, Failure> {
    if text.is_empty() {
        return Err(
            Failure::permanent("the address of a place is empty").hint("give a folder, or `s3://bucket/prefix`")
        );
    }
    if text.contains(['\0', '\n', '\r']) {
        return Err(Failure::permanent(format!("`{}` is no address of a place", text.escape_debug())));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return url(scheme, rest);
    }
    match text.split_once(':') {
        Some((name, prefix)) if is_named(name) => Ok(Address::Named(name.into(), prefix.into())),
        Some((name, _)) if id::check(name) && !std::path::Path::new(text).exists() => {
            Err(Failure::permanent(format!("there is no storage `{name}` in the settings")).hint(format!(
                "describe it as [storage.{name}.s3] or another kind, or write ./{text} for a folder of that name"
            )))
        }
        _ => Ok(Address::Folder(text.into())),
    }
}

fn url(scheme: &str, rest: &str) -> Result<Address, Failure> {
    let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == scheme) else {
        let known: Vec<String> = KINDS.iter().map(|(scheme, _)| format!("{scheme}://")).collect();
        return Err(Failure::permanent(format!("`{}://` is no kind of storage", scheme.escape_debug()))
            .hint(format!("give a folder, or one of {}", known.join(", "))));
    };
    let mut fields = Fields::new(kind);
    let (first, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    match *kind {
        "s3" | "gs" => fields.set("bucket", first),
        "swift" | "az" => fields.set("container", first),
        "sftp" => {
            let (user, host) = first.rsplit_once('@').unwrap_or(("", first));
            refuse_password(if user.contains([':', '@']) { first } else { host })?;
            let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
            for (field, value) in [("user", user), ("host", host), ("port", port)] {
                fields.set(field, value);
            }
        }
        _ => {
            refuse_password(first)?;
            let secure = if scheme == "webdavs" { "https" } else { "http" };
            fields.set("url", &format!("{secure}://{first}"));
        }
    }
    Ok(Address::Place(fields, prefix.into()))
}

/// Arguments are seen by every user of a machine.
fn refuse_password(authority: &str) -> Result<(), Failure> {
    if authority.contains('@') {
        return Err(Failure::permanent("the address of a storage holds a user or a password")
            .hint("put them in the settings or in the environment: see docs/stores.md"));
    }
    Ok(())
}

/// Fills what the settings leave open from the usual variables.
pub(super) fn fill(fields: &mut Fields, environment: Environment<'_>) {
    let usual: &[(&str, &[&str])] = match fields.kind() {
        "s3" => &[
            ("endpoint", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            ("region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
        ],
        // One cloud's user is of no use at another one.
        "swift" if fields.get("auth-url").is_some() || fields.get("storage-url").is_some() => &[],
        "swift" => &[
            ("token", &["OS_AUTH_TOKEN"]),
            ("storage-url", &["OS_STORAGE_URL"]),
            ("auth-url", &["OS_AUTH_URL", "ST_AUTH"]),
            ("user", &["OS_USERNAME", "ST_USER"]),
            ("password", &["OS_PASSWORD", "ST_KEY"]),
            ("project", &["OS_PROJECT_NAME", "OS_TENANT_NAME"]),
            ("project-id", &["OS_PROJECT_ID", "OS_TENANT_ID"]),
            ("user-domain", &["OS_USER_DOMAIN_NAME"]),
            ("user-domain-id", &["OS_USER_DOMAIN_ID"]),
            ("project-domain", &["OS_PROJECT_DOMAIN_NAME"]),
            ("project-domain-id", &["OS_PROJECT_DOMAIN_ID"]),
            ("application-credential-id", &["OS_APPLICATION_CREDENTIAL_ID"]),
            ("application-credential-secret", &["OS_APPLICATION_CREDENTIAL_SECRET"]),
            ("region", &["OS_REGION_NAME"]),
            ("interface", &["OS_INTERFACE"]),
        ],
        "sftp" => &[
            ("user", &["SFTP_USER", "USER", "LOGNAME"]),
            ("password", &["SFTP_PASSWORD"]),
            ("key-file", &["SFTP_KEY_FILE"]),
            ("passphrase", &["SFTP_PASSPHRASE"]),
            ("home", &["HOME"]),
        ],
        // One account's key is of no use at another one.
        "az" if fields.get("account").is_some() || fields.get("endpoint").is_some() => &[],
        "az" => &[
            ("connection-string", &["AZURE_STORAGE_CONNECTION_STRING"]),
            ("account", &["AZURE_STORAGE_ACCOUNT"]),
            ("key", &["AZURE_STORAGE_KEY"]),
            ("sas", &["AZURE_STORAGE_SAS_TOKEN"]),
        ],
        "webdav" => &[("user", &["WEBDAV_USER"]), ("password", &["WEBDAV_PASSWORD"]), ("token", &["WEBDAV_TOKEN"])],
        _ => &[],
    };
    for (field, variables) in usual {
        fields.default_from(field, environment, variables);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> (Fields, String) {
        match parse(text, |_| false).unwrap() {
            Address::Place(fields, prefix) => (fields, prefix),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let (fields, prefix) = place("s3://films/a b?/%41");
        assert_eq!((fields.kind(), fields.get("bucket"), prefix.as_str()), ("s3", Some("films"), "a b?/%41"));
        let (fields, prefix) = place("sftp://ann@h:2222/srv/films");
        let of = |name| fields.get(name);
        assert_eq!(
            (of("user"), of("host"), of("port"), prefix.as_str()),
            (Some("ann"), Some("h"), Some("2222"), "srv/films")
        );
        assert_eq!(place("webdavs://h:8443/d").0.get("url"), Some("https://h:8443"));
        assert_eq!(parse("cdn:x/y", |name| name == "cdn").unwrap(), Address::Named("cdn".into(), "x/y".into()));
        assert_eq!(parse("./cdn:x", |_| false).unwrap(), Address::Folder("./cdn:x".into()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "ftp://x", "cdn:x", "webdav://ann:pw@h/", "sftp://ann:pw@h/", "a\nb"] {
            assert!(parse(text, |_| false).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_environment_fills_what_is_left_open() {
        let environment = |name: &str| (name == "OS_USERNAME").then(|| "ann".to_owned());
        let mut fields = Fields::new("swift");
        fill(&mut fields, &environment);
        assert_eq!(fields.get("user"), Some("ann"));
        let mut other = Fields::new("swift");
        other.set("auth-url", "https://elsewhere/v3");
        fill(&mut other, &environment);
        assert_eq!(other.get("user"), None);
    }
}
