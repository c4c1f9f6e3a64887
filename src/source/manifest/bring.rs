//! Brings the pieces of a track, several at once, and puts them behind each other.
//!
//! A piece is written to the file of its run when it is whole and its turn has
//! come, and then its length to a log. So after a kill the log tells what is good,
//! and the rest is fetched. The log holds for this run of the machine alone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::format::aes128;
use crate::format::looks::{HEAD, Looks, looks};
use crate::format::ts_join::{self, Counters, PACKET};
use crate::model::failure::Failure;

use super::super::hash::{blocking_or, writing};
use super::super::mark::boot_id;
use super::super::tries::Trouble;
use super::Stop;
use super::place::Place;
use super::reader::Reader;
use super::room::Budget;
use super::track::{Piece, Track};

/// Bytes copied at once: whole packets of MPEG-TS, and whole blocks of AES.
const STEP: usize = PACKET * aes128::BLOCK * 256;

/// Bytes at the end of a file that hold the last counter of every stream, more or less.
const TAIL: u64 = 4 * 1024 * 1024;

/// A single file is fetched in parts of so many bytes, several at once.
const PART: u64 = 8 * 1024 * 1024;

/// Keys of one manifest. A day with a key a minute has 1,440.
const MOST_KEYS: usize = 10_000;

pub(super) type Keys = HashMap<Place, [u8; 16]>;

/// The file of one run, and how many bytes each of its pieces has in it.
#[derive(Clone, Debug, Default)]
pub(super) struct RunFile {
    pub(super) path: PathBuf,
    pub(super) lengths: Vec<u64>,
}

/// Fetches all keys of a track.
pub(super) async fn keys(reader: &Reader<'_>, track: &Track, keys: &mut Keys) -> Result<(), Stop> {
    for (_, piece) in track.pieces() {
        let Some((place, _)) = piece.key.as_ref().filter(|(place, _)| !keys.contains_key(place)) else { continue };
        if keys.len() == MOST_KEYS {
            return Err(Failure::permanent(format!("the manifest names more than {MOST_KEYS} keys")).into());
        }
        let (bytes, _) = reader.load(place, 4096).await?;
        let key = bytes.try_into().map_err(|bytes: Vec<u8>| {
            let shown = reader.shown(place);
            Failure::permanent(format!("`{shown}` answered {} bytes, and a key of AES-128 has 16", bytes.len()))
        })?;
        keys.insert(place.clone(), key);
    }
    Ok(())
}

/// Cuts files that are fetched whole into parts, where their servers send such.
pub(super) async fn divide(reader: &Reader<'_>, track: &mut Track) -> Result<(), Failure> {
    for run in &mut track.runs {
        let [only] = &run.pieces[..] else { continue };
        if only.range.is_some() || only.key.is_some() {
            continue;
        }
        let Some(size) = reader.size_in_parts(&only.place).await?.filter(|size| *size > PART) else { continue };
        let (place, seconds) = (only.place.clone(), only.seconds);
        let starts = (0..size.div_ceil(PART)).map(|part| part * PART);
        let pieces = starts.map(|start| Piece {
            place: place.clone(),
            range: Some(start..size.min(start + PART)),
            key: None,
            seconds: seconds.filter(|_| start == 0),
        });
        run.pieces = pieces.collect();
    }
    track.check()
}

