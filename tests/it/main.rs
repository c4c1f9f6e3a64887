//! All tests of the whole program, in one binary: each more would be linked anew.
#![expect(clippy::unwrap_used, reason = "all of this binary is tests, its helpers too")]
#![expect(clippy::disallowed_methods, reason = "tests start processes and write files as they like")]
#![expect(clippy::print_stdout, reason = "numbers worth a look with --nocapture")]
#![expect(clippy::too_many_lines, reason = "a list full of trouble is long")]
#![cfg_attr(feature = "faults", expect(clippy::print_stderr, reason = "numbers worth a look with --nocapture"))]

mod browser;
mod cli;
mod copy;
mod corpus;
mod inputs;
#[cfg(all(feature = "faults", feature = "stores"))]
mod migrate;
mod names;
mod outputs;
mod package;
#[cfg(all(feature = "faults", feature = "photos"))]
mod photo;
#[cfg(all(feature = "faults", feature = "photos"))]
mod photo_mail;
mod queue_contract;
#[cfg(feature = "stores")]
mod storage_contract;
mod support;

#[cfg(feature = "faults")]
mod again;
#[cfg(feature = "faults")]
mod broken_tools;
#[cfg(feature = "faults")]
mod crash;
#[cfg(feature = "faults")]
mod full_disk;
#[cfg(feature = "faults")]
mod signals;
mod tidy;
mod verify;
mod verify_damage;
mod verify_foreign;
mod verify_packages;
