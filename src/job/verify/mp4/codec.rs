//! Sample entries: which codec, which picture, which sound.

use super::boxes::{Cursor, Name, boxes, child, shown};
use crate::format::sps::Sps;
use crate::job::verify::picture::{Picture, Sound};

/// What a sample entry says.
#[derive(Clone, Debug, Default)]
pub(in crate::job::verify) struct Description {
    /// The format, such as `avc1`, with encryption looked through.
    pub(in crate::job::verify) format: Name,
    /// As CODECS names it, where that can be known.
    pub(in crate::job::verify) codec: Option<String>,
    pub(in crate::job::verify) picture: Option<Picture>,
    pub(in crate::job::verify) sound: Option<Sound>,
    /// Bytes of the length before each NAL unit; 0 where there are none.
    pub(in crate::job::verify) nal_length: u8,
    /// Whether the entry carries the parameter sets of its codec.
    pub(in crate::job::verify) configured: bool,
}

/// Bytes of a visual sample entry before its boxes.
const VISUAL: usize = 78;

/// And of an audio sample entry.
const AUDIO: usize = 28;

impl Description {
    /// Reads an entry whose format is `format` once encryption is looked through.
    pub(super) fn read(format: Name, handler: Name, body: &[u8]) -> Option<Self> {
        let known = Self { format, ..Self::default() };
        match &handler {
            b"vide" => visual(known, body),
            b"soun" => audio(known, body),
            _ => Some(Self { codec: text(format), configured: true, ..known }),
        }
    }

    pub(in crate::job::verify) fn is_h264(&self) -> bool {
        matches!(&self.format, b"avc1" | b"avc3" | b"dva1" | b"dvav")
    }

    pub(in crate::job::verify) fn is_hevc(&self) -> bool {
        matches!(&self.format, b"hvc1" | b"hev1" | b"dvh1" | b"dvhe")
    }
}

/// The boxes after the fixed part of an entry.
pub(super) fn extensions(handler: Name, body: &[u8]) -> &[u8] {
    let fixed = match &handler {
        b"vide" => VISUAL,
        b"soun" => AUDIO,
        _ => 8,
    };
    body.get(fixed..).unwrap_or_default()
}

fn text(format: Name) -> Option<String> {
    match &format {
        b"wvtt" => Some("wvtt".into()),
        b"stpp" => Some("stpp".into()),
        _ => None,
    }
}

fn visual(mut known: Description, body: &[u8]) -> Option<Description> {
    let mut fixed = Cursor(body.get(24..)?);
    let (width, height) = (u32::from(fixed.u16()?), u32::from(fixed.u16()?));
    let inner = extensions(*b"vide", body);
    let mut picture = Picture { width, height, chroma: 1, bit_depth: 8, progressive: true, ..Picture::default() };
    for atom in boxes(inner).0 {
        match &atom.name {
            b"avcC" => avc(&mut known, &mut picture, atom.body)?,
            b"hvcC" => hevc(&mut known, &mut picture, atom.body)?,
            b"av1C" => av1(&mut known, &mut picture, atom.body)?,
            b"vpcC" => vp9(&mut known, &mut picture, atom.body)?,
            _ => {}
        }
    }
    if let Some(colr) = child(inner, *b"colr") {
        colour(&mut picture, colr.body);
    }
    if let Some(pasp) = child(inner, *b"pasp") {
        let mut pasp = Cursor(pasp.body);
        picture.sample_aspect = pasp.u32().zip(pasp.u32());
    }
    picture.codec = known.codec.clone().unwrap_or_else(|| shown(known.format));
    known.picture = Some(picture);
    Some(known)
}

fn avc(known: &mut Description, picture: &mut Picture, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    let (_, profile, flags, level) = (cursor.u8()?, cursor.u8()?, cursor.u8()?, cursor.u8()?);
    known.nal_length = (cursor.u8()? & 3) + 1;
    known.codec = Some(format!("{}.{profile:02x}{flags:02x}{level:02x}", shown(known.format)));
    if cursor.u8()? & 31 > 0 {
        let length = usize::from(cursor.u16()?);
        if let Some(sps) = Sps::read(cursor.take(length)?) {
            *picture = Picture::from(&sps);
            known.configured = true;
        }
    }
    Some(())
}

fn hevc(known: &mut Description, picture: &mut Picture, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    cursor.u8()?;
    let general = cursor.u8()?;
    let compatible = cursor.u32()?.reverse_bits();
    let constraints: [u8; 6] = cursor.array()?;
    let level = cursor.u8()?;
    let space = ["", "A", "B", "C"][usize::from(general >> 6)];
    let tier = if general & 0x20 == 0 { 'L' } else { 'H' };
    let mut codec = format!("{}.{space}{}.{compatible:x}.{tier}{level}", shown(known.format), general & 31);
    let kept = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    codec.extend(constraints.iter().take(kept).map(|byte| format!(".{byte:x}")));
    known.codec = Some(codec);
    cursor.take(3)?;
    picture.chroma = u32::from(cursor.u8()? & 3);
    picture.bit_depth = u32::from(cursor.u8()? & 7) + 8;
    cursor.take(3)?;
    known.nal_length = (cursor.u8()? & 3) + 1;
    known.configured = cursor.u8()? > 0;
    // Frames, not fields, unless the stream says so.
    picture.progressive = constraints[0] & 0xc0 != 0x40;
    Some(())
}