/// Brings all of a track into `folder`, where what an earlier try left is used.
pub(super) async fn track(
    reader: &Reader<'_>,
    track: &Track,
    number: usize,
    keys: &Keys,
    folder: &Path,
    budget: &mut Budget<'_>,
) -> Result<Vec<RunFile>, Stop> {
    let names = (0..track.runs.len()).map(|run| folder.join(format!("{number}-{run}.media")));
    let files: Vec<RunFile> = names.map(|path| RunFile { path, lengths: Vec::new() }).collect();
    let pieces: Vec<(usize, &Piece)> = track.pieces().collect();
    let log = folder.join(format!("{number}.log"));
    let runs: Vec<usize> = pieces.iter().map(|(run, _)| *run).collect();
    let mut here = files;
    let cannot = writing(folder);
    let opened = blocking_or(&cannot, move || Joint::open(&log, &runs, &mut here).map(|joint| (joint, here)));
    let (mut joint, mut files);
    (joint, files) = opened.await?;
    let done: usize = joint.done;
    let present = files.iter().flat_map(|file| &file.lengths).sum();
    reader.tell(present);
    budget.add(present)?;
    let at_once = usize::try_from(reader.settings().connections_per_file.max(1)).unwrap_or(usize::MAX);
    let mut waiting = FuturesOrdered::new();
    let mut next = pieces.iter().enumerate().skip(done);
    loop {
        while waiting.len() < at_once {
            let Some((at, (run, piece))) = next.next() else { break };
            let path = folder.join(format!("{number}-{at}.piece"));
            waiting.push_back(fetch(reader, *run, piece, path, at_once as u64).boxed());
        }
        let Some(fetched) = waiting.next().await else { break };
        let (run, piece, path) = fetched?;
        let file = files.get_mut(run).ok_or_else(|| Failure::temporary("a piece has no run"))?;
        let secret = piece.key.as_ref().and_then(|(place, iv)| Some((*keys.get(place)?, *iv)));
        let to = file.path.clone();
        let moved = blocking_or(&cannot, move || {
            let added = joint.add(&path, &to, secret)?;
            fs::remove_file(path)?;
            Ok((joint, added))
        });
        let added;
        (joint, added) = moved.await?;
        let bytes = added.map_err(|why| Failure::permanent(format!("`{}` {why}", reader.shown(&piece.place))))?;
        file.lengths.push(bytes);
        budget.add(bytes)?;
    }
    Ok(files)
}

async fn fetch<'p>(
    reader: &Reader<'_>,
    run: usize,
    piece: &'p Piece,
    path: PathBuf,
    at_once: u64,
) -> Result<(usize, &'p Piece, PathBuf), Trouble> {
    reader.save(&piece.place, piece.range.clone(), &path, at_once).await?;
    Ok((run, piece, path))
}

/// Where pieces are put behind each other.
struct Joint {
    log: File,
    /// Pieces that are there.
    done: usize,
    counters: Counters,
    /// The run that `counters` belongs to.
    run: PathBuf,
}

impl Joint {
    /// Goes on with what is there. `runs` has the run of each piece; `files` gets the lengths of what is there.
    fn open(log: &Path, runs: &[usize], files: &mut [RunFile]) -> io::Result<Self> {
        let text = fs::read_to_string(log).unwrap_or_default();
        let boot = boot_id();
        let (first, rest) = text.split_once('\n').unwrap_or_default();
        let mut done = 0_usize;
        if !boot.is_empty() && first == boot {
            // The last line may be torn, and is then without its end.
            let lines = rest.split_inclusive('\n').map_while(|line| line.strip_suffix('\n')?.parse::<u64>().ok());
            for (run, length) in runs.iter().zip(lines) {
                files.get_mut(*run).map(|file| file.lengths.push(length)).unwrap_or_default();
                done += 1;
            }
        }
        let whole = |file: &RunFile| {
            let bytes: u64 = file.lengths.iter().sum();
            bytes == 0 || fs::metadata(&file.path).is_ok_and(|about| about.len() >= bytes)
        };
        if !files.iter().all(whole) {
            for file in files.iter_mut() {
                file.lengths.clear();
            }
            done = 0;
        }
        let mut fresh = File::create(log)?;
        writeln!(fresh, "{boot}")?;
        let mut counters = Counters::default();
        let mut run = PathBuf::new();
        for (number, file) in files.iter().enumerate() {
            let bytes: u64 = file.lengths.iter().sum();
            if bytes == 0 {
                match fs::remove_file(&file.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => continue,
                }
            }
            File::options().write(true).open(&file.path)?.set_len(bytes)?;
            if runs.get(done.saturating_sub(1)) == Some(&number) {
                counters = Counters::behind(&tail(&file.path, bytes)?);
                run.clone_from(&file.path);
            }
        }
        let lengths: Vec<String> =
            files.iter().flat_map(|file| &file.lengths).map(|length| format!("{length}\n")).collect();
        fresh.write_all(lengths.concat().as_bytes())?;
        Ok(Self { log: fresh, done, counters, run })
    }

