//! The network's operations as launches of kernels.

use super::kernels::{
    Attend, Conv as ConvArguments, HEADS, Norm as NormArguments, Resized, TILE_THREADS, TILES,
    activation_number, int,
};
use super::time::Rows;
use super::weights::{Attention, Conv, Norm};
use super::{Act, Cuda, State, blocks, driver};
use crate::error::{Error, Result};
use crate::exec::{Activation, ConvKind, Input, NormActConv, Resize, TimeUse};

/// Stages and channels a step of the convolutions' pipeline (`conv.cuh`).
const STAGES: usize = 3;
const DEPTH: usize = 64;
/// Queries and keys of attention's tiles (`attention.cuh`).
const QUERIES: usize = 64;
const KEYS: usize = 32;
/// Threads of a block of a norm, and channels that such a block reads side by side at least: two sectors of memory.
const NORM_THREADS: usize = 256;
const NORM_CHANNELS: usize = 32;
/// Floats of a chunk of scores, and threads, of plain attention.
const PLAIN_SCORES: usize = 1024;
const PLAIN_THREADS: usize = 128;

/// How a norm's result is changed by the images' time rows, and activated.
struct Finish<'a> {
    /// Scale and shift: rows, and where they begin.
    rows: Option<(&'a Rows, usize)>,
    activation: Option<Activation>,
}

/// What follows a convolution's sums.
#[derive(Default)]
struct After<'a> {
    rows: Option<(&'a Rows, usize)>,
    residual: Option<&'a Act>,
    scale: Option<f32>,
}

impl Cuda {
    pub(super) fn first_conv(&mut self, x: &State, conv: &Conv) -> Result<Act> {
        let Some(ConvKind::In { center }) = conv.kind else {
            return Err(Error::Internal("a first convolution of another kind".to_owned()));
        };
        let [n, c, h, w] = x.shape;
        expect(c, conv)?;
        let out = self.new_act([n, conv.c_out, h, w])?;
        let arguments = ConvArguments {
            planes_in: if center { 2 } else { 1 },
            a: x.slot.address(),
            channels_a: int(c)?,
            out: out.slot.address(),
            ..convolution(conv, [n, h, w], [h, w], (1, 1))?
        };
        self.note_conv(&arguments, false)?;
        Ok(out)
    }

    pub(super) fn last_conv(&mut self, x: &Act, norm: &Norm, conv: &Conv) -> Result<State> {
        let finish = Finish { rows: None, activation: Some(Activation::Silu) };
        let x = self.norm(Input::One(x), norm, &finish)?;
        let [n, c, h, w] = x.shape;
        expect(c, conv)?;
        let out = self.new_state([n, conv.c_out, h, w])?;
        let arguments = ConvArguments {
            planes_out: 1,
            a: x.slot.address(),
            channels_a: int(c)?,
            out: out.slot.address(),
            ..convolution(conv, [n, h, w], [h, w], (1, 1))?
        };
        self.note_conv(&arguments, false)?;
        Ok(out)
    }

    pub(super) fn normalised_conv(&mut self, x: Input<Act>, op: &NormActConv<Self>) -> Result<Act> {
        let mut finish = Finish { rows: None, activation: Some(op.activation) };
        let mut after = After { residual: op.residual, scale: Some(op.scale), ..After::default() };
        let images = first(x).shape[0];
        match op.time {
            Some((rows, slot, TimeUse::Bias)) => {
                after.rows = Some((rows, rows.slot(slot, op.conv.c_out, images)?));
            }
            Some((rows, slot, TimeUse::ScaleShift)) => {
                finish.rows = Some((rows, rows.slot(slot, 2 * op.norm.channels, images)?));
            }
            None => {}
        }
        let mut normed = self.norm(x, op.norm, &finish)?;
        if op.conv.kind == Some(ConvKind::Pooled) {
            normed = self.resized(&normed, Resize::Halve)?;
        }
        self.conv(Input::One(&normed), op.conv, &after)
    }