fn av1(known: &mut Description, picture: &mut Picture, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    let (_, first, second) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
    let depth = match (second & 0x40 != 0, second & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    let tier = if second & 0x80 == 0 { 'M' } else { 'H' };
    known.codec = Some(format!("{}.{}.{:02}{tier}.{depth:02}", shown(known.format), first >> 5, first & 31));
    picture.bit_depth = depth;
    picture.chroma = match (second & 0x10 != 0, second & 0x08 != 0, second & 0x04 != 0) {
        (true, ..) => 0,
        (_, true, true) => 1,
        (_, true, false) => 2,
        _ => 3,
    };
    known.configured = true;
    Some(())
}

fn vp9(known: &mut Description, picture: &mut Picture, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    cursor.full()?;
    let (profile, level, mixed) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
    picture.bit_depth = u32::from(mixed >> 4);
    picture.chroma = match mixed >> 1 & 7 {
        0 | 1 => 1,
        2 => 2,
        _ => 3,
    };
    picture.full_range = Some(mixed & 1 == 1);
    let depth = picture.bit_depth;
    known.codec = Some(format!("{}.{profile:02}.{level:02}.{depth:02}", shown(known.format)));
    known.configured = true;
    Some(())
}

fn colour(picture: &mut Picture, body: &[u8]) {
    let mut cursor = Cursor(body);
    if cursor.array::<4>() != Some(*b"nclx") {
        return;
    }
    let tags = (cursor.u16(), cursor.u16(), cursor.u16());
    if let (Some(primaries), Some(transfer), Some(matrix)) = tags {
        picture.colour = picture.colour.or(Some((primaries.into(), transfer.into(), matrix.into())));
    }
    if let Some(flags) = cursor.u8() {
        picture.full_range = picture.full_range.or(Some(flags & 0x80 != 0));
    }
}

fn audio(mut known: Description, body: &[u8]) -> Option<Description> {
    let mut fixed = Cursor(body.get(16..)?);
    let channels = u32::from(fixed.u16()?);
    fixed.take(6)?;
    let mut sound = Sound { rate: fixed.u32()? >> 16, channels, samples: 0, object_type: None };
    for atom in boxes(extensions(*b"soun", body)).0 {
        match &atom.name {
            b"esds" => {
                let mut descriptor = Cursor(atom.body);
                descriptor.full()?;
                elementary(&mut known, &mut sound, descriptor);
            }
            b"dac3" => {
                let mut bits = Cursor(atom.body);
                let word = u32::from(bits.u16()?) << 8 | u32::from(bits.u8()?);
                sound.channels = dolby(word >> 11 & 7, word >> 10 & 1);
                known.codec = Some("ac-3".into());
            }
            b"dec3" => {
                let mut bits = Cursor(atom.body.get(2..)?);
                let word = u32::from(bits.u16()?) << 8 | u32::from(bits.u8()?);
                sound.channels = dolby(word >> 9 & 7, word >> 8 & 1);
                known.codec = Some("ec-3".into());
            }
            b"dOps" => {
                sound.channels = u32::from(*atom.body.get(1)?);
                known.codec = Some("opus".into());
            }
            b"dfLa" => known.codec = Some("flac".into()),
            _ => {}
        }
    }
    known.configured = known.codec.is_some();
    known.sound = Some(sound);
    Some(known)
}

/// Channels of AC-3 by its coding mode and whether there is a low frequency one.
fn dolby(mode: u32, low: u32) -> u32 {
    [2, 1, 2, 3, 3, 4, 4, 5][usize::try_from(mode & 7).unwrap_or_default()] + low
}

/// The tag and the body of the next MPEG-4 descriptor.
fn descriptor<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, Cursor<'a>)> {
    let tag = cursor.u8()?;
    let mut length = 0;
    for _ in 0..4 {
        let byte = cursor.u8()?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((tag, Cursor(cursor.take(length)?)))
}

fn elementary(known: &mut Description, sound: &mut Sound, mut cursor: Cursor<'_>) -> Option<()> {
    let (_, mut body) = descriptor(&mut cursor).filter(|(tag, _)| *tag == 3)?;
    body.u16()?;
    let flags = body.u8()?;
    if flags & 0x80 != 0 {
        body.u16()?;
    }
    if flags & 0x40 != 0 {
        let length = usize::from(body.u8()?);
        body.take(length)?;
    }
    if flags & 0x20 != 0 {
        body.u16()?;
    }
    let (_, mut config) = descriptor(&mut body).filter(|(tag, _)| *tag == 4)?;
    let object = config.u8()?;
    known.codec = Some(format!("mp4a.{object:02x}"));
    config.take(12)?;
    if object != 0x40 {
        return None;
    }
    let (_, specific) = descriptor(&mut config).filter(|(tag, _)| *tag == 5)?;
    specific_config(known, sound, specific.0)
}

/// The `AudioSpecificConfig` of AAC.
fn specific_config(known: &mut Description, sound: &mut Sound, bytes: &[u8]) -> Option<()> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let mut padded = [0; 8];
    padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let mut bits = u64::from_be_bytes(padded);
    let mut read = |count: u32| {
        let value = u32::try_from(bits >> (64 - count)).unwrap_or_default();
        bits <<= count;
        value
    };
    let mut kind = read(5);
    if kind == 31 {
        kind = 32 + read(6);
    }
    let index = usize::try_from(read(4)).ok()?;
    sound.rate = if index == 15 { read(24) } else { *RATES.get(index)? };
    match read(4) {
        0 => {}
        7 => sound.channels = 8,
        channels => sound.channels = channels,
    }
    sound.samples = 1024;
    sound.object_type = Some(kind);
    known.codec = Some(format!("mp4a.40.{kind}"));
    Some(())
}
