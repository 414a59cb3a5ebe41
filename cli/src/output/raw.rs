//! Bytes on stdout, or in a device or pipe.

use super::Sink;
use crate::draw::Item;
use crate::report::{io_error, stdout_error};
use onestep::Result;
use onestep::image::{Format, Layout};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Images one after the other, with nothing around them.
pub struct Raw {
    place: Option<(PathBuf, File)>,
    format: Format,
}

impl Raw {
    /// In the format given, into what is at `place`, or on stdout.
    pub fn new(place: Option<&Path>, format: Format) -> Result<Self> {
        let Some(place) = place else {
            if stdout_is_closed() {
                let closed = std::io::Error::other("it is closed");
                return Err(io_error(Path::new("stdout"), closed));
            }
            return Ok(Self { place: None, format });
        };
        let file = OpenOptions::new().write(true).open(place).map_err(|error| io_error(place, error))?;
        Ok(Self { place: Some((place.to_owned(), file)), format })
    }
}

impl Sink for Raw {
    fn layout(&self) -> Layout {
        Layout { format: self.format, ..Layout::default() }
    }

    fn put(&mut self, _items: &[Item], bytes: &[u8]) -> Result<()> {
        if let Some((place, file)) = &mut self.place {
            return file.write_all(bytes).map_err(|error| io_error(place, error));
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(stdout_error)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Whether this process was started with stdout closed. Rust's runtime then puts /dev/null in its place, open for reading too, as
/// `> /dev/null` never has it. Told on Linux alone.
fn stdout_is_closed() -> bool {
    let null = std::fs::read_link("/proc/self/fd/1").is_ok_and(|place| place == Path::new("/dev/null"));
    let Ok(info) = std::fs::read_to_string("/proc/self/fdinfo/1") else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    null && flags.is_some_and(|flags| flags & 3 == 2)
}
