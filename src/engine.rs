//! A prepared network with its executor's type erased: the one place that knows which executors there are.

use crate::cpu_features::{self, Isa};
use crate::device::Place;
use crate::error::{Error, Result, try_zeroed};
use crate::exec::cpu::{Cpu, CpuDevice, Operands, Packing};
use crate::exec::reference::{Reference, ReferenceDevice};
use crate::exec::{Executor, Flag, Step};
use crate::image::Layout;
use crate::log::{Level, log};
use crate::model::{Config, Generator, Network, Params, Schedule, UNet};
use crate::names::Named;
use crate::options::{ExecutorKind, MemoryMode, Options, Precision};
use crate::sampler::{self, Job, Planned, Third};
use std::collections::BTreeSet;
use std::sync::Arc;

#[cfg(feature = "cuda")]
mod check;

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
    /// Runs a job and writes its images; `times` is room for one a batch entry.
    fn sample(
        &mut self,
        job: &Job,
        times: &mut [f32],
        tick: sampler::Tick,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()>;
    /// One network call; writes the raw prediction. `watched` hears of it, and cancels it.
    #[allow(clippy::too_many_arguments)]
    fn predict(
        &mut self,
        shape: [usize; 4],
        x: &[f32],
        times: &[f32],
        labels: Option<&[i32]>,
        watched: (sampler::Tick, Option<&Flag>),
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()>;
    /// Plans the memory of all jobs of so many images of a model, or of those with guidance.
    fn plan_all(&mut self, batch: usize, config: &Config, guided: bool) -> Result<()>;
    /// Bytes of scratch that was planned.
    fn scratch_bytes(&self) -> u64;
}

/// Prepares `network` for the place, and the executor that the options ask for; and the arithmetic that it will use.
pub fn prepare(
    place: Place,
    options: &Options,
    network: &Network,
    params: &dyn Params,
) -> Result<(Arc<dyn Engine>, Precision)> {
    match (place, options.executor) {
        (Place::Cpu, ExecutorKind::Fast) => fast(options, network, params),
        #[cfg(feature = "cuda")]
        (Place::Cuda(ordinal), ExecutorKind::Fast) => cuda(ordinal, options, network, params),
        #[cfg(feature = "cuda")]
        (Place::Cuda(_), ExecutorKind::Reference) => Err(Error::NotBuilt {
            what: "the reference executor on CUDA",
            remedy: "use device cpu, or executor fast",
        }),
        _ => reference(place, options.precision, network, params),
    }
}

fn fast(options: &Options, network: &Network, params: &dyn Params) -> Result<(Arc<dyn Engine>, Precision)> {
    let (precision, operands) = match options.precision {
        Precision::Auto | Precision::F32 => (Precision::F32, Operands::F32),
        Precision::Bf16 => (Precision::Bf16, Operands::Bf16),
        Precision::F16 => {
            return Err(Error::NotBuilt {
                what: "half precision on the CPU",
                remedy: "use precision auto, f32 or bf16 (files with 16-bit weights are read either way)",
            });
        }
    };
    let packing = match options.memory {
        // What is mapped was packed in one of the two ways, and says so itself.
        MemoryMode::Fast | MemoryMode::Map => Packing::Fast,
        MemoryMode::Low => Packing::Compact,
    };
    let isa = options.isa.unwrap_or_else(cpu_features::isa);
    if Isa::available().all(|available| available != isa) {
        return Err(Error::DeviceUnavailable {
            device: "cpu".to_owned(),
            message: format!("this processor has no {}; {} is its best", isa.name(), cpu_features::names()),
        });
    }
    let device = CpuDevice::of(isa, operands, packing, cpu_features::threads(options.threads));
    let device = Arc::new(device.within(options.limits.memory));
    let unet = UNet::<Cpu>::new(network, params, &device)?;
    Ok((Arc::new(Prepared { unet, device, start: Cpu::new }), precision))
}

#[cfg(feature = "cuda")]
fn cuda(
    ordinal: usize,
    options: &Options,
    network: &Network,
    params: &dyn Params,
) -> Result<(Arc<dyn Engine>, Precision)> {
    use crate::exec::cuda::{Cuda, CudaDevice, Element};
    use crate::options::CudaConvolutions;
    let (precision, element) = match options.precision {
        Precision::Auto | Precision::Bf16 => (Precision::Bf16, Element::Bf16),
        Precision::F16 => (Precision::F16, Element::F16),
        Precision::F32 => (Precision::F32, Element::F32),
    };
    let folder = crate::device::cuda_folder(options.cuda_library_path.as_deref());
    let mut device = CudaDevice::open(folder.as_deref(), ordinal, element)?;
    if options.cuda_convolutions == CudaConvolutions::Cudnn {
        device = device.with_cudnn(folder.as_deref())?;
    }
    let device = Arc::new(device);
    check::agrees(&device)?;
    let unet = UNet::<Cuda>::new(network, params, &device)?;
    Ok((Arc::new(Prepared { unet, device, start: |device, _, _| Cuda::new(device) }), precision))
}

fn reference(
    place: Place,
    precision: Precision,
    network: &Network,
    params: &dyn Params,
) -> Result<(Arc<dyn Engine>, Precision)> {
    match (place, precision) {
        (_, Precision::Bf16) => Err(Error::NotBuilt {
            what: "bf16 in the reference executor",
            remedy: "use precision auto or f32",
        }),
        (Place::Cpu, Precision::Auto | Precision::F32) => {
            let device = Arc::new(ReferenceDevice::default());
            let unet = UNet::<Reference>::new(network, params, &device)?;
            Ok((Arc::new(Prepared { unet, device, start: |_, _, _| Ok(Reference) }), Precision::F32))
        }
        #[cfg(feature = "candle")]
        _ => candle(place, precision == Precision::F16, network, params),
        #[cfg(not(feature = "candle"))]
        _ => Err(Error::NotBuilt {
            what: "half precision in the reference executor",
            remedy: "build with the feature candle, or use precision auto or f32",
        }),
    }
}

#[cfg(feature = "candle")]
fn candle(
    place: Place,
    half: bool,
    network: &Network,
    params: &dyn Params,
) -> Result<(Arc<dyn Engine>, Precision)> {
    use crate::exec::candle::{Candle, CandleDevice};
    let device = Arc::new(match place {
        #[cfg(target_os = "macos")]
        Place::Metal(index) => crate::exec::candle::metal::open(index, half)?,
        _ => CandleDevice::cpu(half),
    });
    let unet = UNet::<Candle>::new(network, params, &device)?;
    let precision = if half { Precision::F16 } else { Precision::F32 };
    Ok((Arc::new(Prepared { unet, device, start: |device, _, _| Ok(Candle::new(device)) }), precision))
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
        Ok(Box::new(Running { exec, engine: self, planned: BTreeSet::new() }))
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
    /// Batch sizes, whether guided, and work that the executor's memory was planned for; it never shrinks.
    planned: BTreeSet<(usize, bool, Rehearsal)>,
}

/// What a plan is made for; each needs the memory of those before it, and some more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rehearsal {
    Predict,
    Step,
    NoisyStep,
    /// A step with noise whose variance the network says.
    LearnedStep,
    /// A step of two calls, the second of which needs the state that the first began from.
    TwoCalls,
}

