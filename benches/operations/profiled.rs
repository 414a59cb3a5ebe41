//! An executor around another that notes how long each operation takes.

use onestep::Result;
use onestep::exec::{
    AttentionWeights, ConvKind, ConvWeights, Executor, Input, LinearWeights, NormActConv, NormWeights,
    Resize, Step, TimeWeights,
};
use onestep::image::Layout;
use std::collections::BTreeMap;
use std::time::Instant;

/// What the calls of one operation took together.
#[derive(Clone, Copy, Default)]
pub struct Time {
    /// How many there were.
    pub calls: usize,
    /// Seconds.
    pub seconds: f64,
    /// Operations an image, two a multiply-add of the textbook algorithm.
    pub flop: f64,
}

/// By the operation's name.
pub type Times = BTreeMap<String, Time>;

/// See the module.
pub struct Profiled<E> {
    inner: E,
    /// Takes the other's place while that one plans; never run.
    spare: Option<E>,
    times: Times,
}

/// A convolution, its name in the table, its operations an image, and the size of its output.
pub struct Conv<C> {
    layer: C,
    name: String,
    flop: f64,
    size: (usize, usize),
}

/// A layer that works on images of any size, and its operations a pixel (of attention, its channels).
pub struct Layer<L> {
    layer: L,
    flop: f64,
}

impl<E> Profiled<E> {
    /// Around `inner`; `spare` is another that is never run.
    pub fn new(inner: E, spare: E) -> Self {
        Self { inner, spare: Some(spare), times: Times::new() }
    }
    /// Forgets all times.
    pub fn reset(&mut self) {
        self.times.clear();
    }
    /// Since the last reset.
    pub fn times(&self) -> &Times {
        &self.times
    }

    fn timed<T>(&mut self, name: &str, flop: f64, work: impl FnOnce(&mut E) -> T) -> T {
        let start = Instant::now();
        let result = work(&mut self.inner);
        let time = self.times.entry(name.to_owned()).or_default();
        time.calls += 1;
        time.seconds += start.elapsed().as_secs_f64();
        time.flop += flop;
        result
    }
}

/// An activation and its height and width.
pub struct Act<A> {
    inner: A,
    size: (usize, usize),
}

fn inner<A>(x: Input<Act<A>>) -> (Input<A>, (usize, usize)) {
    match x {
        Input::One(x) => (Input::One(&x.inner), x.size),
        Input::Pair(x, y) => (Input::Pair(&x.inner, &y.inner), x.size),
    }
}

fn pixels((h, w): (usize, usize)) -> f64 {
    (h * w) as f64
}

impl<E: Executor> Executor for Profiled<E> {
    type Device = E::Device;
    type Conv = Conv<E::Conv>;
    type Linear = Layer<E::Linear>;
    type Norm = E::Norm;
    type Attention = Layer<E::Attention>;
    type Time = E::Time;
    type Rows = E::Rows;
    type Act = Act<E::Act>;
    type State = E::State;

    fn prepare_conv(device: &E::Device, weights: &ConvWeights) -> Result<Self::Conv> {
        let (h, w) = weights.size;
        let (kind, size) = match weights.kind {
            ConvKind::In { .. } => ("first 3x3", (h, w)),
            ConvKind::Same => ("norm, SiLU, 3x3", (h, w)),
            ConvKind::Pooled => ("norm, SiLU, halving, 3x3", (h / 2, w / 2)),
            ConvKind::Down { .. } => ("3x3 of stride 2", (h.div_ceil(2), w.div_ceil(2))),
            ConvKind::Up => ("doubling, 3x3", (2 * h, 2 * w)),
            ConvKind::Out => ("last 3x3", (h, w)),
        };
        let flop = 2.0 * weights.weight.len() as f64 * pixels(size);
        Ok(Conv {
            layer: E::prepare_conv(device, weights)?,
            name: format!("{:3} px: {kind}", size.0),
            flop,
            size,
        })
    }
    fn prepare_linear(device: &E::Device, weights: &LinearWeights) -> Result<Self::Linear> {
        let flop = 2.0 * weights.weight.len() as f64;
        Ok(Layer { layer: E::prepare_linear(device, weights)?, flop })
    }
    fn prepare_norm(device: &E::Device, weights: &NormWeights) -> Result<E::Norm> {
        E::prepare_norm(device, weights)
    }
    fn prepare_attention(device: &E::Device, weights: &AttentionWeights) -> Result<Self::Attention> {
        let flop = weights.out.bias.len() as f64;
        Ok(Layer { layer: E::prepare_attention(device, weights)?, flop })
    }
    fn prepare_time(device: &E::Device, weights: &TimeWeights) -> Result<E::Time> {
        E::prepare_time(device, weights)
    }
    fn prepared_bytes(device: &E::Device) -> u64 {
        E::prepared_bytes(device)
    }

