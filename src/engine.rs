//! A prepared network with its executor's type erased: the one place that knows which executors there are.

use crate::error::Result;
use crate::exec::Executor;
use crate::exec::cpu::{Cpu, CpuDevice};
use crate::image::Layout;
use crate::model::{Network, Params, UNet};
use crate::options::ExecutorKind;
use crate::sampler::{self, Job, Planned};
use std::sync::Arc;

/// A network prepared for some executor.
pub trait Engine: Send + Sync {
    /// A session's half: scratch and threads.
    fn start(self: Arc<Self>, threads: usize, spin_us: Option<u32>) -> Result<Box<dyn Runner>>;
    /// Bytes of the prepared weights.
    fn prepared_bytes(&self) -> u64;
    /// Ticks of one network call.
    fn ticks(&self) -> u32;
}

/// A network with the scratch and threads of one session.
pub trait Runner: Send {
    /// Runs a job and writes its images; `timesteps` is room for one a batch entry.
    fn sample(
        &mut self,
        job: &Job,
        timesteps: &mut [i32],
        tick: sampler::Tick,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()>;
    /// One network call; writes the raw prediction.
    #[allow(clippy::too_many_arguments)]
    fn predict(
        &mut self,
        shape: [usize; 4],
        x: &[f32],
        timesteps: &[i32],
        labels: Option<&[i32]>,
        tick: sampler::Tick,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()>;
    /// Bytes of scratch that a batch of this shape takes.
    fn scratch_bytes(&mut self, shape: [usize; 4], conditional: bool) -> Result<u64>;
}

/// Prepares `network` for the executor asked for.
pub fn prepare(kind: ExecutorKind, network: &Network, params: &dyn Params) -> Result<Arc<dyn Engine>> {
    match kind {
        ExecutorKind::Fast => {
            let device = Arc::new(CpuDevice::default());
            let unet = UNet::<Cpu>::new(network, params, &device)?;
            Ok(Arc::new(Prepared { unet, device, start: Cpu::new }))
        }
        #[cfg(feature = "candle")]
        ExecutorKind::Reference => {
            use crate::exec::candle::{Candle, CandleDevice};
            let device = Arc::new(CandleDevice::cpu());
            let unet = UNet::<Candle>::new(network, params, &device)?;
            Ok(Arc::new(Prepared { unet, device, start: |device, _, _| Ok(Candle::new(device)) }))
        }
        #[cfg(not(feature = "candle"))]
        ExecutorKind::Reference => Err(crate::Error::NotBuilt {
            what: "the reference executor",
            remedy: "build with the feature candle, or use executor=fast",
        }),
    }
}

/// Makes a session's executor: device, threads, spinning time.
type Start<E> = fn(Arc<<E as Executor>::Device>, usize, Option<u32>) -> Result<E>;

struct Prepared<E: Executor> {
    unet: UNet<E>,
    device: Arc<E::Device>,
    start: Start<E>,
}

impl<E: Executor + Send + 'static> Engine for Prepared<E> {
    fn start(self: Arc<Self>, threads: usize, spin_us: Option<u32>) -> Result<Box<dyn Runner>> {
        let exec = (self.start)(self.device.clone(), threads, spin_us)?;
        Ok(Box::new(Running { exec, engine: self, planned: None }))
    }
    fn prepared_bytes(&self) -> u64 {
        E::prepared_bytes(&self.device)
    }
    fn ticks(&self) -> u32 {
        self.unet.ticks()
    }
}

struct Running<E: Executor> {
    exec: E,
    engine: Arc<Prepared<E>>,
    /// Batch size and presence of fresh noise that the executor's memory was last planned for.
    planned: Option<(usize, bool)>,
}

impl<E: Executor + Send + 'static> Running<E> {
    /// Lets the executor plan its memory, if this kind of job is not the last one's.
    fn plan(&mut self, job: &Job, timesteps: &mut [i32]) -> Result<()> {
        // All steps take the same memory, but for those with fresh noise.
        let noisy = job.steps.iter().position(|step| step.noise_stream.is_some());
        let key = Some((job.shape[0], noisy.is_some()));
        if self.planned == key {
            return Ok(());
        }
        self.planned = None;
        let first = noisy.unwrap_or(0);
        let rehearsal = Job { steps: &job.steps[first..first + 1], ..*job };
        let unet = &self.engine.unet;
        self.exec
            .plan(&mut |exec| sampler::run(unet, exec, &rehearsal, timesteps, &mut || Ok(())).map(drop))?;
        self.planned = key;
        Ok(())
    }
}

impl<E: Executor + Send + 'static> Runner for Running<E> {
    fn sample(
        &mut self,
        job: &Job,
        timesteps: &mut [i32],
        tick: sampler::Tick,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()> {
        self.plan(job, timesteps)?;
        let x_0 = sampler::run(&self.engine.unet, &mut self.exec, job, timesteps, tick)?;
        self.exec.emit(&x_0, layout, out)
    }

    fn predict(
        &mut self,
        shape: [usize; 4],
        x: &[f32],
        timesteps: &[i32],
        labels: Option<&[i32]>,
        tick: sampler::Tick,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()> {
        let Self { exec, engine, planned } = self;
        let call = |exec: &mut E, tick: sampler::Tick| {
            let x = exec.load(shape, &mut |out| out.copy_from_slice(x))?;
            engine.unet.forward(exec, &x, timesteps, labels, tick)
        };
        // A call needs no more than a sampler's step does.
        if planned.is_none_or(|(batch, _)| batch != shape[0]) {
            *planned = None;
            exec.plan(&mut |exec| call(exec, &mut || Ok(())).map(drop))?;
        }
        let net = call(exec, tick)?;
        exec.emit(&net, layout, out)
    }

    fn scratch_bytes(&mut self, shape: [usize; 4], conditional: bool) -> Result<u64> {
        let steps = [Planned { timestep: 0, step: Default::default(), noise_stream: Some(1) }];
        let labels = conditional.then(|| vec![0; shape[0]]);
        let job = Job { shape, steps: &steps, seeds: None, noise: None, labels: labels.as_deref() };
        self.plan(&job, &mut vec![0; shape[0]])?;
        Ok(self.exec.scratch_bytes())
    }
}
