//! Pictures from their sources to the destination and into the mail: reading,
//! computing, storing and sending at the same time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::input::Input;
use super::post::Post;
use super::shrink::{Made, shrink};
use super::{Context, Listener, Said, Summary};
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::item::Rank;
use crate::model::sha256::Sha256;
use crate::pipeline::Pipeline;
use crate::pipeline::error::{Cause, Result};
use crate::pipeline::lane::Permit;
use crate::pipeline::pool::Pool;
use crate::pipeline::report::Outcome;
use crate::plan::photo::{CONVERTED, Kind, kind};
use crate::plan::photo_name::{Names, key};
use crate::scratch::album::Picture;
use crate::storage::About;
use crate::tool::heif;

/// After so many failures of this machine in a row and no success the run ends.
const HOPELESS: u64 = 3;

/// Endings a JPEG may keep.
const JPEG_ENDINGS: [&str; 4] = ["jpg", "jpeg", "jpe", "jfif"];

/// A picture on its way.
enum Step {
    /// Read, and in a format that can be worked on.
    Read(Input, Vec<u8>),
    /// Read, and made a JPEG to be worked on.
    Converted(Input, Vec<u8>),
    /// Made to fit.
    Made(Input, Made),
    /// An earlier run made it.
    Already(Input, Picture),
}

/// A picture at the destination.
pub(super) struct Stored {
    input: Input,
    pub(super) picture: Picture,
    /// How it was made, if it was now.
    made: Option<Made>,
}

/// Makes `inputs` fit. Everything that happens is told to `listener`.
pub async fn run(
    inputs: Vec<Input>,
    context: &Context,
    listener: Listener<'_>,
) -> std::result::Result<Summary, Failure> {
    let names = Mutex::new(names(context).await?);
    let post = match &context.mail {
        Some(mailing) => Some(Post::new(mailing, context).await?),
        None => None,
    };
    let post = Mutex::new(post);
    let pool = Pool::new(context.threads);
    let addresses: Vec<String> = inputs.iter().map(Input::address).collect();
    let mut tally = Tally { summary: Summary::default(), hopeless: 0, addresses: &addresses, context, listener };
    let stages = Pipeline::from_iter(inputs)
        .io("read", context.readers, async |input| read(input, context).await)
        .queue(1)
        .io("shrink", context.threads, async |step| shrunk(step, context, &pool).await)
        .queue(1)
        .io("write", context.writers, async |step| write(step, context, &names).await)
        .queue(1)
        .io("mail", 1, async |stored: Stored| {
            if let Some(post) = post.lock().await.as_mut() {
                Box::pin(post.add(&stored, listener)).await?;
            }
            Ok(stored)
        })
        .stop_on(context.stop.clone())
        .abort_on(context.cancel.clone());
    let stages = stages.for_each(|outcome| tally.note(outcome)).await;
    let mut summary = tally.summary;
    // Stopped on their way, or never begun.
    summary.left = (addresses.len() as u64).saturating_sub(summary.done + summary.already + summary.failed);
    if let Some(mut post) = post.into_inner() {
        if !context.cancel.is_cancelled() {
            Box::pin(post.finish(listener)).await;
        }
        summary.messages = post.sent;
        summary.failed += post.failed;
        summary.environment += post.failed;
        summary.unsent = post.unsent;
    }
    summary.stages = stages;
    Ok(summary)
}

/// The names that are taken at the destination, by this program or anybody.
async fn names(context: &Context) -> std::result::Result<Names, Failure> {
    let mut names = Names::default();
    for name in context.album.names().await? {
        names.take(&name);
    }
    for stat in context.store.list("").await? {
        names.take(&stat.key);
    }
    Ok(names)
}

