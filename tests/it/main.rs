//! All tests of the whole program, in one binary: each more would be linked anew.
#![expect(clippy::unwrap_used, reason = "all of this binary is tests, its helpers too")]

mod tidy;
mod verify;
