//! AES-128 of whole segments, as HLS wants it: CBC with PKCS#7 padding.

use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};

/// Bytes of a key, of an IV and of a block.
pub const BLOCK: usize = 16;

/// Why bytes are not an encrypted segment, or not one of this key and IV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// There is no last block to carry the padding, or it is cut.
    #[error("{0} bytes are not a whole number of 16-byte blocks")]
    Length(usize),
    /// The last block does not end in PKCS#7 padding.
    #[error("the padding is wrong: another key or IV, or damaged bytes")]
    Padding,
}

/// Encrypts a whole segment. Works in the memory of `plain`, which grows by 1 to 16 bytes.
pub fn encrypt(key: &[u8; BLOCK], iv: &[u8; BLOCK], mut plain: Vec<u8>) -> Vec<u8> {
    let length = plain.len();
    plain.resize(length + BLOCK - length % BLOCK, 0);
    cbc::Encryptor::<aes::Aes128>::new(key.into(), iv.into())
        .encrypt_padded_mut::<Pkcs7>(&mut plain, length)
        .expect("the room for the padding was just made");
    plain
}

/// Decrypts whole blocks that more blocks follow, for segments that are too large for memory. The
/// last block as it was is the IV of the next.
pub fn decrypt_blocks(key: &[u8; BLOCK], iv: &[u8; BLOCK], sealed: &mut [u8]) -> Result<(), DecryptError> {
    let length = sealed.len();
    let decryptor = cbc::Decryptor::<aes::Aes128>::new(key.into(), iv.into());
    decryptor.decrypt_padded_mut::<NoPadding>(sealed).map(drop).map_err(|_| DecryptError::Length(length))
}

/// Decrypts a whole segment in its own memory. All bytes of the padding are checked.
pub fn decrypt(key: &[u8; BLOCK], iv: &[u8; BLOCK], mut sealed: Vec<u8>) -> Result<Vec<u8>, DecryptError> {
    if sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
        return Err(DecryptError::Length(sealed.len()));
    }
    cbc::Decryptor::<aes::Aes128>::new(key.into(), iv.into())
        .decrypt_padded_mut::<NoPadding>(&mut sealed)
        .expect("the length was just checked");
    let padding = usize::from(sealed.last().copied().unwrap_or_default());
    let plain = sealed.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding));
    let plain = plain.ok_or(DecryptError::Padding)?;
    if sealed.iter().skip(plain).any(|&byte| usize::from(byte) != padding) {
        return Err(DecryptError::Padding);
    }
    sealed.truncate(plain);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; BLOCK] = *b"0123456789abcdef";
    const IV: [u8; BLOCK] = *b"fedcba9876543210";

    #[test]
    fn what_was_encrypted_comes_back() {
        for length in [0, 1, 15, 16, 17, 188, 188 * 16, 10_007] {
            let plain: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let sealed = encrypt(&KEY, &IV, plain.clone());
            assert_eq!(sealed.len(), length / BLOCK * BLOCK + BLOCK);
            assert_eq!(decrypt(&KEY, &IV, sealed).unwrap(), plain);
        }
    }

    #[test]
    fn blocks_by_themselves_are_those_of_the_whole() {
        let plain: Vec<u8> = (0..100).collect();
        let mut sealed = encrypt(&KEY, &IV, plain.clone());
        let rest = sealed.split_off(64);
        let next: [u8; BLOCK] = sealed[48..].try_into().unwrap();
        decrypt_blocks(&KEY, &IV, &mut sealed).unwrap();
        sealed.extend(decrypt(&KEY, &next, rest).unwrap());
        assert_eq!(sealed, plain);
        assert!(decrypt_blocks(&KEY, &IV, &mut [0; 17]).is_err());
    }

    /// `printf 'hello segment' | openssl enc -aes-128-cbc -K … -iv …`
    #[test]
    fn openssl_makes_the_same_bytes() {
        assert_eq!(hex::encode(encrypt(&KEY, &IV, b"hello segment".to_vec())), "755a1013626328fd46002d889060f595");
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        assert_eq!(decrypt(&KEY, &IV, Vec::new()), Err(DecryptError::Length(0)));
        assert_eq!(decrypt(&KEY, &IV, vec![0; 17]), Err(DecryptError::Length(17)));
        let mut cut = encrypt(&KEY, &IV, vec![99; 100]);
        cut.truncate(96);
        assert_eq!(decrypt(&KEY, &IV, cut), Err(DecryptError::Padding));
        let sealed = encrypt(&KEY, &IV, vec![99; 100]);
        assert_eq!(decrypt(&IV, &IV, sealed), Err(DecryptError::Padding));
    }

    #[test]
    fn every_byte_of_the_padding_counts() {
        // Flipping a bit of the block before flips the same bit of the last plain block.
        for at in 16..32 {
            let mut sealed = encrypt(&KEY, &IV, vec![7; 32]);
            sealed[at] ^= 0x20;
            assert_eq!(decrypt(&KEY, &IV, sealed), Err(DecryptError::Padding), "byte {at}");
        }
    }
}
