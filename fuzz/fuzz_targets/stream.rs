//! A stream of any bytes, in parts of any length (the first two bytes say which), is cut into frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minigun_fuzz::within_bounds;

fuzz_target!(|bytes: &[u8]| {
    let Some((part, bytes)) = bytes.split_first_chunk() else { return };
    let part = usize::from(u16::from_le_bytes(*part));
    within_bounds(bytes, |bytes| {
        minigun::fuzz::stream(bytes, part);
    });
});
