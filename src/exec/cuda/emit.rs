//! From a state to the caller's buffer: pixels are made on the device, and come over in pieces, one on its way while the
//! one before is laid out.

use super::State;
use super::driver::{Event, Gpu, Memory, Pinned, Stream, blocks};
use super::kernels::{Emit, int};
use super::weights::CudaDevice;
use crate::error::Result;
use crate::image::{Layout, Lines};
use std::sync::Arc;

/// Bytes of a piece.
const PIECE: usize = 4 << 20;

/// Pixels of a batch on the device, and two pieces of them on the host.
pub struct Output {
    gpu: Arc<Gpu>,
    pixels: Memory,
    pieces: Vec<(Pinned, Event)>,
}

impl Output {
    /// One without room.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        let pixels = Memory::alloc(gpu, 0, "pixels")?;
        Ok(Self { gpu: gpu.clone(), pixels, pieces: Vec::new() })
    }

    /// Makes room for batches whose state takes `bytes`, and all channels of a row of it `row`; no pixel format takes more.
    /// Nothing is on its way.
    pub fn reserve(&mut self, bytes: usize, row: usize) -> Result<()> {
        if bytes > self.pixels.bytes() {
            self.pieces.clear();
            self.pixels = Memory::alloc(&self.gpu, 0, "pixels")?;
            self.pixels = Memory::alloc(&self.gpu, bytes, "pixels on the device")?;
            for _ in 0..2 {
                self.pieces
                    .push((Pinned::alloc(&self.gpu, bytes.min(PIECE.max(row)))?, Event::new(&self.gpu)?));
            }
        }
        Ok(())
    }

    /// Bytes held on the device.
    pub fn bytes(&self) -> u64 {
        self.pixels.bytes() as u64
    }

    /// Writes a batch where `layout` says; returns when it is there. The context is current.
    pub fn write(
        &mut self,
        device: &CudaDevice,
        stream: &Stream,
        x: &State,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()> {
        let mut lines = Lines::new(x.shape, layout, out)?;
        let [n, c, h, w] = x.shape;
        let arguments = Emit {
            x: x.slot.address(),
            out: self.pixels.address(),
            batch: int(n)?,
            channels: int(c)?,
            pixels: int(h * w)?,
            format: layout.format as i32,
            unit_range: layout.unit_range.into(),
            unused: 0,
        };
        let count = blocks((n * h * w) as u64, 256)?;
        stream.launch(&device.kernels.emit.launch(count, 256, 0, &arguments))?;

        let line = lines.line_bytes();
        let room = self.pieces.first().map_or(0, |(piece, _)| piece.bytes()) / line * line;
        let total = lines.count() * line;
        if room == 0 || total > self.pixels.bytes() {
            return Err(crate::Error::Internal(format!("an output of {total} bytes was not planned")));
        }
        let length = |first: usize| room.min(total - first);
        let copied = (0..total).step_by(room).enumerate().try_for_each(|(i, first)| {
            let (piece, arrived) = &mut self.pieces[i % 2];
            // SAFETY: piece i - 2 was laid out in the last round, and nobody touches this one before `arrived`; `pixels`
            // has `total` bytes.
            unsafe { piece.copy_from(self.pixels.address() + first as u64, length(first), stream)? };
            arrived.record(stream)?;
            match first.checked_sub(room) {
                Some(before) => lay_out(&mut self.pieces[(i + 1) % 2], &mut lines, length(before)),
                None => Ok(()),
            }
        });
        // Whatever went wrong, no copy is left on its way.
        copied.and(stream.wait())?;
        let last = (total - 1) / room;
        lay_out(&mut self.pieces[last % 2], &mut lines, length(last * room))
    }
}

/// Waits for a piece, and puts its lines where they belong.
fn lay_out((piece, arrived): &mut (Pinned, Event), lines: &mut Lines, bytes: usize) -> Result<()> {
    arrived.wait()?;
    // SAFETY: its copy has arrived, and no other has begun.
    lines.put(unsafe { &piece.as_mut()[..bytes] });
    Ok(())
}
