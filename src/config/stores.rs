//! The settings of stores, and the places of `[storage.<name>.<kind>]`.

use std::collections::BTreeMap;

use super::check::Reader;
use super::error::ConfigError;
use crate::storage::open::{Stores, Variables, WireSettings};
use crate::storage::options::{Fields, SECRETS};
use crate::storage::outage::Outages;
use crate::storage::patience::Rules;
use crate::storage::store::StoreSettings;

/// The storage of the defaults that only shows what there is to set.
const EXAMPLE: &str = "example";

/// Whether the value of a setting is never shown.
pub(super) fn is_secret(key: &str) -> bool {
    key.starts_with("storage.") && key.rsplit('.').next().is_some_and(|field| SECRETS.contains(&field))
}

impl Reader<'_> {
    pub(super) fn stores(&self) -> Result<Stores, ConfigError> {
        let rules = Rules {
            most: usize::try_from(self.whole("stores.requests", 1..=1000)?).expect("at most 1000"),
            tries: self.small("stores.tries", 1..=100)?,
            longest_wait: self.time("stores.longest-wait", 0.1..=3600.0)?,
            patience: self.time("stores.patience", 0.0..=604_800.0)?,
        };
        let part_bytes = self.bytes("stores.part-size")?;
        // S3 takes no smaller parts, and each is held in memory.
        if !(5 << 20..=1 << 30).contains(&part_bytes) {
            return Err(self.wrong("stores.part-size", "give a size from 5MiB to 1GiB"));
        }
        let parts_at_once = usize::try_from(self.whole("stores.parts", 1..=100)?).expect("at most 100");
        let network = self.network()?;
        let wire = WireSettings {
            connect_timeout: network.connect_timeout,
            stall: self.time("stores.stall", 1.0..=3600.0)?,
            user_agent: network.user_agent,
            ca_bundle: None,
        };
        let settings = StoreSettings { rules, part_bytes, parts_at_once };
        Ok(Stores {
            settings,
            wire,
            named: self.places()?,
            variables: Variables::default(),
            outages: Outages::default(),
        })
    }

    /// The places of `[storage.<name>.<kind>]`, each of one kind.
    fn places(&self) -> Result<BTreeMap<String, Fields>, ConfigError> {
        let mut places: BTreeMap<String, Fields> = BTreeMap::new();
        for (key, setting) in self.layers.iter() {
            let parts: Vec<&str> = key.split('.').collect();
            let ["storage", name, kind, field] = parts[..] else { continue };
            if name == EXAMPLE {
                continue;
            }
            let fields = places.entry(name.into()).or_insert_with(|| Fields::new(kind));
            if fields.kind() != kind {
                let wanted =
                    format!("storage `{name}` is of kind `{}` already: give this one another name", fields.kind());
                return Err(self.wrong(key, &wanted));
            }
            let value = setting.value.as_str().map_or_else(|| setting.value.to_string(), Into::into);
            fields.set(field, &value);
        }
        Ok(places)
    }
}