impl<E: Executor + Send + 'static> Running<E> {
    /// Lets the executor plan its memory by a rehearsal, if it has not for this much.
    fn plan(
        &mut self,
        (batch, guided): (usize, bool),
        work: Rehearsal,
        rehearse: &mut dyn FnMut(&UNet<E>, &mut E) -> Result<()>,
    ) -> Result<()> {
        let Self { exec, engine, planned } = self;
        if planned.range((batch, guided, work)..=(batch, guided, Rehearsal::TwoCalls)).next().is_none() {
            // A plan that fails may have cost the memory of those before it.
            exec.plan(&mut |exec| rehearse(&engine.unet, exec)).inspect_err(|_| planned.clear())?;
            planned.insert((batch, guided, work));
        }
        Ok(())
    }

    fn plan_job(&mut self, job: &Job, times: &mut [f32]) -> Result<()> {
        // All steps take the same memory, but for those with fresh noise, and those of two calls. The latter leave the state in
        // another place than they found it in, and the next in the first: three of them and a last call meet every case.
        let place = |wanted: &dyn Fn(&Planned) -> bool| job.steps.iter().position(wanted);
        let pairs;
        let (work, steps) = match (place(&|step| step.third == Third::Before), place(&Planned::is_noisy)) {
            (Some(second), _) if second > 0 => {
                let (first, second) = (job.steps[second - 1], job.steps[second]);
                pairs = [first, second, first, second, first, second, first];
                (Rehearsal::TwoCalls, &pairs[..])
            }
            (_, Some(noisy)) => {
                let spread = job.steps[noisy].spread.is_some();
                let work = if spread { Rehearsal::LearnedStep } else { Rehearsal::NoisyStep };
                (work, &job.steps[noisy..noisy + 1])
            }
            _ => (Rehearsal::Step, &job.steps[..1]),
        };
        let rehearsal = Job { steps, ..*job };
        self.plan((job.shape[0], job.guidance.is_some()), work, &mut |unet, exec| {
            sampler::run(unet, exec, &rehearsal, times, &mut || Ok(())).map(drop)
        })
    }
}

