//! Progressive distillation (Salimans and Ho 2022, algorithm 2): a student of K / 2 steps learns to do in one step what
//! its teacher of K does in two, from noised images; then it is the teacher.

use super::draw::{check_batch, check_images, deterministic, diffusion, predict};
use super::images::{Altered, Images};
use super::random::{Random, Shuffled};
use super::stored::{Pairs, Task};
use crate::error::{Error, Result, try_resize};
use crate::model::Role;
use crate::noise;
use crate::options::Options;
use crate::sampler::{Plan, Planned, Sampler};
use crate::session::{Info, Model, Session};
use crate::weights::Checkpoint;
use serde_json::{Value, json};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The images that are noised.
pub enum Data {
    /// A folder's.
    Images(Images),
    /// Those that a teacher drew.
    Pairs(Box<Pairs>),
}

impl Data {
    /// What tells them from others, for a run's settings.
    pub fn identity(&self) -> Value {
        match self {
            Data::Images(images) => {
                json!({"images": images.len(), "images_crc32": format!("{:08x}", images.checksum())})
            }
            Data::Pairs(pairs) => pairs.identity(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Data::Images(images) => images.len(),
            Data::Pairs(pairs) => pairs.len(),
        }
    }

    fn image(&self) -> [usize; 3] {
        match self {
            Data::Images(images) => images.image(),
            Data::Pairs(pairs) => pairs.image(),
        }
    }

    fn classes(&self) -> Option<usize> {
        match self {
            Data::Images(images) => images.labels.as_ref().map(|_| images.classes.len()),
            Data::Pairs(pairs) => pairs.classes(),
        }
    }

    /// Fills x_0 of image `index`; its label. `spare` is as long.
    fn fill(&mut self, index: usize, spare: &mut [f32], x_0: &mut [f32]) -> Result<Option<i32>> {
        match self {
            Data::Images(images) => {
                images.fill(index, &Altered::default(), x_0);
                Ok(images.labels.as_ref().map(|labels| labels[index]))
            }
            Data::Pairs(pairs) => {
                let last = pairs.calls().len().max(1) - 1;
                Ok(pairs.fill(index, last, spare, x_0)?.label)
            }
        }
    }
}

/// What a student of half the steps learns, a batch at a time.
pub struct Halving {
    session: Session,
    /// The teacher's calls, two for each of the student's.
    calls: Vec<Planned>,
    alphas_cumprod: Vec<f32>,
    /// How far from the prediction without a label, and the label that stands for none.
    guidance: Option<(f32, i32)>,
    data: Data,
    random: Random,
    shuffled: Shuffled,
    /// Images a call of the teacher.
    batch: usize,
    buffers: Buffers,
}

/// A step's items.
#[derive(Default)]
struct Buffers {
    /// Which of the step's is the first.
    first: usize,
    x: Vec<f32>,
    target: Vec<f32>,
    tasks: Vec<Task>,
    net: Vec<f32>,
    /// Without a label.
    other: Vec<f32>,
    spare: Vec<f32>,
}

impl Halving {
    /// A teacher that draws by this sampler, and images of its size.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a student of one step, a stochastic sampler, an odd number of steps, no batch, and images of
    /// another size or other classes; those of opening a model.
    pub fn new(
        teacher: &Checkpoint,
        options: &Options,
        sampler: &Sampler,
        data: Data,
        random: Random,
        batch: usize,
    ) -> Result<Self> {
        let model = Model::from_checkpoint(teacher, options)?;
        let config = &model.info().config;
        if config.generator.role() == Role::Student {
            return Err(Error::argument("teacher", "a student of one step: there is nothing left to halve"));
        }
        check_batch(batch, options)?;
        let Plan { steps: calls, guidance, .. } = deterministic(&model, sampler)?;
        let guidance = guidance.zip(config.network.null_label());
        if !calls.len().is_multiple_of(2) {
            return Err(Error::argument("steps", format!("{} are no even number", calls.len())));
        }
        check_images("images", (data.image(), data.classes()), &config.network)?;
        let alphas_cumprod = diffusion(config)?.alphas_cumprod()?;
        let shuffled = Shuffled::new(random, data.len());
        let session = model.session(options)?;
        Ok(Self {
            session,
            calls,
            alphas_cumprod,
            guidance,
            data,
            random,
            shuffled,
            batch,
            buffers: Buffers::default(),
        })
    }

    /// The student's calls.
    pub fn student_calls(&self) -> Vec<i32> {
        self.calls.iter().step_by(2).map(|call| call.timestep).collect()
    }

    /// What tells the images from others, for a run's settings.
    pub fn identity(&self) -> Value {
        self.data.identity()
    }

    /// What the teacher is, and where it draws.
    pub fn info(&self) -> &Info {
        self.session.model().info()
    }

