//! Distillation (Luhman and Luhman 2021): a student of the teacher's architecture, begun from its weights, learns to draw
//! in one call what the teacher draws from the same noise.

use super::course::{Habits, Lesson, Outcome, Watch, run};
use super::folder::Folder;
use super::group::Group;
use super::learner::{Batch, Learner};
use super::pairs::{Pairs, Teacher};
use super::random::Random;
use super::recipe::{DistillSettings, Loss, Reduction};
use super::source::{Ring, Source};
use super::state::State;
use crate::error::{Error, Result};
use crate::exec::Step;
use crate::model::{Config, Prediction, Role, StudentOutput};
use crate::options::Options;
use crate::sampler::{Plan, Sampler};
use crate::weights::{self, Checkpoint, Description};
use serde_json::json;
use std::path::PathBuf;

/// Where pairs come from.
#[derive(Clone, Debug, PartialEq)]
pub enum PairsFrom {
    /// A folder of `onestep pairs`.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whether all of it is read and checked before training.
        verify: bool,
    },
    /// The teacher, while the student learns.
    Online {
        /// How the teacher draws.
        sampler: Sampler,
        /// Pairs in memory at a time.
        ring: usize,
        /// Of which so many are new at each step.
        fresh: usize,
        /// Images a call of the teacher.
        batch: usize,
    },
}

/// A run of a student.
pub struct DistillRun {
    /// How it learns.
    pub settings: DistillSettings,
    /// A native file or diffusers folder.
    pub teacher: PathBuf,
    /// Where its pairs come from.
    pub pairs: PairsFrom,
    /// The run's folder.
    pub out: PathBuf,
    /// Threads.
    pub threads: usize,
    /// What it does beside.
    pub habits: Habits,
}

impl DistillRun {
    /// Distils to the end, from the run's checkpoint if there is one.
    ///
    /// # Errors
    /// Those of [`Pairs::open`], [`Folder::shared`] and [`run`]; INVALID_ARGUMENT for pairs of another teacher.
    pub fn run(&self, watch: Watch) -> Result<Outcome> {
        let (settings, group) = (&self.settings, &self.habits.group);
        settings.check()?;
        group.check_batch(settings.batch, settings.accumulate)?;
        let teacher = weights::open(&self.teacher, u64::MAX)?;
        let config = teacher.config(Some(Role::Teacher))?;
        let crc32 = format!("{:08x}", teacher.weights_crc32()?);
        let random = Random(settings.seed);
        let (source, from, epoch) = self.source(&teacher, &crc32, random)?;
        let steps = if settings.epochs > 0 { settings.epochs * epoch } else { settings.steps };
        let asked = json!({"command": "distill", "distill": settings, "teacher_crc32": crc32, "pairs": from, "steps": steps});
        let folder = Folder::shared(&self.out, &asked, group)?;

        let (description, form) = student(&teacher, &config, settings)?;
        let learner = Learner::new(&config.network, &teacher, self.threads)?;
        let course = settings.course(steps);
        let state = State::new(learner, course.adam)?;
        let mut lesson = Copying {
            settings,
            group,
            source,
            timestep: config.schedule.train_timesteps() as i32 - 1,
            form,
            test_every: if settings.test_every > 0 { settings.test_every } else { epoch },
            steps,
            room: Room::default(),
        };
        run(&mut lesson, state, &course, &self.habits, folder.as_ref(), &description, watch)
    }

    /// The pairs, what the settings say of them, and steps of an epoch.
    fn source(
        &self,
        teacher: &Checkpoint,
        teacher_crc32: &str,
        random: Random,
    ) -> Result<(Source, serde_json::Value, u64)> {
        let settings = &self.settings;
        match &self.pairs {
            PairsFrom::Folder { path, verify } => {
                let pairs = Pairs::open(path, *verify)?;
                if pairs.manifest.teacher_crc32 != teacher_crc32 {
                    let message = format!(
                        "{} holds pairs of another teacher (its weights' CRC-32 is {}, this one's {teacher_crc32})",
                        path.display(),
                        pairs.manifest.teacher_crc32
                    );
                    return Err(Error::argument("pairs", message));
                }
                let test = settings.test.min(pairs.len() / 10);
                let epoch = (pairs.len() - test) / settings.batch;
                if epoch == 0 {
                    let message = format!("{} pairs are no batch of {}", pairs.len() - test, settings.batch);
                    return Err(Error::argument("batch", message));
                }
                let from = json!({"manifest": pairs.manifest, "test": test});
                Ok((Source::stored(pairs, test, random), from, epoch as u64))
            }
            PairsFrom::Online { sampler, ring, fresh, batch } => {
                if settings.epochs > 0 {
                    return Err(Error::argument("epochs", "fresh pairs have none; name steps"));
                }
                if *ring == 0 || *fresh > *ring || *batch == 0 {
                    return Err(Error::argument(
                        "ring",
                        format!("{ring} pairs, {fresh} of them new at each step"),
                    ));
                }
                let options = Options { threads: self.threads as u32, ..Options::default() };
                let teacher = Teacher::new(teacher, &options, sampler)?;
                let from = json!({"online": {"timesteps": teacher.timesteps, "ring": ring, "fresh": fresh}});
                let sizes = (*ring, *fresh, settings.test);
                let ring = Ring::new(teacher, random, sizes, *batch, self.habits.group.clone());
                Ok((Source::Online(Box::new(ring)), from, 500))
            }
        }
    }
}

