//! Bytes in and out: MP4 samples, MPEG-TS, playlists, AES-128.

pub mod adts;
pub mod aes128;
pub mod playlist;
pub mod sps;
pub mod ts_read;
