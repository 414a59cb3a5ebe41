//! The fuzzers' bodies on the stable toolchain: over their seeds and all that ever failed (`tests/fuzz/seeds`), and over what a few
//! thousand fixed changes make of those.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use crate::common::repository;

/// Changed inputs for each seed.
const CHANGES: u64 = 200;

#[test]
fn seeds_and_changed_seeds_are_survived() {
    for (name, _) in bodies::TARGETS {
        let folder = repository().join("tests/fuzz/seeds").join(name);
        let mut seeds: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
        for (number, seed) in seeds.iter().enumerate() {
            let bytes = std::fs::read(seed).unwrap();
            bodies::run(name, &bytes);
            for change in 0..CHANGES {
                bodies::run(name, &changed(&bytes, number as u64 * CHANGES + change + 1));
            }
        }
    }
}

/// Bytes set, cut off, doubled or left out.
fn changed(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below.max(1)
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=random(6) {
        let at = random(bytes.len());
        match random(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..(at + random(64)).min(bytes.len())),
            2 => drop(bytes.drain(at..(at + random(16)).min(bytes.len()))),
            kind if at < bytes.len() => {
                bytes[at] = match kind {
                    3 => 0,
                    4 => 0xFF,
                    5 => bytes[at] ^ 1 << random(8),
                    _ => random(256) as u8,
                }
            }
            _ => bytes.push(random(256) as u8),
        }
    }
    bytes
}