    /// Puts the piece at `path` behind `to`. Answers its bytes there, or why it is none.
    fn add(&mut self, path: &Path, to: &Path, secret: Option<([u8; 16], [u8; 16])>) -> io::Result<Result<u64, String>> {
        if self.run != to {
            self.run = to.to_path_buf();
            self.counters = Counters::default();
        }
        self.counters.joint();
        let mut target = File::options().append(true).create(true).open(to)?;
        let mut source = Plain::open(path, secret)?;
        let (mut written, mut is_stream) = (0, false);
        loop {
            let mut bytes = match source.next()? {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => bytes,
                Err(why) => return Ok(Err(why)),
            };
            if written == 0 {
                let head = bytes.get(..bytes.len().min(HEAD)).unwrap_or_default();
                match looks("", head) {
                    Looks::Text(what) => return Ok(Err(format!("holds {what}, not a segment"))),
                    Looks::Manifest => return Ok(Err("holds a manifest, not a segment".into())),
                    Looks::Media | Looks::Image(_) => (),
                }
                is_stream = ts_join::is_stream(head);
            }
            if is_stream {
                // A torn packet would put all packets behind it out of step.
                bytes.truncate(bytes.len() / PACKET * PACKET);
                self.counters.renumber(&mut bytes);
            }
            target.write_all(&bytes)?;
            written += bytes.len() as u64;
        }
        writeln!(self.log, "{written}")?;
        Ok(Ok(written))
    }
}

/// The last packets of a transport stream that has so many bytes.
fn tail(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let from = bytes.saturating_sub(TAIL) / PACKET as u64 * PACKET as u64;
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL + PACKET as u64).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The bytes of a piece, decrypted.
struct Plain {
    file: File,
    left: u64,
    secret: Option<([u8; 16], [u8; 16])>,
    is_first: bool,
}

impl Plain {
    fn open(path: &Path, secret: Option<([u8; 16], [u8; 16])>) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Ok(Self { file, left, secret, is_first: true })
    }

    /// The next bytes, none after the last, or why they cannot be decrypted.
    fn next(&mut self) -> io::Result<Result<Vec<u8>, String>> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(STEP);
        let mut bytes = vec![0; wanted];
        self.file.read_exact(&mut bytes)?;
        self.left -= wanted as u64;
        if std::mem::take(&mut self.is_first) && bytes.get(4..8) == Some(b"ftyp") {
            // Some who encrypt leave the header alone and say otherwise.
            self.secret = None;
        }
        let Some((key, iv)) = &mut self.secret else { return Ok(Ok(bytes)) };
        if bytes.is_empty() {
            return Ok(Ok(bytes));
        }
        if self.left > 0 {
            let next = bytes.last_chunk().copied().unwrap_or_default();
            let opened = aes128::decrypt_blocks(key, iv, &mut bytes).map(|()| bytes);
            *iv = next;
            return Ok(opened.map_err(|error| format!("cannot be decrypted: {error}")));
        }
        Ok(aes128::decrypt(key, iv, bytes).map_err(|error| format!("cannot be decrypted: {error}")))
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Changed(why) => Self::Changed(why),
            Trouble::Refused(failure) => Self::Refused(failure),
            trouble => Self::Failed(trouble.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn pieces_are_decrypted_put_behind_each_other_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let plain: Vec<u8> = (0..STEP + 77).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let put = |name: &str, bytes: &[u8]| File::create(at(name)).unwrap().write_all(bytes).unwrap();
        put("a", &aes128::encrypt(&KEY, &[7; 16], plain.clone()));
        put("b", b"....behind");
        put("c", b"  <html>");
        let open = || {
            let mut files = vec![RunFile { path: at("run"), lengths: Vec::new() }];
            let joint = Joint::open(&at("log"), &[0, 0, 0], &mut files).unwrap();
            (joint, files.remove(0).lengths)
        };
        let (mut joint, lengths) = open();
        assert_eq!((joint.done, lengths), (0, vec![]));
        let whole = plain.len() as u64;
        assert_eq!(joint.add(&at("a"), &at("run"), Some((KEY, [7; 16]))).unwrap(), Ok(whole));
        assert_eq!(fs::read(at("run")).unwrap(), plain);
        assert!(joint.add(&at("a"), &at("run"), Some(([1; 16], [7; 16]))).unwrap().is_err());
        // What was written of it is forgotten.
        let (mut joint, lengths) = open();
        assert_eq!((joint.done, lengths), (1, vec![whole]));
        assert_eq!(joint.add(&at("b"), &at("run"), None).unwrap(), Ok(10));
        assert_eq!(fs::read(at("run")).unwrap(), [&plain[..], b"....behind"].concat());
        assert!(joint.add(&at("c"), &at("run"), None).unwrap().unwrap_err().contains("HTML"));
        put("run", b"short");
        assert_eq!(open().0.done, 0);
    }
}
