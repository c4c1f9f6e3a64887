//! Reads the sample tables of finished MP4 files (ISO/IEC 14496-12): those of
//! our own encoders, which have one track, and of sources that are copied.

/// What an MP4 file is missing or gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of samples is not whole: {0}")]
pub struct Mp4Error(&'static str);

/// Samples of one track: days of video. One line of a table may claim any number.
const MOST_SAMPLES: u32 = 1 << 24;

/// One coded picture or one frame of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u32,
    /// Presentation after decoding, in units of the track.
    pub composition: i64,
    /// How long it lasts, in units of the track.
    pub duration: u32,
    /// Whether it is a key frame.
    pub key: bool,
}

/// The one track of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Units a second.
    pub timescale: u32,
    /// Its sample entry: `avc1`, `hvc1`, `av01` or `mp4a`.
    pub entry: [u8; 4],
    /// `avcC`, `hvcC` or `av1C` of pictures, or the `AudioSpecificConfig` of AAC.
    pub config: Vec<u8>,
    /// The samples in decoding order.
    pub samples: Vec<Sample>,
}

/// Boxes of a file before its `moov` that are looked at. Those who fragment put it first.
const MOST_BOXES: usize = 10_000;

/// Where the `moov` box is in a file of `length` bytes: offset and size of its payload.
///
/// `read` gives up to 16 bytes at an offset. Boxes are skipped, not read, so
/// that a large `mdat` costs nothing.
pub fn find_moov<E>(length: u64, mut read: impl FnMut(u64) -> Result<[u8; 16], E>) -> Result<Option<(u64, u64)>, E> {
    let mut offset: u64 = 0;
    for _ in 0..MOST_BOXES {
        if length.saturating_sub(offset) < 8 {
            break;
        }
        let head = read(offset)?;
        let short = u64::from(be32(&head, 0).unwrap_or(0));
        let (header, size) = match short {
            0 => (8, length - offset),
            1 => (16, be64(&head, 8).unwrap_or(0)),
            size => (8, size),
        };
        let Some(end) = offset.checked_add(size).filter(|_| size >= header) else { return Ok(None) };
        if head.get(4..8) == Some(b"moov") {
            return Ok((end <= length).then_some((offset + header, size - header)));
        }
        offset = end;
    }
    Ok(None)
}

/// Whether the payload of `moov` leaves the samples to fragments that follow.
pub fn is_fragmented(moov: &[u8]) -> bool {
    child(moov, *b"mvex").is_some()
}

/// Reads the first track from the payload of `moov`.
pub fn track(moov: &[u8]) -> Result<Track, Mp4Error> {
    nth_track(moov, 0)
}

/// Reads one of the tracks from the payload of `moov`, counted from 0.
pub fn nth_track(moov: &[u8], number: u32) -> Result<Track, Mp4Error> {
    let mut tracks = boxes(moov).filter(|(kind, _)| kind == b"trak");
    let (_, trak) = usize::try_from(number).ok().and_then(|number| tracks.nth(number)).ok_or(Mp4Error("no `trak`"))?;
    let mdia = inside(trak, &[*b"mdia"])?;
    let mdhd = child(mdia, *b"mdhd").ok_or(Mp4Error("no `mdhd`"))?;
    let timescale = be32(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 }).ok_or(Mp4Error("short `mdhd`"))?;
    let stbl = inside(mdia, &[*b"minf", *b"stbl"])?;
    let table = |name| child(stbl, name);
    let (entry, config) = config(table(*b"stsd").ok_or(Mp4Error("no `stsd`"))?)?;
    let sizes = sizes(table(*b"stsz").ok_or(Mp4Error("no `stsz`"))?)?;
    let offsets = offsets(table(*b"stco"), table(*b"co64"), table(*b"stsc"), &sizes)?;
    let durations = runs(table(*b"stts").ok_or(Mp4Error("no `stts`"))?, sizes.len())?;
    let compositions = table(*b"ctts").map(|ctts| runs(ctts, sizes.len())).transpose()?;
    let keys = table(*b"stss").map(entries);
    let samples = sizes.iter().enumerate().map(|(number, &bytes)| Sample {
        offset: offsets[number],
        bytes,
        // Version 1 of `ctts` is signed; version 0 never has the top bit set in our files.
        composition: compositions.as_ref().map_or(0, |all| i64::from(all[number].cast_signed())),
        duration: durations[number],
        key: keys
            .as_ref()
            .is_none_or(|keys| keys.binary_search(&(u32::try_from(number + 1).unwrap_or(u32::MAX))).is_ok()),
    });
    Ok(Track { timescale, entry, config, samples: samples.collect() })
}

