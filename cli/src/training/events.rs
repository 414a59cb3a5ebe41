//! TensorBoard's event files: what `log.csv` says, for who looks at many runs there. One kind of record is all that is needed; the
//! crates for it bring a compiler of protocol buffers.

use crate::report::io_error;
use onestep::Result;
use onestep::train::Line;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file, which is written to as the run goes on.
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// A file of its own in the run's folder; a run that goes on after this step has TensorBoard forget what came later.
    pub fn new(out: &Path, step: u64) -> Result<Self> {
        let now = seconds();
        let path = out.join(format!("events.out.tfevents.{:.0}.{}.onestep", now, std::process::id()));
        let file = File::create(&path).map_err(|error| io_error(&path, error))?;
        let mut events = Self { path, file };
        events.write(&event(now, 0, &text(3, b"brain.Event:2")))?;
        // A session's log that says START (1).
        events.write(&event(now, step + 1, &text(7, &number(1, 1))))?;
        Ok(events)
    }

    /// What a line of the log says.
    pub fn log(&mut self, line: &Line) -> Result<()> {
        let values = [
            ("loss", Some(line.loss)),
            ("test_loss", line.test_loss),
            ("score", line.score),
            ("rate", Some(line.rate)),
            ("gradient_norm", Some(line.gradient_norm)),
            ("images_per_second", Some(line.images_per_second)),
        ];
        let values = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let summary: Vec<u8> =
            values.flat_map(|(name, value)| text(1, &scalar(name, value as f32))).collect();
        self.write(&event(seconds(), line.step, &text(5, &summary)))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(|error| io_error(&self.path, error))
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// An `Event`: wall_time = 1, step = 2, and what it says.
fn event(time: f64, step: u64, what: &[u8]) -> Vec<u8> {
    [&[1 << 3 | 1][..], &time.to_le_bytes(), &number(2, step), what].concat()
}

/// A `Summary.Value`: tag = 1, simple_value = 2.
fn scalar(name: &str, value: f32) -> Vec<u8> {
    [&text(1, name.as_bytes())[..], &[2 << 3 | 5], &value.to_le_bytes()].concat()
}

/// A field of bytes.
fn text(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

/// A field of a whole number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A `TFRecord`: length and data, a masked checksum behind each.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let masked = |bytes: &[u8]| crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// CRC-32C (Castagnoli), a bit at a time: records have a hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_tensorboards() {
        // The checksum's own test value (RFC 3720).
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        // TensorBoard's writer's bytes of a scalar: `EventFileWriter` of tensorboard 2.
        let found = event(1.5, 300, &text(5, &text(1, &scalar("loss", 0.25))));
        let hex: String = record(&found).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, TENSORBOARD);
    }

    const TENSORBOARD: &str =
        "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed";
}
