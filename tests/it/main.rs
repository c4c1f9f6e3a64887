//! One test binary: each file in `tests/` would be one more link.

mod tidy;
mod verify;
