//! Distillation (Luhman and Luhman 2021): a student of the teacher's architecture, begun from its weights, learns to draw
//! in one call, or in a few, what the teacher draws from the same noise.

use super::adversarial::Critic;
use super::copying::{Buffers, Copying};
use super::draw::{Teacher, check_batch, check_images, diffusion, student_calls};
use super::event::Watch;
use super::examples::{Examples, Ring};
use super::fresh::Fresh;
use super::halving::{Data, Halving};
use super::images::Images;
use super::learner::Learner;
use super::level::Level;
use super::lpips::Lpips;
use super::matching::Follower;
use super::objective::Objective;
use super::paired::Paired;
use super::random::Random;
use super::recipe::{DistillSettings, Loss};
use super::run::{Optimization, Outcome, RunOptions, run};
use super::second::{How, Second, WithSecond};
use super::state::State;
use super::stored::Pairs;
use super::student::{self, Student};
use crate::error::{Error, Result};
use crate::model::{Config, Network, Role};
use crate::names::Named;
use crate::options::{Options, Precision};
use crate::sampler::{self, Sampler};
use crate::session::Info;
use crate::weights::{self, Checkpoint, Description};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where pairs come from.
#[derive(Clone, Debug, PartialEq)]
pub enum PairsFrom {
    /// A folder of `onestep pairs`, or of the paper's script.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whether all of it is read and checked before training.
        verify: bool,
        /// Steps of the student that they must be for; none: whichever they are for.
        student_steps: Option<usize>,
    },
    /// The teacher, while the student learns.
    Online {
        /// How the teacher draws.
        sampler: Sampler,
        /// Steps of the student.
        student_steps: usize,
        /// Pairs in memory at a time.
        ring: usize,
        /// Of which so many are new at each step.
        fresh: usize,
        /// Images a call of the teacher.
        batch: usize,
    },
    /// Two steps of the teacher at a time (progressive distillation): the student has half its steps.
    Halving {
        /// How the teacher draws.
        sampler: Sampler,
        /// What is noised.
        images: ImagesFrom,
        /// Images a call of the teacher.
        batch: usize,
    },
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ImagesFrom {
    /// A folder of pictures; its sub-folders are classes where the teacher has any.
    Pictures(PathBuf),
    /// What the teacher drew: a folder of pairs.
    Pairs(PathBuf),
}

/// A run of a student.
pub struct DistillRun {
    /// How it learns.
    pub settings: DistillSettings,
    /// A native file or diffusers folder.
    pub teacher: PathBuf,
    /// A model of the teacher's network to begin from, in place of the teacher.
    pub init: Option<PathBuf>,
    /// Where its pairs come from.
    pub pairs: PairsFrom,
    /// A folder of real images, for an adversarial loss; its sub-folders are classes where the teacher has any.
    pub real: Option<PathBuf>,
    /// The run's folder.
    pub out: PathBuf,
    /// Threads.
    pub threads: usize,
    /// Where a teacher draws that draws while the student learns: its device and precision are part of the settings.
    pub drawing: Options,
    /// What it does beside.
    pub run_options: RunOptions,
}

