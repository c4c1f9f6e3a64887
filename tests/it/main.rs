//! All tests of the whole program, in one binary: each more would be linked anew.
#![expect(clippy::unwrap_used, reason = "all of this binary is tests, its helpers too")]
#![expect(clippy::disallowed_methods, reason = "tests start processes and write files as they like")]
#![expect(clippy::print_stdout, reason = "numbers worth a look with --nocapture")]
#![expect(clippy::too_many_lines, reason = "a list full of trouble is long")]
#![cfg_attr(feature = "faults", expect(clippy::print_stderr, reason = "numbers worth a look with --nocapture"))]

mod browser;
#[cfg(all(feature = "faults", feature = "photos", feature = "stores"))]
mod bulk;
mod cli;
mod copy;
mod corpus;
mod extras;
mod hdr;
mod inputs;
mod manifest_inputs;
#[cfg(all(feature = "faults", feature = "stores"))]
mod migrate;
#[cfg(all(feature = "faults", feature = "stores"))]
mod migrate_faults;
mod names;
#[cfg(feature = "faults")]
mod otlp;
mod outputs;
mod package;
#[cfg(all(feature = "faults", feature = "photos"))]
mod photo;
#[cfg(all(feature = "faults", feature = "photos"))]
mod photo_formats;
#[cfg(all(feature = "faults", feature = "photos"))]
mod photo_mail;
mod producers;
mod quality;
mod queue_contract;
#[cfg(feature = "stores")]
mod storage_contract;
#[cfg(all(feature = "stores", feature = "faults"))]
mod store_faults;
mod store_inputs;
#[cfg(all(feature = "stores", feature = "faults"))]
mod store_outages;
#[cfg(feature = "stores")]
mod store_playback;
mod support;

#[cfg(feature = "faults")]
mod again;
#[cfg(feature = "faults")]
mod broken_tools;
#[cfg(feature = "faults")]
mod chaos;
#[cfg(feature = "faults")]
mod crash;
#[cfg(all(feature = "serve", feature = "stores"))]
mod deploy;
#[cfg(all(feature = "faults", feature = "stores"))]
mod film;
#[cfg(feature = "faults")]
mod full_disk;
mod gc;
#[cfg(feature = "faults")]
mod reach;
#[cfg(all(feature = "faults", feature = "serve"))]
mod rebind;
#[cfg(feature = "faults")]
mod rungs;
mod sidecar;
#[cfg(feature = "faults")]
mod signals;
#[cfg(all(feature = "faults", feature = "sftp"))]
mod ssh;
mod tidy;
mod to_stores;
mod verify;
mod verify_damage;
mod verify_foreign;
mod verify_packages;
mod verify_stored;
#[cfg(feature = "serve")]
mod web;
#[cfg(feature = "serve")]
mod web_guard;
#[cfg(feature = "serve")]
mod web_page;
#[cfg(feature = "serve")]
mod web_schema;
#[cfg(feature = "faults")]
mod worker;
