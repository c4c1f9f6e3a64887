//! Takes the encryption off samples, in place and without changing a length.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockDecrypt as _, KeyInit as _};

use super::boxes::{Cursor, boxes};
use super::codec;
use super::fragment::Fragments;
use super::init::Init;
use super::protection::Protection;

/// Bytes of a block of the cipher.
const BLOCK: usize = 16;

/// Decrypts every protected sample of `bytes`. Only `cbcs` is known; others stay as they are, and the answer is `false`.
pub(in crate::job::verify) fn decrypt(bytes: &mut [u8], fragments: &Fragments, init: &Init, key: &[u8; BLOCK]) -> bool {
    let cipher = aes::Aes128::new(GenericArray::from_slice(key));
    for run in &fragments.runs {
        let Some(protection) = init.track(run.track).and_then(|track| track.protection.as_ref()) else { continue };
        if !protection.protected {
            continue;
        }
        if protection.scheme != "cbcs" {
            return false;
        }
        for sample in &run.samples {
            let Some(iv) = sample.cover.iv.or(protection.constant_iv) else { return false };
            let Some(data) = bytes.get_mut(sample.at..sample.at + sample.bytes) else { return false };
            let whole = [(0, u32::try_from(data.len()).unwrap_or(u32::MAX))];
            let parts = if sample.cover.parts.is_empty() { &whole[..] } else { &sample.cover.parts };
            let mut at = 0;
            for &(clear, sealed) in parts {
                at += clear as usize;
                let end = at + sealed as usize;
                if let Some(part) = data.get_mut(at..end) {
                    pattern(&cipher, part, iv, protection);
                }
                at = end;
            }
        }
    }
    true
}

/// CBC over the encrypted blocks of the pattern; what is no whole block is clear.
fn pattern(cipher: &aes::Aes128, part: &mut [u8], iv: [u8; BLOCK], protection: &Protection) {
    let (sealed, clear) = match protection.pattern {
        (0, _) => (1, 0),
        (sealed, clear) => (usize::from(sealed), usize::from(clear)),
    };
    let mut before = iv;
    for (index, block) in part.chunks_exact_mut(BLOCK).enumerate() {
        if index % (sealed + clear) >= sealed {
            continue;
        }
        let block: &mut [u8; BLOCK] = block.try_into().expect("chunks have the size of a block");
        let this = *block;
        cipher.decrypt_block(GenericArray::from_mut_slice(block));
        block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
        before = this;
    }
}

/// Renames entries and boxes so that a decoder takes the samples for clear ones.
pub(in crate::job::verify) fn clear_init(bytes: &mut [u8], init: &Init) {
    for (at, name) in renames(bytes, init) {
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&name);
        }
    }
}

/// The same for the boxes of a segment that tell how it was encrypted.
pub(in crate::job::verify) fn clear_segment(bytes: &mut [u8]) {
    let mut found = Vec::new();
    for moof in boxes(bytes).0.iter().filter(|atom| atom.name == *b"moof") {
        for traf in boxes(moof.body).0.iter().filter(|atom| atom.name == *b"traf") {
            let inside = boxes(traf.body).0;
            let sealing = inside.iter().filter(|atom| matches!(&atom.name, b"senc" | b"saiz" | b"saio"));
            found.extend(sealing.map(|atom| moof.body_at + traf.body_at + atom.at + 4));
        }
    }
    for at in found {
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(b"free");
        }
    }
}

/// Places of names, and the names that belong there.
fn renames(bytes: &[u8], init: &Init) -> Vec<(usize, [u8; 4])> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, &[u8])> = vec![(0, bytes)];
    while let Some((base, body)) = open.pop() {
        for atom in boxes(body).0 {
            let at = base + atom.body_at;
            match &atom.name {
                b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => open.push((at, atom.body)),
                b"stsd" => open.push((at + 8, atom.body.get(8..).unwrap_or_default())),
                b"pssh" => found.push((base + atom.at + 4, *b"free")),
                b"encv" | b"enca" => {
                    let handler = if atom.name == *b"encv" { *b"vide" } else { *b"soun" };
                    let inner = codec::extensions(handler, atom.body);
                    let Some(sinf) = boxes(inner).0.into_iter().find(|inner| inner.name == *b"sinf") else { continue };
                    let format = super::boxes::child(sinf.body, *b"frma").and_then(|frma| Cursor(frma.body).array());
                    let Some(format) = format else { continue };
                    let inner_at = at + (atom.body.len() - inner.len());
                    found.push((base + atom.at + 4, format));
                    found.push((inner_at + sinf.at + 4, *b"free"));
                }
                _ => {}
            }
        }
    }
    if init.tracks.iter().any(|track| track.protection.is_some()) { found } else { Vec::new() }
}