    pub(super) fn resized(&mut self, x: &Act, resize: Resize) -> Result<Act> {
        let [n, c, h, w] = x.shape;
        let (h, w) = (resize.of(h), resize.of(w));
        let out = self.new_act([n, c, h, w])?;
        if self.arena.planning() {
            return Ok(out);
        }
        let arguments = Resized {
            x: x.slot.address(),
            out: out.slot.address(),
            batch: int(n)?,
            height: int(h)?,
            width: int(w)?,
            channels: int(c)?,
            halve: i32::from(resize == Resize::Halve),
            unused: 0,
        };
        let count = blocks((n * c * h * w) as u64, 256)?;
        self.recorder.note(self.device.kernels.resize, count, 256, 0, &arguments);
        Ok(out)
    }

    pub(super) fn linear(&mut self, x: Input<Act>, linear: &Conv) -> Result<Act> {
        self.conv(x, linear, &After::default())
    }

    pub(super) fn resample(&mut self, x: &Act, conv: &Conv) -> Result<Act> {
        self.conv(Input::One(x), conv, &After::default())
    }

    pub(super) fn self_attention(&mut self, x: &Act, attention: &Attention) -> Result<Act> {
        let qkv = match &attention.norm {
            Some(norm) => {
                let normed = self.norm(Input::One(x), norm, &Finish { rows: None, activation: None })?;
                self.linear(Input::One(&normed), &attention.qkv)?
            }
            None => self.linear(Input::One(x), &attention.qkv)?,
        };
        let mixed = self.attend(&qkv, x.shape, attention.heads)?;
        drop(qkv);
        let after = After { residual: Some(x), scale: Some(attention.scale), ..After::default() };
        self.conv(Input::One(&mixed), &attention.out, &after)
    }

    /// A convolution of one activation or two, at whatever stride its kind has.
    fn conv(&mut self, x: Input<Act>, conv: &Conv, after: &After) -> Result<Act> {
        let (a, b) = match x {
            Input::One(a) => (a, None),
            Input::Pair(a, b) => (a, Some(b)),
        };
        let [n, ca, h, w] = a.shape;
        let cb = b.map_or(0, |b| b.shape[1]);
        expect(ca + cb, conv)?;
        if b.is_some_and(|b| b.shape != [n, cb, h, w]) {
            return Err(Error::Internal(format!("{:?} beside {:?}", a.shape, b.map(|b| b.shape))));
        }
        // Output size, stride, border on top and left; what is missing on the right and below is zero too.
        let (size, stride, pad) = match conv.kind {
            None => ([h, w], 1, 0),
            Some(ConvKind::Down { symmetric }) => {
                let pad = usize::from(symmetric);
                let half = |side: usize| (side + 1 + pad - 3) / 2 + 1;
                ([half(h), half(w)], 2, pad)
            }
            Some(ConvKind::Up) => ([2 * h, 2 * w], 1, 1),
            Some(_) => ([h, w], 1, 1),
        };
        let out = self.new_act([n, conv.c_out, size[0], size[1]])?;
        if after.residual.is_some_and(|residual| residual.shape != out.shape) {
            return Err(Error::Internal(format!("a residual that is not {:?}", out.shape)));
        }
        let (rows, row_of, row_stride, row_offset) = placed(after.rows)?;
        let arguments = ConvArguments {
            a: a.slot.address(),
            b: b.map_or(0, |b| b.slot.address()),
            channels_a: int(ca)?,
            channels_b: int(cb)?,
            rows,
            row_of,
            row_stride,
            row_offset,
            residual: after.residual.map_or(0, |residual| residual.slot.address()),
            out: out.slot.address(),
            scale: after.scale.unwrap_or(1.0),
            doubled: i32::from(conv.kind == Some(ConvKind::Up)),
            ..convolution(conv, [n, h, w], size, (stride, pad))?
        };
        self.note_conv(&arguments, after.rows.is_some())?;
        Ok(out)
    }