impl<E: Executor + Send + 'static> Runner for Running<E> {
    fn sample(
        &mut self,
        job: &Job,
        times: &mut [f32],
        tick: sampler::Tick,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()> {
        self.plan_job(job, times)?;
        let x_0 = sampler::run(&self.engine.unet, &mut self.exec, job, times, tick)?;
        if let Some(image) = self.exec.wrong_image(&x_0) {
            log(Level::Warn, || {
                format!(
                    "image {image} of the batch is damaged: the network said values that are no finite numbers"
                )
            });
        }
        self.exec.emit(&x_0, layout, out)
    }

    fn predict(
        &mut self,
        shape: [usize; 4],
        x: &[f32],
        times: &[f32],
        labels: Option<&[i32]>,
        (tick, cancel): (sampler::Tick, Option<&Flag>),
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<()> {
        let call = |unet: &UNet<E>, exec: &mut E, tick: sampler::Tick| {
            exec.begin([cancel, None]);
            let x = exec.load(shape, &mut |out| out.copy_from_slice(x))?;
            let net = unet.forward(exec, &x, times, labels, tick)?;
            exec.check()?;
            Ok(net)
        };
        self.plan((shape[0], false), Rehearsal::Predict, &mut |unet, exec| {
            call(unet, exec, &mut || Ok(())).map(drop)
        })?;
        let net = call(&self.engine.unet, &mut self.exec, tick)?;
        self.exec.emit(&net, layout, out)
    }

    fn plan_all(&mut self, batch: usize, config: &Config, guided: bool) -> Result<()> {
        // By the sampler that takes the most.
        let [c, h, w] = config.network.image();
        let shape = [batch, c, h, w];
        let learned = config.generator.schedule().is_some_and(Schedule::learned_variance);
        let heun = matches!(config.generator, Generator::Edm(_));
        let once = Planned {
            timestep: 0,
            time: 0.0,
            step: Step::default(),
            third: if heun { Third::Nothing } else { Third::Noise(1) },
            spread: learned.then(Step::default),
        };
        let steps = [once, Planned { third: Third::Before, ..once }];
        let steps = if heun { &steps[..] } else { &steps[..1] };
        let labels: Option<Vec<i32>> =
            config.network.num_classes.map(|_| try_zeroed(batch, "labels")).transpose()?;
        // Which labels they are makes no difference to a plan.
        let guidance = labels.as_deref().filter(|_| guided).map(|labels| (2.0, labels));
        let (labels, cancel) = (labels.as_deref(), [None; 2]);
        let job = Job { shape, steps, start: 1.0, seeds: None, noise: None, labels, guidance, cancel };
        self.plan_job(&job, &mut try_zeroed(batch, "times")?)
    }

    fn scratch_bytes(&self) -> u64 {
        self.exec.scratch_bytes()
    }
}
