//! What tests of the whole program share: a place to run it in, media to feed
//! it, and a judge of what it made that shares no code with it.
#![cfg_attr(not(feature = "faults"), expect(dead_code, reason = "tests that break things need the feature"))]

pub(crate) mod bench;
pub(crate) mod brokers;
#[cfg(feature = "stores")]
pub(crate) mod cutter;
pub(crate) mod fake_tools;
pub(crate) mod media;
pub(crate) mod oracle;
#[cfg(feature = "sftp")]
pub(crate) mod pipe;
#[cfg(all(feature = "faults", feature = "stores"))]
pub(crate) mod postgres;
pub(crate) mod sandbox;
pub(crate) mod server;
#[cfg(feature = "serve")]
pub(crate) mod site;
pub(crate) mod slow_server;
#[cfg(feature = "stores")]
pub(crate) mod stores;
pub(crate) mod watch;
pub(crate) mod yard;