    /// Chooses kernel and tile. `timed`: there are rows, though they have no place while planning.
    fn note_conv(&mut self, arguments: &ConvArguments, timed: bool) -> Result<()> {
        let counted = |height: i32, width: i32| {
            let pixels = arguments.batch.checked_mul(height)?.checked_mul(width)?;
            // A tile's last row is counted too.
            (pixels < i32::MAX - 256).then_some(pixels)
        };
        let pixels = counted(arguments.height, arguments.width)
            .and(counted(arguments.out_height, arguments.out_width))
            .ok_or_else(|| {
                let message = "more pixels in one call than a CUDA kernel counts; use a smaller batch";
                Error::argument("batch", message)
            })?;
        if self.convolved_by_cudnn(arguments, timed)? || self.arena.planning() {
            return Ok(());
        }
        let tiles = |tile: u32| {
            u64::from((pixels as u32).div_ceil(tile))
                * u64::from((arguments.out_channels as u32).div_ceil(tile))
        };
        let kernels = &self.device.kernels;
        let fits = arguments.planes_in == 0
            && eights(arguments.channels_a)
            && eights(arguments.channels_b)
            && (arguments.planes_out != 0 || eights(arguments.out_channels));
        let (function, blocks_wanted, threads, shared) = match &kernels.conv {
            Some(functions) if fits => {
                let shared = |tile: u32| STAGES * 2 * tile as usize * DEPTH * 2;
                let busy = u64::from(self.blocks_wanted);
                // The largest tile that still gives every multiprocessor one.
                let place = TILES.iter().position(|&tile| {
                    tiles(tile) >= busy
                        && tile <= (arguments.out_channels as u32).next_multiple_of(32)
                        && shared(tile) <= self.device.gpu.shared_limit as usize
                });
                let place = place.unwrap_or(TILES.len() - 1);
                (functions[place], tiles(TILES[place]), TILE_THREADS, shared(TILES[place]))
            }
            _ => (kernels.conv_plain, tiles(64), 256, 0),
        };
        self.recorder.note(function, blocks(blocks_wanted, 1)?, threads, shared as u32, arguments);
        Ok(())
    }

    fn norm(&mut self, x: Input<Act>, norm: &Norm, finish: &Finish) -> Result<Act> {
        let (a, b) = match x {
            Input::One(a) => (a, None),
            Input::Pair(a, b) => (a, Some(b)),
        };
        let [n, ca, h, w] = a.shape;
        let cb = b.map_or(0, |b| b.shape[1]);
        if ca + cb != norm.channels {
            return Err(Error::Internal(format!("a norm of {} channels on {}", norm.channels, ca + cb)));
        }
        let out = self.new_act([n, ca + cb, h, w])?;
        let (rows, row_of, row_stride, row_offset) = placed(finish.rows)?;
        if self.arena.planning() {
            return Ok(out);
        }
        let group = norm.channels / norm.groups;
        let vector = self.device.element.vector();
        // The fewest groups that a block can read in whole vectors and sectors.
        let block_groups = |vector: usize| {
            let mut counts = (1..=norm.groups).filter(|count| norm.groups.is_multiple_of(*count));
            let whole = |count: usize| (count * group).is_multiple_of(vector);
            counts.find(|&count| whole(count) && (count * group >= NORM_CHANNELS || count == norm.groups))
        };
        let whole = ca.is_multiple_of(vector) && cb.is_multiple_of(vector);
        let wide = block_groups(vector)
            .filter(|_| whole)
            .map(|count| (count, vector, self.device.kernels.norm_vector));
        let single = || (block_groups(1).unwrap_or(norm.groups), 1, self.device.kernels.norm_single);
        let (block_groups, vector, function) = wide.unwrap_or_else(single);
        let arguments = NormArguments {
            a: a.slot.address(),
            b: b.map_or(0, |b| b.slot.address()),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            rows,
            row_of,
            out: out.slot.address(),
            batch: int(n)?,
            pixels: int(h * w)?,
            channels_a: int(ca)?,
            channels_b: int(cb)?,
            groups: int(norm.groups)?,
            block_groups: int(block_groups)?,
            activation: activation_number(finish.activation),
            row_stride,
            row_offset,
            eps: norm.eps,
        };
        let floats = 2 * NORM_THREADS * vector + 2 * block_groups * group + 2 * block_groups;
        let shared = self.shared(size_of::<f32>() * floats, "a norm")?;
        let count = blocks((n * norm.groups / block_groups) as u64, 1)?;
        self.recorder.note(function, count, NORM_THREADS as u32, shared, &arguments);
        Ok(out)
    }