async fn read(input: Input, context: &Context) -> Result<Step> {
    if let Some(known) = context.album.find(&input.address()).await?
        && known.stamp == input.stamp
        && known.settings == context.kit.settings.digest()
        && is_there(context, &known).await?
    {
        return Ok(Step::Already(input, known));
    }
    let bytes = input.read(context.kit.settings.max_pixels).await?;
    if !matches!(kind(&bytes), Some(Kind::Heic | Kind::Avif)) {
        return Ok(Step::Read(input, bytes));
    }
    let permit = permit(context).await?;
    let converted = convert(bytes, context).await;
    drop(permit);
    Ok(Step::Converted(input, converted?))
}

/// Makes a picture fit, on a thread and with a permit that other jobs may have.
async fn shrunk(step: Step, context: &Context, pool: &Pool) -> Result<Step> {
    let (input, bytes, copy) = match step {
        Step::Read(input, bytes) => (input, bytes, None),
        // What fits as it comes from the converter is no copy of its source.
        Step::Converted(input, bytes) => (input, bytes, Some(CONVERTED)),
        other => return Ok(other),
    };
    let (permit, kit) = (permit(context).await?, context.kit.clone());
    let work = move || {
        let made = shrink(bytes, &kit);
        drop(permit);
        made
    };
    let made = pool.run(crate::pipeline::Rank::default(), work).await;
    let made = made.map_err(|cause| Failure::environment(format!("{cause:?}")))??;
    Ok(Step::Made(input, Made { quality: made.quality.or(copy), ..made }))
}

async fn permit(context: &Context) -> std::result::Result<Option<Permit<Rank>>, Failure> {
    context.stop.run_until_cancelled(context.share.permit()).await.ok_or_else(Failure::stopped)
}

/// Whether the picture is at the destination, as far as its size tells: the album alone is no proof.
async fn is_there(context: &Context, known: &Picture) -> Result<bool> {
    if fault::mutant("trust-album") {
        return Ok(true);
    }
    Ok(context.store.stat(&known.name).await?.is_some_and(|stat| stat.bytes == known.bytes))
}

/// A JPEG of a HEIC file.
async fn convert(bytes: Vec<u8>, context: &Context) -> std::result::Result<Vec<u8>, Failure> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let program = heif::find().ok_or_else(|| {
        Failure::permanent("is HEIC, and there is no `heif-convert` or `heif-dec` to read it")
            .hint("install libheif's programs (`apt-get install libheif-examples`)")
    })?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = context.scratch.join(format!("heic-{}-{number}", std::process::id()));
    let input = prepare(folder.clone(), bytes).await?;
    let made = heif::convert(&program, &input, &folder.join("out.jpg"), &context.cancel).await;
    let read = move || {
        let bytes = made.and_then(|path| std::fs::read(path).map_err(|error| Failure::io("could not be read", &error)));
        std::fs::remove_dir_all(folder).unwrap_or_default();
        bytes
    };
    blocking(read).await
}

async fn prepare(folder: PathBuf, bytes: Vec<u8>) -> std::result::Result<PathBuf, Failure> {
    blocking(move || {
        use crate::scratch::file::{Privacy, make_folder, write};
        let input = folder.join("in.heic");
        let written = make_folder(&folder, Privacy::Private).and_then(|()| write(&input, &bytes, Privacy::Private));
        written.map(|()| input).map_err(|error| Failure::io("could not prepare a conversion", &error))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, Failure> + Send + 'static,
) -> std::result::Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::environment(error.to_string())))
}

/// Stores a picture under a name that nobody else has.
async fn write(step: Step, context: &Context, names: &Mutex<Names>) -> Result<Stored> {
    let (input, made) = match step {
        Step::Already(input, picture) => return Ok(Stored { input, picture, made: None }),
        Step::Made(input, made) => (input, made),
        Step::Read(..) | Step::Converted(..) => {
            return Err(Failure::environment("a picture passed by the shrinker").into());
        }
    };
    let address = input.address();
    let wanted = key(&input.path, endings(made.kind));
    let name = match context.album.find(&address).await? {
        // A name of its own, which may have another ending than is wanted now.
        Some(known) if key(&known.name, endings(made.kind)) == known.name => known.name,
        _ => {
            let name = names.lock().await.choose(&wanted);
            let claim = Picture { name: name.clone(), ..Picture::default() };
            context.album.note(&address, &claim).await?;
            name
        }
    };
    fault::point("photo-named");
    let bytes = Bytes::from(made.bytes);
    let picture = Picture {
        name,
        stamp: input.stamp.clone(),
        settings: context.kit.settings.digest(),
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
    };
    let about = About { content_type: Some(made.kind.media_type().into()), ..About::default() };
    context.store.write(&picture.name, bytes.clone(), &about).await?;
    fault::point("photo-written");
    context.album.note(&address, &picture).await?;
    let bytes = if context.mail.is_some() { bytes.to_vec() } else { Vec::new() };
    Ok(Stored { input, picture, made: Some(Made { bytes, ..made }) })
}

