//! Zip archives: their members, stored or deflated, each checked against its checksum as it is read.

use crate::error::{Error, Result, try_zeroed};
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// An open archive.
pub struct Archive {
    name: String,
    archive: ZipArchive<Shared>,
    /// In the order of the archive, without its folders.
    pub members: Vec<Member>,
}

/// A file in an archive.
pub struct Member {
    /// Its name, of which nothing is made but a label: no path is opened by it.
    pub name: String,
    /// Its bytes, unpacked.
    pub len: u64,
    crc: u32,
    packing: CompressionMethod,
    place: ZipArchiveEntryWayfinder,
}

#[derive(Clone)]
struct Shared(Arc<FileReader>);

impl ReaderAt for Shared {
    fn read_at(&self, out: &mut [u8], at: u64) -> std::io::Result<usize> {
        self.0.read_at(out, at)
    }
}

impl Archive {
    /// Reads the list of an archive's members, of which anybody would write `most`.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is no archive, or a damaged one.
    pub fn open(path: &Path, most: usize) -> Result<Self> {
        let name = path.display().to_string();
        let bad = |message: String| Error::bad_model(&name, message);
        let failed = |error: rawzip::Error| bad(format!("truncated or damaged zip archive: {error}"));
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
        if !metadata.is_file() {
            return Err(bad("not a regular file".into()));
        }
        let mut buffer = try_zeroed(rawzip::RECOMMENDED_BUFFER_SIZE, "a read buffer")?;
        let archive = rawzip::ZipLocator::new()
            .locate_in_reader(Shared(Arc::new(file.into())), &mut buffer, metadata.len())
            .map_err(|(_, error)| failed(error))?;
        let mut members = Vec::new();
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(failed)? {
            if entry.is_dir() {
                continue;
            }
            if members.len() == most {
                return Err(bad(format!("a zip archive of more than {most} members")));
            }
            members.push(Member {
                name: String::from_utf8_lossy(entry.file_path().as_ref()).into_owned(),
                len: entry.uncompressed_size_hint(),
                crc: entry.crc32(),
                packing: entry.compression_method(),
                place: entry.wayfinder(),
            });
        }
        Ok(Self { name, archive, members })
    }

    /// A member's bytes, one after the other: as many as the archive says, and an error at their end if their checksum is another.
    ///
    /// # Errors
    /// BAD_MODEL for a member that is neither stored nor deflated, or is not where the archive says.
    pub fn reader(&self, member: &Member) -> Result<Box<dyn Read + Send>> {
        let bad = |message: String| Error::bad_model(&self.name, format!("{}: {message}", member.name));
        let entry = self.archive.get_entry(member.place).map_err(|error| bad(error.to_string()))?;
        let (at, end) = entry.compressed_data_range();
        let part = Part { file: self.archive.get_ref().clone(), at, end };
        let part = BufReader::with_capacity(1 << 16, part);
        let bytes: Box<dyn Read + Send> = match member.packing {
            CompressionMethod::STORE => Box::new(part),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(part)),
            other => return Err(bad(format!("packed by {other:?}; stored and deflated members are read"))),
        };
        let crc = crc32fast::Hasher::new();
        Ok(Box::new(Checked { of: bytes, left: member.len, crc, expected: member.crc }))
    }
}

/// Bytes of a file, one after the other.
struct Part {
    file: Shared,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(out.len());
        let len = self.file.read_at(&mut out[..most], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Bytes of a member: as many as its archive says, of the checksum that it says.
struct Checked {
    of: Box<dyn Read + Send>,
    left: u64,
    crc: crc32fast::Hasher,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let len = self.of.read(&mut out[..most])?;
        self.crc.update(&out[..len]);
        self.left -= len as u64;
        if self.left == 0 && len > 0 && self.crc.clone().finalize() != self.expected {
            return Err(std::io::Error::other("damaged: another checksum than the archive says"));
        }
        Ok(len)
    }
}