    /// softmax(q k^T / sqrt(d)) v of (batch, tokens, 3 c).
    fn attend(&mut self, qkv: &Act, shape: [usize; 4], heads: usize) -> Result<Act> {
        let [n, c, h, w] = shape;
        let out = self.new_act(shape)?;
        if self.arena.planning() {
            return Ok(out);
        }
        let (tokens, d) = (h * w, c / heads);
        let arguments = Attend {
            qkv: qkv.slot.address(),
            out: out.slot.address(),
            batch: int(n)?,
            tokens: int(tokens)?,
            heads: int(heads)?,
            head_channels: int(d)?,
            factor: (d as f32).sqrt().recip(),
            unused: 0,
        };
        let place = HEADS.iter().position(|&width| d <= width as usize).unwrap_or(HEADS.len() - 1);
        let width = HEADS[place] as usize;
        let bytes = 2 * ((QUERIES + KEYS) * (d.next_multiple_of(16) + 8) + KEYS * (width + 8));
        match &self.device.kernels.attention {
            Some(functions) if d.is_multiple_of(8) && bytes <= self.device.gpu.shared_limit as usize => {
                let count = n * heads * d.div_ceil(width) * tokens.div_ceil(QUERIES);
                self.recorder.note(functions[place], blocks(count as u64, 1)?, 128, bytes as u32, &arguments);
            }
            _ => {
                let shared =
                    self.shared(size_of::<f32>() * (PLAIN_SCORES + PLAIN_THREADS + d), "attention")?;
                let (function, count) = (self.device.kernels.attention_plain, n * heads * tokens);
                self.recorder.note(
                    function,
                    blocks(count as u64, 1)?,
                    PLAIN_THREADS as u32,
                    shared,
                    &arguments,
                );
            }
        }
        Ok(out)
    }

    /// Shared memory of a block, if the device has so much.
    fn shared(&self, bytes: usize, what: &str) -> Result<u32> {
        let limit = self.device.gpu.shared_limit;
        if bytes > limit as usize {
            let message =
                format!("{what} takes {bytes} bytes of shared memory a block, the device has {limit}");
            return Err(Error::DeviceFailed { device: self.device.gpu.id.clone(), message });
        }
        Ok(bytes as u32)
    }
}

/// Whether channels come in whole 16 bytes of 16-bit elements.
pub(super) fn eights(channels: i32) -> bool {
    channels % 8 == 0
}

/// A convolution's own arguments, without what it reads and writes.
fn convolution(
    conv: &Conv,
    [n, h, w]: [usize; 3],
    [out_h, out_w]: [usize; 2],
    (stride, pad): (usize, usize),
) -> Result<ConvArguments> {
    Ok(ConvArguments {
        a: 0,
        b: 0,
        weight: conv.weight.address(),
        bias: conv.bias.address(),
        rows: 0,
        row_of: 0,
        residual: 0,
        out: 0,
        batch: int(n)?,
        height: int(h)?,
        width: int(w)?,
        channels_a: 0,
        channels_b: 0,
        out_height: int(out_h)?,
        out_width: int(out_w)?,
        out_channels: int(conv.c_out)?,
        taps: if conv.kind.is_some() { 9 } else { 1 },
        stride: int(stride)?,
        pad: int(pad)?,
        doubled: 0,
        row_stride: 0,
        row_offset: 0,
        planes_in: 0,
        planes_out: 0,
        scale: 1.0,
        unused: 0,
    })
}

fn placed(rows: Option<(&Rows, usize)>) -> Result<(driver::Address, driver::Address, i32, i32)> {
    match rows {
        Some((rows, offset)) => Ok((rows.address, rows.row_of, int(rows.width)?, int(offset)?)),
        None => Ok((0, 0, 0, 0)),
    }
}

fn first<'a>(x: Input<'a, Act>) -> &'a Act {
    match x {
        Input::One(a) | Input::Pair(a, _) => a,
    }
}

fn expect(channels: usize, conv: &Conv) -> Result<()> {
    if channels != conv.c_in {
        return Err(Error::Internal(format!("a convolution of {} channels on {channels}", conv.c_in)));
    }
    Ok(())
}
