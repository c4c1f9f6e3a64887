//! Encrypts samples by scheme `cbcs` (ISO/IEC 23001-7, 10.4): AES-128 in CBC
//! mode, a constant IV, and of pictures only one block in ten of each slice.

use std::ops::Range;

use aes::cipher::{BlockEncryptMut, KeyIvInit};

use super::aes128::BLOCK;
use super::protection::{PATTERN, Sealed};
use super::video::Config;
use super::{av1_frame, h264_slice, hevc_slice};

type Encryptor = cbc::Encryptor<aes::Aes128>;

/// Encrypts a frame of sound in place: every whole block of it.
pub fn sound(key: &[u8; BLOCK], iv: &[u8; BLOCK], frame: &mut [u8]) {
    blocks(key, iv, frame, (1, 0));
}

/// What headers of slices and of frames depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// Of H.264.
    H264(h264_slice::Parameters),
    /// Of HEVC.
    Hevc(hevc_slice::Parameters),
    /// Of AV1: it goes from frame to frame, and begins with a key frame.
    Av1(av1_frame::Reader),
}

impl Parameters {
    /// Of the stream of `config`; `None` for what our encoders do not write.
    pub fn of(config: &Config) -> Option<Self> {
        match &config.entry {
            b"avc1" => h264_slice::Parameters::parse(&config.record).map(Self::H264),
            b"hvc1" => hevc_slice::Parameters::parse(&config.record).map(Self::Hevc),
            b"av01" => av1_frame::Reader::new(&config.record).map(Self::Av1),
            _ => None,
        }
    }

    /// The parts of a sample that are encrypted, in order.
    fn covered(&mut self, config: &Config, sample: &[u8]) -> Option<Vec<Range<usize>>> {
        if let Self::Av1(reader) = self {
            // From the first byte of a tile to the last (AV1 in ISO base media, on `cbcs`).
            return reader.tiles(sample);
        }
        let slice = |(_, from, unit): (usize, usize, &[u8])| Some(from + self.clear_bytes(unit)?..from + unit.len());
        config.units(sample)?.into_iter().map(slice).collect()
    }

    /// Bytes of a unit that stay clear: the headers of a slice, and all of what is none.
    fn clear_bytes(&self, unit: &[u8]) -> Option<usize> {
        match self {
            Self::H264(parameters) if matches!(unit.first()? & 0x1f, 1 | 5) => parameters.header_bytes(unit),
            Self::Hevc(parameters) if hevc_slice::Parameters::is_slice(unit) => parameters.header_bytes(unit),
            Self::H264(_) | Self::Hevc(_) | Self::Av1(_) => Some(unit.len()),
        }
    }
}

/// Encrypts a picture in place and tells which bytes; headers stay clear.
/// `None` for what is no picture of ours.
pub fn picture(
    (key, iv): (&[u8; BLOCK], &[u8; BLOCK]),
    config: &Config,
    parameters: &mut Parameters,
    sample: &mut [u8],
) -> Option<Vec<Sealed>> {
    let mut map: Vec<Sealed> = Vec::new();
    let mut done = 0;
    for covered in parameters.covered(config, sample)? {
        if covered.len() >= BLOCK {
            push(&mut map, covered.start.checked_sub(done)?, covered.len())?;
            done = covered.end;
        }
    }
    if done < sample.len() {
        push(&mut map, sample.len() - done, 0)?;
    }
    let mut at = 0;
    for Sealed { clear, covered } in &map {
        at += usize::from(*clear);
        let end = at + usize::try_from(*covered).ok()?;
        blocks(key, iv, sample.get_mut(at..end)?, PATTERN);
        at = end;
    }
    Some(map)
}

/// One run, or several where more is clear than 16 bits say.
fn push(map: &mut Vec<Sealed>, mut clear: usize, covered: usize) -> Option<()> {
    while clear > usize::from(u16::MAX) {
        map.push(Sealed { clear: u16::MAX, covered: 0 });
        clear -= usize::from(u16::MAX);
    }
    map.push(Sealed { clear: u16::try_from(clear).ok()?, covered: u32::try_from(covered).ok()? });
    Some(())
}

/// Encrypts `crypt` blocks, leaves `skip`, and so on; what is no whole block stays clear.
fn blocks(key: &[u8; BLOCK], iv: &[u8; BLOCK], bytes: &mut [u8], (crypt, skip): (usize, usize)) {
    let mut encryptor = Encryptor::new(key.into(), iv.into());
    for (number, block) in bytes.chunks_exact_mut(BLOCK).enumerate() {
        if number % (crypt + skip) < crypt {
            encryptor.encrypt_block_mut(aes::Block::from_mut_slice(block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; BLOCK] = *b"0123456789abcdef";
    const IV: [u8; BLOCK] = *b"fedcba9876543210";

    #[test]
    fn one_block_in_ten_is_encrypted_and_the_chain_runs_on() {
        let plain = vec![7; 11 * BLOCK + 5];
        let mut sealed = plain.clone();
        blocks(&KEY, &IV, &mut sealed, PATTERN);
        assert_ne!(sealed[..BLOCK], plain[..BLOCK]);
        assert_eq!(sealed[BLOCK..10 * BLOCK], plain[BLOCK..10 * BLOCK]);
        assert_ne!(sealed[10 * BLOCK..11 * BLOCK], plain[..BLOCK]);
        assert_eq!(sealed[11 * BLOCK..], plain[11 * BLOCK..]);
        // The two encrypted blocks are the first two of plain CBC.
        let mut chained = vec![7; 2 * BLOCK];
        sound(&KEY, &IV, &mut chained);
        assert_eq!([&sealed[..BLOCK], &sealed[10 * BLOCK..11 * BLOCK]].concat(), chained);
    }

    /// `printf '%032d' 0 | openssl enc -aes-128-cbc -nopad -K … -iv …`
    #[test]
    fn sound_is_cbc_without_padding() {
        let mut frame = vec![b'0'; 37];
        sound(&KEY, &IV, &mut frame);
        assert_eq!(&frame[32..], b"00000");
        assert_eq!(hex::encode(&frame[..32]), OPENSSL);
    }

    const OPENSSL: &str = "258b235ec7a5ec00ef5c737aca6fe244c44157031db22e0e755f814856d21368";
}
