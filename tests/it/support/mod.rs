//! What tests of the whole program share: a place to run it in, media to feed
//! it, and a judge of what it made that shares no code with it.

pub(crate) mod media;
pub(crate) mod oracle;
pub(crate) mod sandbox;
pub(crate) mod server;
pub(crate) mod watch;
