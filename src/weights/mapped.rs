//! Files in memory, for callers who promise that nobody changes them meanwhile.
#![allow(unsafe_code)]

use super::source::FileSource;
use crate::error::{Error, Result};

/// A file's bytes, which are read when they are first looked at.
pub struct Map(memmap2::Mmap);

impl Map {
    /// All of a file that is open.
    pub fn of(source: &FileSource) -> Result<Self> {
        // SAFETY: bytes that change under a map are no Rust slice. That nobody changes the file is what callers promise with
        // `memory=map` (`MemoryMode::Map`), which nothing else leads here.
        let map = unsafe { memmap2::MmapOptions::new().populate().map(source.file()) };
        map.map(Self).map_err(|e| Error::io(super::source::Source::name(source), e))
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
