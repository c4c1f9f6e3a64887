//! `forebay photos`, built from settings.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mail};
use crate::engine::stop::Stop;
use crate::job::photo::encode::Av1;
use crate::job::photo::input::{Found, Input, Place};
use crate::job::photo::run::run;
use crate::job::photo::shrink::Kit;
use crate::job::photo::{Context, Listener, Mailing, Summary};
use crate::job::share::Share;
use crate::mail::{self, Outbox, Server, Tls};
use crate::model::failure::{Class, Failure};
use crate::model::secret::Secret;
use crate::plan;
use crate::plan::photo::Format;
use crate::scratch::album::Album;
use crate::scratch::file::{self, Privacy};
use crate::scratch::lock::Lock;
use crate::tool::{avif, find};

/// The environment variable with the password of the mail server.
pub const PASSWORD_VARIABLE: &str = "FOREBAY_MAIL_PASSWORD";

/// Readers of a card: more make it slower.
const READERS: u64 = 2;

/// One run of `forebay photos`.
#[derive(Clone, Debug)]
pub struct PhotosRequest {
    /// Files, folders and addresses of stores.
    pub inputs: Vec<OsString>,
    /// Where pictures go.
    pub to: String,
    /// Whom they are mailed to; nobody if empty.
    pub mail: Vec<String>,
    /// Write messages into this folder instead of sending them.
    pub eml: Option<PathBuf>,
    /// The state folder, if the user chose one.
    pub state: Option<PathBuf>,
    /// Make thumbnails for a contact sheet.
    pub sheet: bool,
}

/// What a run will work on, before it does.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Pictures that were found.
    pub pictures: u64,
    /// Raw files that are left alone.
    pub raw: u64,
    /// Other files that are left alone.
    pub other: u64,
}

/// Runs `request` to its end. `begun` hears what was found.
pub async fn photos(
    config: &Config,
    request: PhotosRequest,
    begun: &(dyn Fn(Begun) + Sync),
    listener: Listener<'_>,
) -> Result<Summary, Failure> {
    let mut stop = Stop::on_signals(config.grace)
        .map_err(|error| Failure::environment(format!("signals cannot be caught: {error}")))?;
    let mailing = mailing(config, &request)?;
    let beside = Some(request.to.as_str()).filter(|to| config.stores.is_folder(to));
    let state = super::state_folder(request.state.as_deref(), beside).join("photos");
    super::make_folder(&state, "state")?;
    let taken =
        Lock::take(&state).map_err(|error| Failure::io(&format!("could not lock `{}`", state.display()), &error))?;
    let _lock = taken.ok_or_else(|| {
        Failure::environment(format!("another run is using the state folder `{}`", state.display()))
            .hint("wait for it, or give this one a state folder of its own with --state")
    })?;
    let found = find(config, &request).await?;
    begun(Begun { pictures: found.inputs.len() as u64, raw: found.raw, other: found.other });
    let unreadable = found.unreadable.len() as u64;
    let is_of_machine = |(_, failure): &&(String, Failure)| failure.class == Class::Environment;
    let of_machine = found.unreadable.iter().filter(is_of_machine).count() as u64;
    for (input, failure) in found.unreadable {
        listener(crate::job::photo::Said::Failed { input, failure });
    }
    let mut context =
        context(config, &request, &state, Share::alone(config.lanes.threads), (&stop.begin, &stop.now)).await?;
    context.mail = mailing;
    let mut running = std::pin::pin!(run(found.inputs, &context, listener));
    let summary = loop {
        tokio::select! {
            summary = &mut running => break summary,
            () = stop.step() => {}
        }
    };
    context.album.close().await;
    let mut summary = summary?;
    summary.failed += unreadable;
    summary.environment += of_machine;
    summary.stopped = stop.begin.is_cancelled() && summary.left + summary.unsent > 0;
    Ok(summary)
}

/// What a run that mails nothing works with. `stop` has what begins nothing new, and what ends everything.
pub(super) async fn context(
    config: &Config,
    request: &PhotosRequest,
    state: &Path,
    share: Share,
    stop: (&CancellationToken, &CancellationToken),
) -> Result<Context, Failure> {
    let store = config.stores.open(&request.to, Privacy::Public)?;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let scratch = state.join("scratch");
    Ok(Context {
        kit: Kit {
            settings: Arc::new(config.photos.clone()),
            sheet: request.sheet,
            av1: av1(config, &scratch, stop.1).await?,
        },
        album: Album::open(state, &store.address("")).await?,
        store,
        scratch,
        mail: None,
        readers: count(config.lanes.disk.get().min(READERS)),
        threads: count(config.lanes.threads.get()),
        share,
        writers: count(config.lanes.uploads.get()),
        // A run that gives up has not been stopped.
        stop: stop.0.child_token(),
        cancel: stop.1.clone(),
    })
}