    fn plan(&mut self, work: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let spare = self.spare.take().expect("plans do not nest");
        let mut planner = std::mem::replace(&mut self.inner, spare);
        let result = planner.plan(&mut |exec| {
            std::mem::swap(exec, &mut self.inner);
            let result = work(self);
            std::mem::swap(exec, &mut self.inner);
            result
        });
        self.spare = Some(std::mem::replace(&mut self.inner, planner));
        result
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<E::State> {
        self.timed("input", 0.0, |exec| exec.load(shape, fill))
    }
    fn time(&mut self, time: &E::Time, times: &[f32], labels: Option<&[i32]>) -> Result<E::Rows> {
        self.timed("time rows", 0.0, |exec| exec.time(time, times, labels))
    }
    fn conv_in(&mut self, x: &E::State, conv: &Self::Conv) -> Result<Self::Act> {
        let inner = self.timed(&conv.name, conv.flop, |exec| exec.conv_in(x, &conv.layer))?;
        Ok(Act { inner, size: conv.size })
    }
    fn norm_act_conv(&mut self, x: Input<Self::Act>, op: NormActConv<Self>) -> Result<Self::Act> {
        let (x, _) = inner(x);
        let NormActConv { norm, activation, conv, time, residual, scale, dropout } = op;
        let residual = residual.map(|residual| &residual.inner);
        let op = NormActConv { norm, activation, conv: &conv.layer, time, residual, scale, dropout };
        let inner = self.timed(&conv.name, conv.flop, |exec| exec.norm_act_conv(x, op))?;
        Ok(Act { inner, size: conv.size })
    }
    fn pointwise(&mut self, x: Input<Self::Act>, linear: &Self::Linear) -> Result<Self::Act> {
        let (x, size) = inner(x);
        let (name, flop) = (format!("{:3} px: 1x1", size.0), linear.flop * pixels(size));
        let inner = self.timed(&name, flop, |exec| exec.pointwise(x, &linear.layer))?;
        Ok(Act { inner, size })
    }
    fn attention(&mut self, x: &Self::Act, attention: &Self::Attention) -> Result<Self::Act> {
        let (c, pixels) = (attention.flop, pixels(x.size));
        // Four projections, and two products of all pixels with all pixels.
        let flop = 2.0 * pixels * c * (4.0 * c + 2.0 * pixels);
        let name = format!("{:3} px: attention", x.size.0);
        let inner = self.timed(&name, flop, |exec| exec.attention(&x.inner, &attention.layer))?;
        Ok(Act { inner, size: x.size })
    }
    fn resize(&mut self, x: &Self::Act, resize: Resize) -> Result<Self::Act> {
        let size = (resize.of(x.size.0), resize.of(x.size.1));
        let name = format!("{:3} px: halving or doubling", size.0);
        let inner = self.timed(&name, 0.0, |exec| exec.resize(&x.inner, resize))?;
        Ok(Act { inner, size })
    }
    fn downsample(&mut self, x: &Self::Act, conv: &Self::Conv) -> Result<Self::Act> {
        let inner = self.timed(&conv.name, conv.flop, |exec| exec.downsample(&x.inner, &conv.layer))?;
        Ok(Act { inner, size: conv.size })
    }
    fn upsample(&mut self, x: &Self::Act, conv: &Self::Conv) -> Result<Self::Act> {
        let inner = self.timed(&conv.name, conv.flop, |exec| exec.upsample(&x.inner, &conv.layer))?;
        Ok(Act { inner, size: conv.size })
    }
    fn conv_out(&mut self, x: &Self::Act, norm: &E::Norm, conv: &Self::Conv) -> Result<E::State> {
        self.timed(&conv.name, conv.flop, |exec| exec.conv_out(&x.inner, norm, &conv.layer))
    }
    fn combine(
        &mut self,
        x: E::State,
        net: &E::State,
        noise: Option<&E::State>,
        step: &Step,
    ) -> Result<E::State> {
        self.timed("step", 0.0, |exec| exec.combine(x, net, noise, step))
    }
    fn emit(&mut self, x: &E::State, layout: &Layout, out: &mut [u8]) -> Result<()> {
        self.timed("output", 0.0, |exec| exec.emit(x, layout, out))
    }
}
