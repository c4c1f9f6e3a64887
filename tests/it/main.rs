//! All tests of the whole program, in one binary: each more would be linked anew.

mod tidy;
