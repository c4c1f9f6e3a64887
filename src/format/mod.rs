//! Bytes in and out: MP4 samples, MPEG-TS, playlists, AES-128.

pub mod aes128;