impl DistillRun {
    /// Distils to the end, from the run's checkpoint if there is one.
    ///
    /// # Errors
    /// Those of [`Pairs::open`], [`Lpips::open`], `Folder::shared` and [`run`]; INVALID_ARGUMENT for pairs of another
    /// teacher, or images that LPIPS cannot compare.
    pub fn run(&self, watch: Watch) -> Result<Outcome> {
        let (settings, group) = (&self.settings, &self.run_options.group);
        settings.check()?;
        group.check_batch(settings.batch, settings.accumulate)?;
        let teacher = weights::open(&self.teacher, u64::MAX)?;
        let config = teacher.description().with_role(Some(Role::Teacher)).config(teacher.name(), None)?;
        let crc32 = format!("{:08x}", teacher.weights_crc32()?);
        let image = config.network.image();
        let lpips = settings.lpips.as_deref().map(Lpips::open).transpose()?;
        lpips.as_ref().map_or(Ok(()), |lpips| lpips.check(image))?;
        let recorded = recorded(settings, lpips.as_ref());
        let Plan { examples, calls, from, epoch, guidance } = self.plan(&teacher, &config, &crc32)?;
        if lpips.is_some() && !calls.is_empty() {
            return Err(Error::argument(
                "lpips",
                "it compares images; a student of several steps draws noisy ones between",
            ));
        }
        let steps = if settings.epochs > 0 { settings.epochs.saturating_mul(epoch) } else { settings.steps };
        let mut asked = json!({"command": "distill", "distill": recorded, "teacher_crc32": crc32, "pairs": from, "steps": steps});
        let init = self.init(&config.network)?;
        if let Some(init) = &init {
            asked["init_crc32"] = format!("{:08x}", init.weights_crc32()?).into();
        }
        let real = self.real(&config.network)?;
        if let Some(real) = &real {
            asked["real"] = json!({"images": real.len(), "images_crc32": format!("{:08x}", real.checksum())});
        }
        let folder = self.run_options.folder(&self.out, &mut asked)?;

        let learner = Learner::new(&config.network, init.as_ref().unwrap_or(&teacher), self.threads)?;
        let optimization = settings.optimization(steps);
        let state = State::new(learner, optimization.adam)?;
        let test_every = if settings.test_every > 0 { settings.test_every } else { epoch };
        let given =
            Given { teacher: &teacher, config: &config, recorded: &recorded, calls: &calls, optimization };
        let (mut objective, mut description, plans) =
            self.pairs_objective(&given, examples, lpips, test_every)?;
        if let (Some(init), Some(provenance)) = (&init, &mut description.provenance) {
            provenance["init"] = json!(init.description().provenance);
        }
        objective = self.taught(objective, &given, plans, guidance, real)?;
        run(&mut *objective, state, &optimization, &self.run_options, folder.as_ref(), &description, watch)
    }

