//! Tests of whole features, in one binary.

mod verify;
