//! All tests of the whole program, in one binary: each more would be linked anew.
#![expect(clippy::unwrap_used, reason = "all of this binary is tests, its helpers too")]
#![expect(clippy::disallowed_methods, reason = "tests start processes and write files as they like")]

mod browser;
mod cli;
mod inputs;
mod names;
mod package;
mod support;
mod tidy;
mod zoo;
