//! The settings of pictures, of migrations and of mail.

use super::super::error::ConfigError;
use super::super::{Mail, Migrate};
use super::Reader;
use crate::plan::photo::{Format, PhotoSettings};

/// Smallest limit for a picture: a recognizable one and its metadata fit.
const LEAST: u64 = 50_000;

impl Reader<'_> {
    pub(super) fn photos(&self) -> Result<PhotoSettings, ConfigError> {
        let max_bytes = self.bytes("photos.max-size")?;
        if max_bytes < LEAST {
            return Err(self.wrong("photos.max-size", "give at least 50kB"));
        }
        let quality = self.quality("photos.quality")?;
        let quality_floor = self.quality("photos.quality-floor")?;
        if quality_floor > quality {
            return Err(self.wrong("photos.quality-floor", "give at most photos.quality"));
        }
        Ok(PhotoSettings {
            format: Format::of_name(self.choice("photos.format", &Format::NAMES)?),
            max_bytes,
            max_edge: Some(self.small("photos.max-edge", 0..=65_535)?).filter(|&edge| edge > 0),
            keep_location: self.switch("photos.keep-location"),
            quality,
            quality_floor,
            max_pixels: self.whole("photos.pixels", 1..=4_000_000_000)?,
        })
    }

    pub(super) fn mail(&self) -> Result<Mail, ConfigError> {
        let tls = self.choice("mail.encryption", &["starttls", "implicit", "none"])?;
        let usual = match tls {
            "implicit" => 465,
            "starttls" => 587,
            _ => 25,
        };
        let port = self.small("mail.port", 0..=65_535)?;
        Ok(Mail {
            server: self.text("mail.server").into(),
            port: u16::try_from(port).ok().filter(|&port| port > 0).unwrap_or(usual),
            tls: tls.into(),
            authority: self.path("mail.authority"),
            user: self.text("mail.user").into(),
            password_file: self.path("mail.password-file"),
            from: self.text("mail.from").into(),
            limit: self.bytes("mail.limit")?,
        })
    }

    pub(super) fn migrate(&self) -> Result<Migrate, ConfigError> {
        Ok(Migrate {
            transfers: self.whole("migrate.transfers", 1..=1000)?,
            bandwidth: Some(self.bytes("migrate.bandwidth")?).filter(|&bytes| bytes > 0),
            probe: self.switch("migrate.probe"),
            catalog: self.text("migrate.catalog").into(),
        })
    }

    fn quality(&self, key: &str) -> Result<u8, ConfigError> {
        Ok(u8::try_from(self.small(key, 1..=100)?).expect("the range ends at 100"))
    }
}