    /// Draws items `mine` of a step of `batch`.
    ///
    /// # Errors
    /// Those of sampling; IO.
    pub fn draw(&mut self, step: u64, mine: Range<usize>, batch: usize) -> Result<()> {
        let images = mine.len();
        let len: usize = self.data.image().iter().product();
        let Buffers { first, x, target, tasks, net, other, spare } = &mut self.buffers;
        for values in [&mut *x, &mut *net, &mut *target] {
            try_resize(values, images.saturating_mul(len), "a batch of images")?;
        }
        spare.resize(len, 0.0);
        tasks.clear();
        let student_calls = self.calls.len() / 2;
        *first = mine.start;
        for (slot, x) in mine.zip(x.chunks_exact_mut(len)) {
            let draws = self.random.draws(step, slot);
            let call = self.random.timestep(step, slot, batch, student_calls);
            let index = self.shuffled.item(step * batch as u64 + slot as u64);
            let label = self.data.fill(index, spare, x)?;
            noise::fill(draws.noise, 0, spare);
            // The first call begins from noise alone, as sampling does.
            let alpha = match call {
                0 => 0.0,
                _ => f64::from(self.alphas_cumprod[self.calls[2 * call].timestep as usize]),
            };
            let (a, b) = (alpha.sqrt() as f32, (1.0 - alpha).sqrt() as f32);
            x.iter_mut().zip(&*spare).for_each(|(x, eps)| *x = a * *x + b * eps);
            tasks.push(Task { label, call });
        }
        target.copy_from_slice(x);
        for half in 0..2 {
            for first in (0..images).step_by(self.batch) {
                let part = first..images.min(first + self.batch);
                let calls: Vec<Planned> =
                    tasks[part.clone()].iter().map(|task| self.calls[2 * task.call + half]).collect();
                let times: Vec<f32> = calls.iter().map(|call| call.time).collect();
                let labels: Option<Vec<i32>> = tasks[part.clone()].iter().map(|task| task.label).collect();
                let floats = part.start * len..part.end * len;
                let (state, net) = (&mut target[floats.clone()], &mut net[floats]);
                predict(&mut self.session, self.guidance, (state, &times, labels.as_deref()), other, net)?;
                let images = state.chunks_exact_mut(len).zip(net.chunks_exact(len));
                for (call, (state, net)) in calls.iter().zip(images) {
                    state.iter_mut().zip(net).for_each(|(x, &net)| *x = call.step.apply(*x, net, None));
                }
            }
        }
        Ok(())
    }

    /// Fills what the student begins from and goes to in image `slot` of the step that was drawn last.
    pub fn fill(&self, slot: usize, x: &mut [f32], target: &mut [f32]) -> Task {
        let item = slot - self.buffers.first;
        let at = item * x.len();
        x.copy_from_slice(&self.buffers.x[at..][..x.len()]);
        target.copy_from_slice(&self.buffers.target[at..][..x.len()]);
        self.buffers.tasks[item]
    }
}

/// One halving of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Steps of its student.
    pub steps: usize,
    /// The run's folder.
    pub out: PathBuf,
}

/// The halvings from `steps` to `to`: each but the last in a folder `steps-K` of `out`, the last in `out` itself.
///
/// # Errors
/// INVALID_ARGUMENT where halving does not lead from one to the other.
pub fn rounds(out: &Path, steps: usize, to: usize) -> Result<Vec<Round>> {
    let reaches = to > 0 && steps > to && steps.is_multiple_of(to) && (steps / to).is_power_of_two();
    if !reaches {
        return Err(Error::argument("steps", format!("halving {steps} never gives {to}")));
    }
    let halved =
        std::iter::successors(Some(steps / 2), |steps| Some(steps / 2)).take_while(|&steps| steps >= to);
    let folder = |steps: usize| if steps == to { out.to_owned() } else { out.join(format!("steps-{steps}")) };
    Ok(halved.map(|steps| Round { steps, out: folder(steps) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halvings_lead_to_the_steps_asked_for() {
        let steps = |from, to| -> Result<Vec<usize>> {
            Ok(rounds(Path::new("run"), from, to)?.iter().map(|round| round.steps).collect())
        };
        assert_eq!(steps(16, 1).unwrap(), [8, 4, 2, 1]);
        assert_eq!(steps(24, 3).unwrap(), [12, 6, 3]);
        let all = rounds(Path::new("run"), 8, 2).unwrap();
        assert_eq!((&*all[0].out, &*all[1].out), (Path::new("run/steps-4"), Path::new("run")));
        for (from, to) in [(24, 1), (4, 4), (2, 4), (0, 1), (4, 0)] {
            assert!(steps(from, to).is_err(), "{from} to {to}");
        }
    }
}