fn endings(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Png => &["png"],
        Kind::WebP => &["webp"],
        Kind::Gif => &["gif"],
        Kind::Avif => &["avif"],
        _ => &JPEG_ENDINGS,
    }
}

impl Stored {
    /// Its bytes and type: in hand, or read back from the destination.
    pub(super) async fn content(&self, context: &Context) -> Result<(Vec<u8>, &'static str)> {
        if let Some(made) = &self.made {
            return Ok((made.bytes.clone(), made.kind.media_type()));
        }
        let name = &self.picture.name;
        let bytes = context.store.load(name, self.picture.bytes).await?;
        let bytes: Vec<u8> = bytes.ok_or_else(|| Failure::environment(format!("`{name}` is gone")))?.into();
        let kind = kind(&bytes).unwrap_or(Kind::Jpeg);
        Ok((bytes, kind.media_type()))
    }
}

/// Counts what happens, and tells it.
struct Tally<'a> {
    summary: Summary,
    hopeless: u64,
    addresses: &'a [String],
    context: &'a Context,
    listener: Listener<'a>,
}

impl Tally<'_> {
    fn note(&mut self, outcome: Outcome<Stored>) {
        let input = usize::try_from(outcome.number).ok().and_then(|number| self.addresses.get(number));
        let input = input.cloned().unwrap_or_default();
        match outcome.result {
            Ok(Stored { picture, made: None, .. }) => {
                self.summary.already += 1;
                (self.listener)(Said::Already { input, name: picture.name });
            }
            Ok(Stored { input: source, picture, made: Some(made) }) => self.done(input, &source, picture, made),
            Err(error) if error.cause.is_stop() => {}
            Err(error) => {
                let failure = match error.cause {
                    Cause::Error(error) => match error.downcast::<Failure>() {
                        Ok(failure) => *failure,
                        Err(other) => storage_failure(other),
                    },
                    cause => Failure::permanent(format!("could not be worked on: {cause:?}")),
                };
                self.failed(input, failure);
            }
        }
    }

    fn done(&mut self, input: String, source: &Input, picture: Picture, made: Made) {
        self.hopeless = 0;
        self.summary.done += 1;
        self.summary.copied += u64::from(made.quality.is_none());
        self.summary.before += source.bytes;
        self.summary.after += picture.bytes;
        let Made { size, quality, note, thumbnail, .. } = made;
        (self.listener)(Said::Done {
            input,
            name: picture.name,
            before: source.bytes,
            after: picture.bytes,
            size: (size != (0, 0)).then_some(size),
            quality,
            note,
            thumbnail,
        });
    }

    fn failed(&mut self, input: String, failure: Failure) {
        if failure.class == Class::Stopped {
            return;
        }
        self.summary.failed += 1;
        if failure.class == Class::Environment {
            self.summary.environment += 1;
            self.hopeless += 1;
            if self.hopeless >= HOPELESS && self.summary.done == 0 {
                self.context.stop.cancel();
            }
        }
        (self.listener)(Said::Failed { input, failure });
    }
}

fn storage_failure(error: crate::pipeline::error::BoxError) -> Failure {
    match error.downcast::<crate::storage::error::StorageError>() {
        Ok(error) => Failure::from(*error),
        Err(other) => Failure::permanent(other.to_string()),
    }
}