    /// What is learnt of pairs; what the student is, and how it draws.
    fn pairs_objective<'a>(
        &'a self,
        given: &Given,
        examples: Examples,
        lpips: Option<Lpips>,
        test_every: u64,
    ) -> Result<(Box<dyn Objective + 'a>, Description, Vec<sampler::Plan>)> {
        let (settings, group) = (&self.settings, &self.run_options.group);
        let &Given { teacher, config, recorded, calls, optimization: Optimization { steps, .. } } = given;
        let (teacher, image) = (teacher.description(), config.network.image());
        if settings.loss == Loss::Paired {
            let description = student::of_pairs(teacher, config, calls, recorded)?;
            let plans = student::plans(&description, &[1, 2])?;
            let (schedule, compared, times) = (diffusion(config)?, (lpips, image), (test_every, steps));
            let paired = Paired::new(settings, compared, group, examples, schedule, times)?;
            return Ok((Box::new(paired), description, plans));
        }
        let Student { description, plan } = Student::new(teacher, config, calls, recorded)?;
        let (plans, buffers) = (vec![plan.clone()], Buffers::default());
        let copying = Copying { settings, lpips, image, group, examples, plan, test_every, steps, buffers };
        Ok((Box::new(copying), description, plans))
    }

    /// The same, and beside it what a second network teaches: to be taken for real images, or to match the teacher's distribution.
    fn taught<'a>(
        &'a self,
        pairs: Box<dyn Objective + 'a>,
        given: &Given,
        plans: Vec<sampler::Plan>,
        guidance: Option<f32>,
        real: Option<Images>,
    ) -> Result<Box<dyn Objective + 'a>> {
        let Self { settings, threads, .. } = self;
        let (network, optimization) = (&given.config.network, &given.optimization);
        let (argument, weight) =
            if real.is_some() { ("adversarial", settings.adversarial) } else { ("dmd", settings.dmd) };
        if weight == 0.0 {
            return Ok(pairs);
        }
        if !given.calls.is_empty() {
            let message = "it is of images; a student of several steps draws noisy ones between";
            return Err(Error::argument(argument, message));
        }
        let (schedule, random) = (diffusion(given.config)?, Random(settings.seed));
        let factor = weight / settings.number(network.image().iter().product());
        let how = How { factor, batch: settings.batch, random, levels: Level::all(schedule)? };
        let fresh = Fresh::new(plans, random, network.num_classes);
        if let Some(real) = real {
            let critic = Critic::new((network, given.teacher), real, *threads, optimization, how)?;
            return Ok(self.beside(pairs, given, fresh, critic));
        }
        let (teacher, drawing) = ((given.teacher, guidance), self.drawing());
        let follower = Follower::new(teacher, schedule.prediction, &drawing, optimization, how)?;
        Ok(self.beside(pairs, given, fresh, follower))
    }

    /// Pairs, and a network that learns beside.
    fn beside<'a>(
        &'a self,
        pairs: Box<dyn Objective + 'a>,
        given: &Given,
        fresh: Fresh,
        second: impl Second + 'a,
    ) -> Box<dyn Objective + 'a> {
        let (accumulate, optimization) = (self.settings.accumulate, given.optimization);
        let group = &self.run_options.group;
        Box::new(WithSecond { pairs, fresh, second, accumulate, optimization, group })
    }

    /// Real images, for an adversarial loss.
    fn real(&self, network: &Network) -> Result<Option<Images>> {
        if self.settings.adversarial == 0.0 {
            return Ok(None);
        }
        let Some(path) = &self.real else {
            return Err(Error::argument(
                "adversarial",
                "it learns from real images too: name a folder of them",
            ));
        };
        let images = Images::read(path, network.size, network.channels, network.num_classes.is_some())?;
        let classes = images.labels.as_ref().map(|_| images.classes.len());
        check_images("images", (images.image(), classes), network)?;
        Ok(Some(images))
    }

    /// The model to begin from, if it is not the teacher.
    fn init(&self, network: &Network) -> Result<Option<Checkpoint<'static>>> {
        let Some(path) = &self.init else { return Ok(None) };
        let checkpoint = weights::open(path, u64::MAX)?;
        let found = checkpoint.config(None)?.network;
        let alike = |network: &Network| Network { dropout: 0.0, learned_variance: false, ..network.clone() };
        if alike(&found) != alike(network) {
            let message = format!("{}: another network than the teacher's", path.display());
            return Err(Error::argument("init", message));
        }
        Ok(Some(checkpoint))
    }

    /// Where a teacher draws.
    fn drawing(&self) -> Options {
        Options { threads: self.threads as u32, ..self.drawing.clone() }
    }

    /// Opens what the student learns from.
    fn plan(&self, teacher: &Checkpoint, config: &Config, teacher_crc32: &str) -> Result<Plan> {
        let settings = &self.settings;
        let random = Random(settings.seed);
        let options = self.drawing();
        if settings.epochs > 0 && !matches!(self.pairs, PairsFrom::Folder { .. }) {
            return Err(Error::argument("epochs", "only stored pairs have any; name steps"));
        }
        match &self.pairs {
            PairsFrom::Folder { path, verify, student_steps } => {
                let pairs = Pairs::open(path, *verify)?;
                pairs.check_teacher(teacher_crc32)?;
                check_images("pairs", (pairs.image(), pairs.classes()), &config.network)?;
                let test = pairs.test().unwrap_or(settings.test.min(pairs.len() / 10));
                let calls = pairs.calls();
                if let Some(steps) = student_steps.filter(|&steps| steps != calls.len().max(1)) {
                    let found = calls.len().max(1);
                    let message = format!("{steps} asked for, the pairs are those of a student of {found}");
                    return Err(Error::argument("student_steps", message));
                }
                let items = (pairs.len() - test) * calls.len().max(1);
                if items < settings.batch {
                    let message = format!("{items} pairs to learn from are no batch of {}", settings.batch);
                    return Err(Error::argument("batch", message));
                }
                let (mut from, epoch) = (pairs.identity(), (items / settings.batch) as u64);
                from["test"] = test.into();
                let guidance = pairs.guidance();
                Ok(Plan { examples: Examples::stored(pairs, test, random), calls, from, epoch, guidance })
            }
            PairsFrom::Online { sampler, student_steps, ring, fresh, batch } => {
                check_batch(*batch, &options)?;
                if *ring == 0 || *fresh > *ring {
                    return Err(Error::argument(
                        "ring",
                        format!("{ring} pairs, {fresh} of them new at each step"),
                    ));
                }
                let teacher = Teacher::new(teacher, &options, sampler, *student_steps)?;
                let calls = student_calls(&teacher.timesteps, &teacher.stops);
                let mut from = json!({"online": {
                    "timesteps": teacher.timesteps, "stops": teacher.stops, "ring": ring, "fresh": fresh,
                }});
                record_drawing(&mut from["online"], teacher.info(), &options, sampler);
                let sizes = (*ring, *fresh, settings.test);
                let ring = Ring::new(teacher, random, sizes, *batch, self.run_options.group.clone());
                let examples = Examples::Online(Box::new(ring));
                Ok(Plan { examples, calls, from, epoch: ARBITRARY_EPOCH, guidance: sampler.guided() })
            }
            PairsFrom::Halving { sampler, images, batch } => {
                let network = &config.network;
                let data = match images {
                    ImagesFrom::Pictures(path) => {
                        let classes = network.num_classes.is_some();
                        Data::Images(Images::read(path, network.size, network.channels, classes)?)
                    }
                    ImagesFrom::Pairs(path) => Data::Pairs(Box::new(Pairs::open(path, true)?)),
                };
                let halving = Halving::new(teacher, &options, sampler, data, random, *batch)?;
                let mut calls = halving.student_calls();
                let mut from = json!({"halving": {"student": calls, "of": halving.identity()}});
                record_drawing(&mut from["halving"], halving.info(), &options, sampler);
                if calls.len() == 1 {
                    calls.clear();
                }
                Ok(Plan {
                    examples: Examples::Halving(Box::new(halving)),
                    calls,
                    from,
                    epoch: ARBITRARY_EPOCH,
                    guidance: sampler.guided(),
                })
            }
        }
    }
}

