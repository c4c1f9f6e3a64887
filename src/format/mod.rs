//! Bytes in and out: the containers, the playlists, the encryption. All pure.

pub mod aac;
pub mod adts;
pub mod aes128;
pub mod avif;
pub mod cbcs;
pub mod exif;
pub mod fmp4;
pub mod h264;
pub mod h264_slice;
pub mod jpeg;
pub mod keys;
pub mod looks;
pub mod mp4;
pub mod mpd_write;
pub mod place;
pub mod playlist;
pub mod playlist_write;
pub mod protection;
pub mod sniff;
pub mod sps;
pub mod tiff;
pub mod ts_read;
pub mod ts_write;
pub mod video;
pub mod webp;
pub mod webvtt;