/// The sample entry and what it says of the codec.
fn config(stsd: &[u8]) -> Result<([u8; 4], Vec<u8>), Mp4Error> {
    let entry = stsd.get(8..).ok_or(Mp4Error("short `stsd`"))?;
    let (kind, body) = boxes(entry).next().ok_or(Mp4Error("empty `stsd`"))?;
    // A visual sample entry has 78 bytes before its boxes, an audio one 28.
    let video = |name| child(body.get(78..).unwrap_or_default(), name).map(<[u8]>::to_vec);
    let config = match &kind {
        b"avc1" => video(*b"avcC").ok_or(Mp4Error("no `avcC`"))?,
        b"hvc1" => video(*b"hvcC").ok_or(Mp4Error("no `hvcC`"))?,
        b"av01" => video(*b"av1C").ok_or(Mp4Error("no `av1C`"))?,
        b"mp4a" => {
            let esds = child(body.get(28..).unwrap_or_default(), *b"esds").ok_or(Mp4Error("no `esds`"))?;
            audio_config(esds.get(4..).unwrap_or_default()).ok_or(Mp4Error("no `AudioSpecificConfig`"))?
        }
        _ => return Err(Mp4Error("an unexpected codec")),
    };
    Ok((kind, config))
}

/// The `DecoderSpecificInfo` (tag 5) within the descriptors of `esds` (ISO/IEC 14496-1, 7.2.6).
fn audio_config(mut bytes: &[u8]) -> Option<Vec<u8>> {
    loop {
        let tag = *bytes.first()?;
        let mut length = 0_usize;
        let mut header = 1;
        loop {
            let byte = *bytes.get(header)?;
            header += 1;
            length = length << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 || header > 4 {
                break;
            }
        }
        bytes = bytes.get(header..)?;
        // ES_Descriptor and DecoderConfigDescriptor hold the next one after fixed fields.
        match tag {
            3 => bytes = bytes.get(3..)?,
            4 => bytes = bytes.get(13..)?,
            5 => return bytes.get(..length).map(<[u8]>::to_vec),
            _ => bytes = bytes.get(length..)?,
        }
    }
}

fn sizes(stsz: &[u8]) -> Result<Vec<u32>, Mp4Error> {
    let (same, count) =
        (be32(stsz, 4).ok_or(Mp4Error("short `stsz`"))?, be32(stsz, 8).ok_or(Mp4Error("short `stsz`"))?);
    if same != 0 {
        if count > MOST_SAMPLES {
            return Err(Mp4Error("`stsz` has no end"));
        }
        return Ok(vec![same; count as usize]);
    }
    let list = stsz.get(12..).unwrap_or_default();
    let sizes: Vec<u32> = list.chunks_exact(4).take(count as usize).filter_map(|four| be32(four, 0)).collect();
    if sizes.len() == count as usize { Ok(sizes) } else { Err(Mp4Error("short `stsz`")) }
}

fn offsets(stco: Option<&[u8]>, co64: Option<&[u8]>, stsc: Option<&[u8]>, sizes: &[u32]) -> Result<Vec<u64>, Mp4Error> {
    let chunks: Vec<u64> = match (stco, co64) {
        (Some(stco), _) => entries(stco).into_iter().map(u64::from).collect(),
        (None, Some(co64)) => {
            co64.get(8..).unwrap_or_default().chunks_exact(8).filter_map(|eight| be64(eight, 0)).collect()
        }
        (None, None) => return Err(Mp4Error("no `stco`")),
    };
    let runs: Vec<(u32, u32)> = stsc
        .and_then(|stsc| stsc.get(8..))
        .ok_or(Mp4Error("no `stsc`"))?
        .chunks_exact(12)
        .filter_map(|entry| Some((be32(entry, 0)?, be32(entry, 4)?)))
        .collect();
    let mut offsets = Vec::with_capacity(sizes.len());
    for (number, &chunk) in (1_u32..).zip(&chunks) {
        let samples = runs.iter().take_while(|run| run.0 <= number).last().map_or(0, |run| run.1);
        let mut offset = chunk;
        for _ in 0..samples {
            let Some(&size) = sizes.get(offsets.len()) else { break };
            offsets.push(offset);
            offset += u64::from(size);
        }
    }
    if offsets.len() == sizes.len() { Ok(offsets) } else { Err(Mp4Error("`stsc` and `stsz` disagree")) }
}