/// Records how a teacher draws, of which targets depend: its kind of device and precision, but for the CPU in f32, which runs of
/// earlier versions do not name; whether it clamps, where that is not left to its file; and its guidance.
fn record_drawing(from: &mut Value, teacher: &Info, options: &Options, sampler: &Sampler) {
    let device = teacher.device.split(':').next().unwrap_or_default();
    if device != "cpu" || teacher.precision != Precision::F32 {
        from["drawn_on"] = format!("{device}, {}", teacher.precision.name()).into();
    }
    if let Some(clip_sample) = options.clip_sample.asked() {
        from["clip_sample"] = clip_sample.into();
    }
    if let Some(scale) = sampler.guided() {
        from["guidance"] = scale.into();
    }
}

/// What a run's objectives are made of.
struct Given<'a> {
    teacher: &'a Checkpoint<'a>,
    config: &'a Config,
    /// The settings as the model keeps them.
    recorded: &'a Value,
    /// Calls of a student of several steps; none for one.
    calls: &'a [i32],
    optimization: Optimization,
}

/// Steps between tests where there are no epochs, and nothing else is asked for.
const ARBITRARY_EPOCH: u64 = 500;

/// What a student learns from.
struct Plan {
    examples: Examples,
    /// Calls of a student of several steps; none for one.
    calls: Vec<i32>,
    /// For the settings.
    from: Value,
    /// Steps of an epoch.
    epoch: u64,
    /// The teacher's.
    guidance: Option<f32>,
}

/// The settings as a run and its model keep them.
fn recorded(settings: &DistillSettings, lpips: Option<&Lpips>) -> Value {
    let mut recorded = json!(settings);
    if let Some(lpips) = lpips {
        let crc32 = format!("{:08x}", lpips.crc32());
        recorded["lpips"] =
            json!({"network": lpips.network(), "crc32": crc32, "weight": settings.lpips_weight});
    }
    recorded
}
