//! Bytes that can be read anywhere: a file, in pieces (no memory map: a file truncated under a map would kill the
//! host with SIGBUS), or memory.

use crate::error::{Error, Result, try_zeroed};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Bytes that can be read anywhere, by several threads.
pub trait Source: Sync {
    /// The file's path, or `memory`: what error messages call it.
    fn name(&self) -> &str;
    /// How many bytes there are.
    fn len(&self) -> u64;
    /// Fills `out` from `offset` on; less than that is an error.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
    /// Whether it is a file, and not memory.
    #[cfg(feature = "formats")]
    fn is_file(&self) -> bool {
        false
    }
}

/// How a git-lfs pointer begins, which stands in a file's place where git alone fetched it.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// An open file.
pub struct FileSource {
    name: String,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a file of at most `limit` bytes.
    pub fn open(path: &Path, limit: u64) -> Result<Self> {
        let file = open_now(path).map_err(|e| Error::io(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
        let name = path.display().to_string();
        // A pipe has no places to read at.
        if !metadata.is_file() {
            return Err(Error::bad_model(name, "not a regular file"));
        }
        let len = metadata.len();
        if len > limit {
            return Err(Error::bad_model(name, format!("{len} bytes, limits.file_bytes is {limit}")));
        }
        let source = Self { name, file, len };
        if source.is_lfs_pointer()? {
            return Err(lfs_pointer(path));
        }
        Ok(source)
    }

    /// The same file, open once more.
    #[cfg(feature = "formats")]
    pub fn again(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|e| Error::io(&self.name, e))?;
        Ok(Self { name: self.name.clone(), file, len: self.len })
    }

    /// What is read.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn is_lfs_pointer(&self) -> Result<bool> {
        let mut start = [0; LFS_POINTER.len()];
        // Whole pointers have some 130 bytes.
        if self.len > 1024 || self.len < start.len() as u64 {
            return Ok(false);
        }
        self.read_at(0, &mut start)?;
        Ok(start == LFS_POINTER)
    }
}

/// The error for a git-lfs pointer.
pub fn lfs_pointer(path: &Path) -> Error {
    let message = "a git-lfs pointer and not the file itself, which `git lfs pull` fetches";
    Error::bad_model(path.display().to_string(), message)
}

/// Whether a git-lfs pointer stands in a file's place.
pub fn is_lfs_pointer(path: &Path) -> bool {
    let Ok(file) = open_now(path) else { return false };
    let Ok(metadata) = file.metadata() else { return false };
    let source = FileSource { name: String::new(), file, len: metadata.len() };
    metadata.is_file() && source.is_lfs_pointer().unwrap_or(false)
}

/// Opens what is there, and waits for nobody to write to it if that is a pipe.
fn open_now(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        /// O_NONBLOCK.
        const NOW: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 0o4000 } else { 4 };
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, NOW);
    }
    options.open(path)
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
    #[cfg(feature = "formats")]
    fn is_file(&self) -> bool {
        true
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
    /// Reads from `bytes`, called `memory` in messages.
    pub fn new(bytes: B) -> Self {
        Self::named("memory", bytes)
    }

    /// The same, called `name`.
    pub fn named(name: &str, bytes: B) -> Self {
        Self { name: name.to_owned(), bytes }
    }
}

impl<B: AsRef<[u8]> + Sync> Source for MemorySource<B> {
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

/// A source as the zip reader wants it: short reads at the end.
pub struct ZipSource<'a>(pub &'a dyn Source);

impl rawzip::ReaderAt for ZipSource<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let len = out.len().min(self.0.len().saturating_sub(offset) as usize);
        self.0
            .read_at(offset.min(self.0.len()), &mut out[..len])
            .map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(len)
    }
}

/// Feeds a range of a source's bytes to a checksum.
pub fn checksum(source: &dyn Source, range: Range<u64>, hasher: &mut crc32fast::Hasher) -> Result<()> {
    pieces(source, range, |piece| hasher.update(piece))
}

/// Gives a range of a source's bytes to `each`, in pieces.
pub fn pieces(source: &dyn Source, range: Range<u64>, mut each: impl FnMut(&[u8])) -> Result<()> {
    let longest = range.end.saturating_sub(range.start).min(1 << 20) as usize;
    let mut buffer = try_zeroed(longest, "a read buffer")?;
    let mut at = range.start;
    while at < range.end {
        let piece = buffer.len().min((range.end - at) as usize);
        source.read_at(at, &mut buffer[..piece])?;
        each(&buffer[..piece]);
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