/// A student as a model, and the coefficients with which it draws: x_0 = x x_T + net raw.
fn student(teacher: &Checkpoint, config: &Config, settings: &DistillSettings) -> Result<(Description, Step)> {
    // Where the network says something about the image itself, its own estimate is the natural start.
    let output = match config.schedule.prediction {
        Prediction::Epsilon => StudentOutput::XMinus,
        Prediction::Sample | Prediction::V => StudentOutput::X0,
    };
    let name = if output == StudentOutput::XMinus { "x_minus" } else { "x0" };
    let description = Description {
        role: Some("student".to_owned()),
        output: Some(name.to_owned()),
        default_steps: None,
        provenance: Some(json!({
            "trained_by": concat!("onestep ", env!("CARGO_PKG_VERSION")),
            "distill": settings,
            "teacher": teacher.description().provenance,
        })),
        ..teacher.description().clone()
    };
    let mut plan = Plan::default();
    plan.fill(&Config { role: Role::Student, student_output: output, ..config.clone() }, None)?;
    let step = plan.steps.first().ok_or_else(|| Error::Internal("a student without a step".to_owned()))?;
    Ok((description, step.step))
}

/// Drawing what the teacher drew.
struct Copying<'a> {
    settings: &'a DistillSettings,
    group: &'a Group,
    source: Source,
    timestep: i32,
    form: Step,
    test_every: u64,
    steps: u64,
    room: Room,
}

/// A batch's arrays, kept for their memory.
#[derive(Default)]
struct Room {
    x: Vec<f32>,
    target: Vec<f32>,
    timesteps: Vec<i32>,
    labels: Vec<i32>,
}

impl Room {
    fn as_batch(&self) -> Batch<'_> {
        let labels = (!self.labels.is_empty()).then_some(&self.labels[..]);
        Batch { x: &self.x, timesteps: &self.timesteps, labels }
    }
}

impl Copying<'_> {
    /// Fills the room with `n` images of `len` floats; `fill` gets an image's number, x_T and target, and gives its label.
    fn fill(
        &mut self,
        n: usize,
        len: usize,
        fill: impl Fn(&mut Source, usize, &mut [f32], &mut [f32]) -> Result<Option<i32>>,
    ) -> Result<()> {
        let Self { source, room, timestep, .. } = self;
        room.x.resize(n * len, 0.0);
        room.target.resize(n * len, 0.0);
        room.timesteps.clear();
        room.timesteps.resize(n, *timestep);
        room.labels.clear();
        let images = room.x.chunks_exact_mut(len).zip(room.target.chunks_exact_mut(len));
        for (at, (x, target)) in images.enumerate() {
            room.labels.extend(fill(source, at, x, target)?);
        }
        Ok(())
    }

    /// The loss of some images, divided by `number`, and its gradient with respect to the raw prediction.
    fn loss(&self, net: &[f32], number: f64, mut gradient: Option<&mut [f32]>) -> f64 {
        let (p, q) = (self.form.x, self.form.net);
        let mut loss = 0.0;
        for (i, ((&x, &target), &raw)) in self.room.x.iter().zip(&self.room.target).zip(net).enumerate() {
            let error = f64::from(p * x + q * raw - target);
            let (value, slope) = match self.settings.loss {
                Loss::L1 => (error.abs(), sign(error)),
                Loss::L2 => (error * error, 2.0 * error),
            };
            loss += value / number;
            if let Some(gradient) = &mut gradient {
                gradient[i] = (slope * f64::from(q) / number) as f32;
            }
        }
        loss
    }

    fn number(&self, images: usize, len: usize) -> f64 {
        match self.settings.reduction {
            Reduction::Sum => images as f64,
            Reduction::Mean => (images * len) as f64,
        }
    }
}

/// 1, -1, or the zero or NaN itself.
fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

impl Lesson for Copying<'_> {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn teach(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        self.source.begin(step)?;
        let (batch, len) = (self.settings.batch, learner.image_len());
        let mine = self.group.share(batch);
        let (part, number) = (mine.len() / self.settings.accumulate, self.number(batch, len));
        let mut loss = 0.0;
        for first in mine.step_by(part) {
            self.fill(part, len, |source, at, x, target| source.fill((step, first + at, batch), x, target))?;
            learner.accumulate(self.room.as_batch(), |net, gradient| {
                loss += self.loss(net, number, Some(gradient));
            })?;
        }
        Ok(loss)
    }

    fn test_due(&self, step: u64) -> bool {
        self.source.test_len() > 0 && (step.is_multiple_of(self.test_every) || step == self.steps)
    }

    fn test(&mut self, learner: &mut Learner) -> Result<f64> {
        let (count, len) = (self.source.test_len(), learner.image_len());
        let (mine, number) = (self.group.share(count), self.number(count, len));
        let part = self.group.share(self.settings.batch).len() / self.settings.accumulate;
        let mut loss = 0.0;
        for first in mine.clone().step_by(part) {
            let images = part.min(mine.end - first);
            self.fill(images, len, |source, at, x, target| source.fill_test(first + at, x, target))?;
            learner.predict(self.room.as_batch(), |net| loss += self.loss(net, number, None))?;
        }
        Ok(loss)
    }
}
