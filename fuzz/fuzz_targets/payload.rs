//! Any bytes are read as the payload of every kind of frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minigun_fuzz::within_bounds;

fuzz_target!(|bytes: &[u8]| within_bounds(bytes, minigun::fuzz::payload));
