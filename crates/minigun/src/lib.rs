//! minigun.
#![forbid(unsafe_code)]