/// What makes AVIF, if that is asked for: an ffmpeg that can.
async fn av1(config: &Config, scratch: &Path, cancel: &CancellationToken) -> Result<Option<Av1>, Failure> {
    if config.photos.format != Format::Avif {
        return Ok(None);
    }
    let ffmpeg = find::program("ffmpeg", &config.tools.ffmpeg).ok_or_else(|| {
        Failure::environment("there is no `ffmpeg` to make AVIF with").hint("install it (`apt-get install ffmpeg`)")
    })?;
    find::encoders(&ffmpeg, &[avif::ENCODER]).await?;
    let runtime = tokio::runtime::Handle::current();
    Ok(Some(Av1 { ffmpeg, folder: scratch.to_path_buf(), runtime, cancel: cancel.clone() }))
}

/// The pictures that are asked for.
pub(super) async fn find(config: &Config, request: &PhotosRequest) -> Result<Found, Failure> {
    let to = config.stores.is_folder(&request.to).then(|| file::real(Path::new(&request.to)));
    let mut found = Found::default();
    for input in &request.inputs {
        if let Some(store) = input.to_str().filter(|input| !config.stores.is_folder(input)) {
            found.add_store(&config.stores.open(store, Privacy::Private)?).await?;
            continue;
        }
        if to.as_deref().is_some_and(|to| file::real(Path::new(input)).starts_with(to)) {
            return Err(in_the_destination(input, &request.to));
        }
        found.add_path(Path::new(input))?;
    }
    // A destination inside of a source holds what an earlier run made.
    let ours = |input: &Input| match (&input.place, &to) {
        (Place::File(path), Some(to)) => file::real(path).starts_with(to),
        _ => false,
    };
    found.inputs.retain(|input| !ours(input));
    let mut seen = std::collections::HashSet::new();
    found.inputs.retain(|input| seen.insert(input.address()));
    Ok(found)
}

fn in_the_destination(input: &OsStr, to: &str) -> Failure {
    Failure::permanent(format!("`{}` lies in the destination `{to}`", input.display()))
        .hint("originals are never touched: give another folder with --to")
}

fn mailing(config: &Config, request: &PhotosRequest) -> Result<Option<Mailing>, Failure> {
    if request.mail.is_empty() {
        return Ok(None);
    }
    let mail = &config.mail;
    if mail.from.is_empty() {
        return Err(Failure::permanent("nobody is named as the sender of messages")
            .hint("set `mail.from` in the settings, or FOREBAY_MAIL__FROM"));
    }
    if let Some(wrong) = request.mail.iter().chain([&mail.from]).find(|address| !mail::is_address(address)) {
        return Err(Failure::permanent(format!("`{}` is no mail address", wrong.escape_debug()))
            .hint("recipients are given with --mail, the sender as `mail.from` in the settings"));
    }
    let largest = plan::mail::largest(mail.limit);
    if largest < config.photos.max_bytes {
        let what =
            format!("a picture of {} bytes does not fit into a message of {}", config.photos.max_bytes, mail.limit);
        return Err(Failure::permanent(what).hint(format!("give --max-size {largest}, or a higher --mail-limit")));
    }
    let outbox = match &request.eml {
        Some(folder) => Outbox::Folder(folder.clone()),
        None if mail.server.is_empty() => {
            return Err(Failure::permanent("there is no mail server in the settings")
                .hint("set `mail.server`, or write the messages into a folder with --eml"));
        }
        None => Outbox::Server(server(mail)?),
    };
    Ok(Some(Mailing { outbox, from: mail.from.clone(), to: request.mail.clone(), limit: mail.limit }))
}

fn server(mail: &Mail) -> Result<Server, Failure> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| Failure::io(&format!("could not read `{}`", path.display()), &error))
    };
    let login = if mail.user.is_empty() { None } else { Some((mail.user.clone(), password(mail)?)) };
    let tls = match mail.tls.as_str() {
        "implicit" => Tls::Implicit,
        "none" => Tls::None,
        _ => Tls::StartTls,
    };
    if tls == Tls::None && login.is_some() && !is_here(&mail.server) {
        return Err(Failure::permanent("a password is not sent to another machine without TLS")
            .hint("set `mail.encryption` to `starttls` or `implicit`"));
    }
    let authority = mail.authority.as_ref().map(read).transpose()?;
    Ok(Server { host: mail.server.clone(), port: mail.port, tls, authority, login })
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn password(mail: &Mail) -> Result<Secret, Failure> {
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(Secret::new(password.into_bytes()));
    }
    let missing = || {
        Failure::permanent("there is no password for the mail server")
            .hint(format!("set {PASSWORD_VARIABLE}, or `mail.password-file`"))
    };
    let path = mail.password_file.as_ref().ok_or_else(missing)?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::io(&format!("could not read `{}`", path.display()), &error))?;
    text.lines().next().map(|line| Secret::new(line.trim().as_bytes().to_vec())).ok_or_else(missing)
}
