//! Bytes that can be read anywhere: a file, in pieces (no memory map: a file truncated under a map would kill the
//! host with SIGBUS), or memory.

use crate::error::{Error, Result, try_zeroed};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Bytes that can be read anywhere.
pub trait Source {
    /// The file's path, or `memory`: what error messages call it.
    fn name(&self) -> &str;
    /// How many bytes there are.
    fn len(&self) -> u64;
    /// Fills `out` from `offset` on; less than that is an error.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

/// An open file.
pub struct FileSource {
    name: String,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a file of at most `limit` bytes.
    pub fn open(path: &Path, limit: u64) -> Result<Self> {
        // A pipe would be waited for, and has no places to read at.
        if !std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_file() {
            return Err(Error::bad_model(path.display().to_string(), "not a regular file"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let len = file.metadata().map_err(|e| Error::io(path, e))?.len();
        let name = path.display().to_string();
        if len > limit {
            return Err(Error::bad_model(name, format!("{len} bytes, limits.file_bytes is {limit}")));
        }
        Ok(Self { name, file, len })
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(self, offset, out.len())?;
        read_exact_at(&self.file, offset, out).map_err(|e| Error::io(&self.name, e))
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> std::io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                offset += n as u64;
                out = &mut out[n..];
            }
        }
    }
    Ok(())
}

/// Bytes in memory, borrowed or owned.
pub struct MemorySource<B> {
    name: String,
    bytes: B,
}

impl<B: AsRef<[u8]>> MemorySource<B> {
    /// Reads from `bytes`.
    pub fn new(bytes: B) -> Self {
        Self::named("memory", bytes)
    }

    /// The same, called `name` in messages.
    pub fn named(name: &str, bytes: B) -> Self {
        Self { name: name.to_owned(), bytes }
    }
}

impl<B: AsRef<[u8]>> Source for MemorySource<B> {
    fn name(&self) -> &str {
        &self.name
    }
    fn len(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(self, offset, out.len())?;
        let start = offset as usize;
        out.copy_from_slice(&self.bytes.as_ref()[start..start + out.len()]);
        Ok(())
    }
}

/// `len` bytes of a source from `start` on; `what` they are, if memory for them cannot be had.
pub fn read(source: &dyn Source, start: u64, len: u64, what: &'static str) -> Result<Vec<u8>> {
    let mut bytes = try_zeroed(len as usize, what)?;
    source.read_at(start, &mut bytes)?;
    Ok(bytes)
}

/// Feeds a range of a source's bytes to a checksum, in pieces.
pub fn checksum(source: &dyn Source, range: Range<u64>, hasher: &mut crc32fast::Hasher) -> Result<()> {
    let longest = range.end.saturating_sub(range.start).min(1 << 20) as usize;
    let mut buffer = try_zeroed(longest, "a read buffer")?;
    let mut at = range.start;
    while at < range.end {
        let piece = buffer.len().min((range.end - at) as usize);
        source.read_at(at, &mut buffer[..piece])?;
        hasher.update(&buffer[..piece]);
        at += piece as u64;
    }
    Ok(())
}

fn check_range(source: &dyn Source, offset: u64, len: usize) -> Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= source.len() => Ok(()),
        _ => {
            let message =
                format!("ends at byte {}, but {len} bytes from {offset} on are needed", source.len());
            Err(Error::bad_model(source.name(), message))
        }
    }
}