/// A table of (count, value) runs, written out.
fn runs(table: &[u8], count: usize) -> Result<Vec<u32>, Mp4Error> {
    let mut values = Vec::with_capacity(count);
    for run in table.get(8..).unwrap_or_default().chunks_exact(8) {
        let (Some(times), Some(value)) = (be32(run, 0), be32(run, 4)) else { break };
        let room = count - values.len();
        values.extend(std::iter::repeat_n(value, room.min(times as usize)));
    }
    if values.len() == count { Ok(values) } else { Err(Mp4Error("a table of times is short")) }
}

fn entries(table: &[u8]) -> Vec<u32> {
    table.get(8..).unwrap_or_default().chunks_exact(4).filter_map(|four| be32(four, 0)).collect()
}

fn inside<'a>(bytes: &'a [u8], path: &[[u8; 4]]) -> Result<&'a [u8], Mp4Error> {
    path.iter().try_fold(bytes, |bytes, name| child(bytes, *name).ok_or(Mp4Error("a box is missing")))
}

pub(super) fn child(bytes: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    boxes(bytes).find(|(kind, _)| *kind == name).map(|(_, body)| body)
}

/// The boxes one after another: kind and payload. Ends at the first that does not fit.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = be32(bytes, 0)? as usize;
        let kind = bytes.get(4..8)?.try_into().ok()?;
        let body = bytes.get(8..size)?;
        bytes = bytes.get(size..)?;
        Some((kind, body))
    })
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&name);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn moov_is_found_behind_a_large_mdat() {
        let mut file = boxed(*b"ftyp", &[0; 8]);
        file.extend(boxed(*b"mdat", &[0; 100]));
        file.extend(boxed(*b"moov", &[7; 20]));
        let read = |at: u64| -> Result<[u8; 16], ()> {
            let mut head = [0; 16];
            let from = &file[usize::try_from(at).unwrap()..];
            head[..from.len().min(16)].copy_from_slice(&from[..from.len().min(16)]);
            Ok(head)
        };
        assert_eq!(find_moov(file.len() as u64, read), Ok(Some((132, 20))));
        assert_eq!(find_moov(file.len() as u64 - 1, read), Ok(None), "a cut file has none");
    }

    #[test]
    fn sizes_that_run_over_end_the_search() {
        let hostile = |at: u64| -> Result<[u8; 16], ()> {
            let mut head = *b"\0\0\0\x18ftyp........";
            if at > 0 {
                head = *b"\0\0\0\x01free........";
                head[8..].copy_from_slice(&(u64::MAX - 23).to_be_bytes());
            }
            Ok(head)
        };
        assert_eq!(find_moov(1 << 20, hostile), Ok(None));
        let mut looked = 0;
        let tiny = |_: u64| -> Result<[u8; 16], ()> {
            looked += 1;
            Ok(*b"\0\0\0\x08free........")
        };
        assert_eq!(find_moov(1 << 40, tiny), Ok(None));
        assert_eq!(looked, MOST_BOXES);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for bytes in [&[][..], &[0; 40], &[255; 40], &boxed(*b"trak", &boxed(*b"mdia", &[0; 3]))] {
            assert!(track(bytes).is_err());
        }
    }

    #[test]
    fn the_audio_config_is_dug_out() {
        let esds = [
            3, 0x80, 0x80, 0x80, 0x22, 0, 1, 0, 4, 20, 0x40, 0x15, 0, 0, 0, 0, 1, 0xf4, 0, 0, 1, 0xf4, 0, 5, 2, 0x11,
            0x90,
        ];
        assert_eq!(audio_config(&esds), Some(vec![0x11, 0x90]));
    }
}
