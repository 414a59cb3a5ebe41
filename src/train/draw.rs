//! A teacher that draws from seeds: the images, and for students of several steps its states on the way.

use crate::error::{Error, Result, try_resize};
use crate::image::{Format, Layout};
use crate::model::{Config, Generator, Network, Role, Schedule};
use crate::options::Options;
use crate::sampler::{Plan, Planned, Sampler, guided};
use crate::session::{Info, Model, Request, Session};
use crate::weights::Checkpoint;
use std::ops::Range;

/// Some pairs, as a teacher drew them.
pub struct Drawn<'a> {
    /// One an image.
    pub seeds: &'a [u64],
    /// One an image, where there are classes.
    pub labels: Option<&'a [i32]>,
    /// (n, c, h, w), the network's own [-1, 1], unclamped.
    pub images: &'a [f32],
    /// (n, stops, c, h, w): x_t at each of [`Teacher::stops`], noisiest first.
    pub states: &'a [f32],
}

/// See the module.
pub struct Teacher {
    session: Session,
    /// The sampler in pieces that begin at the noise and at each stop.
    legs: Vec<Sampler>,
    /// Its calls, noise first.
    pub timesteps: Vec<i32>,
    /// The calls, beside the first, at which a student of several steps is called too: its states there are kept.
    pub stops: Vec<i32>,
}

impl Teacher {
    /// Prepares a teacher that draws by this sampler, for students of `student_steps` steps.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a student, a stochastic sampler, and more steps than the teacher's own; those of opening a
    /// model.
    pub fn new(
        checkpoint: &Checkpoint,
        options: &Options,
        sampler: &Sampler,
        student_steps: usize,
    ) -> Result<Self> {
        let model = Model::from_checkpoint(checkpoint, options)?;
        // A consistency model draws in one step, and its student learns just that.
        let generator = &model.info().config.generator;
        if generator.role() == Role::Student && !matches!(generator, Generator::Consistency(_)) {
            let message = format!("{} is a student; only a teacher draws pairs", checkpoint.name());
            return Err(Error::argument("teacher", message));
        }
        let plan = deterministic(&model, sampler)?;
        let timesteps: Vec<i32> = plan.steps.iter().map(|step| step.timestep).collect();
        let stops = stops(&timesteps, student_steps)?;
        let legs = legs(sampler, &timesteps, &stops);
        Ok(Self { session: model.session(options)?, legs, timesteps, stops })
    }

    /// What it is, and where it draws.
    pub fn info(&self) -> &Info {
        self.session.model().info()
    }

    /// Channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        self.session.model().info().config.network.image()
    }

    /// Classes, if it has any.
    pub fn classes(&self) -> Option<usize> {
        self.session.model().info().config.network.num_classes
    }

    /// The label of pair `number`, where there are classes.
    pub fn label(&self, number: u64) -> Option<i32> {
        self.classes().map(|classes| (number % classes as u64) as i32)
    }

    /// Draws pairs of these numbers, at most `batch` at a time, for `take` to keep. Pair i is drawn from seed `first_seed`
    /// + i, and where there are classes from label i modulo their number.
    ///
    /// # Errors
    /// Those of sampling, and of `take`.
    pub fn draw_pairs(
        &mut self,
        first_seed: u64,
        numbers: Range<u64>,
        batch: usize,
        take: &mut dyn FnMut(Drawn) -> Result<()>,
    ) -> Result<()> {
        let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
        let len: usize = self.image().iter().product();
        let (mut x, mut states) = (Vec::new(), Vec::new());
        for first in numbers.clone().step_by(batch) {
            let part = first..numbers.end.min(first + batch as u64);
            let seeds: Vec<u64> = part.clone().map(|number| first_seed + number).collect();
            let labels: Option<Vec<i32>> = part.map(|number| self.label(number)).collect();
            x.resize(seeds.len() * len, 0.0);
            states.resize(seeds.len() * self.stops.len() * len, 0.0);
            for (leg, sampler) in self.legs.iter().enumerate() {
                let request = Request {
                    seeds: Some(seeds.clone()),
                    noise: (leg > 0).then(|| x.clone()),
                    labels: labels.clone(),
                    sampler: Some(sampler.clone()),
                    ..Request::default()
                };
                self.session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut x))?;
                if leg < self.stops.len() {
                    let places = states.chunks_exact_mut(self.stops.len() * len);
                    for (place, state) in places.zip(x.chunks_exact(len)) {
                        place[leg * len..][..len].copy_from_slice(state);
                    }
                }
            }
            if let Some(at) = x.iter().chain(&states).position(|value| !value.is_finite()) {
                let image = if at < x.len() { at / len } else { (at - x.len()) / (self.stops.len() * len) };
                let message =
                    format!("seed {}: the network says values that are no finite numbers", seeds[image]);
                return Err(Error::argument("teacher", message));
            }
            take(Drawn { seeds: &seeds, labels: labels.as_deref(), images: &x, states: &states })?;
        }
        Ok(())
    }
}

/// A teacher's prediction, guided where it is: how far from the one without a label, and the label that stands for none. `spare` is
/// kept for its memory.
///
/// # Errors
/// Those of [`Session::predict_at`].
pub(super) fn predict(
    teacher: &mut Session,
    guidance: Option<(f32, i32)>,
    (x, times, labels): (&[f32], &[f32], Option<&[i32]>),
    spare: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<()> {
    teacher.predict_at(x, times, labels, out)?;
    let Some((scale, label)) = guidance else { return Ok(()) };
    try_resize(spare, out.len(), "a batch of images")?;
    teacher.predict_at(x, times, Some(&vec![label; times.len()]), spare)?;
    let step = guided(scale);
    out.iter_mut().zip(&*spare).for_each(|(out, &other)| *out = step.apply(*out, other, None));
    Ok(())
}

/// The plan of a sampler that draws the same image from the same noise each time.
pub(super) fn deterministic(model: &Model, sampler: &Sampler) -> Result<Plan> {
    let mut plan = Plan::default();
    plan.fill(&model.info().config, Some(sampler))?;
    if plan.steps.iter().any(Planned::is_noisy) {
        let message = "a pair is a seed and one image: only a sampler without fresh noise (DDIM at eta 0, Euler, Heun) draws the same each time";
        return Err(Error::argument("sampler", message));
    }
    Ok(plan)
}

/// The diffusion process of a teacher.
///
/// # Errors
/// INVALID_ARGUMENT (`teacher`) for a model that has none.
pub(super) fn diffusion(config: &Config) -> Result<&Schedule> {
    config.generator.schedule().ok_or_else(|| {
        let message = format!("{} models have no diffusion process", config.generator.kind());
        Error::argument("teacher", message)
    })
}

/// That a teacher can be called with so many images.
///
/// # Errors
/// INVALID_ARGUMENT (`teacher_batch`).
pub(super) fn check_batch(batch: usize, options: &Options) -> Result<()> {
    let most = options.limits.batch;
    if (1..=most).contains(&(batch as u64)) {
        return Ok(());
    }
    Err(Error::argument("teacher_batch", format!("{batch} images given; 1 to {most} can be asked for")))
}

/// That images of this shape and these classes are those of a teacher.
///
/// # Errors
/// INVALID_ARGUMENT (`argument`).
pub(super) fn check_images(
    argument: &'static str,
    (image, classes): ([usize; 3], Option<usize>),
    teacher: &Network,
) -> Result<()> {
    let (its_image, its_classes) = (teacher.image(), teacher.num_classes);
    if (image, classes) == (its_image, its_classes) {
        return Ok(());
    }
    let message =
        format!("{image:?} and {classes:?} classes, the teacher has {its_image:?} and {its_classes:?}");
    Err(Error::argument(argument, message))
}

/// The calls of a student of several steps whose teacher keeps its states at `stops`; empty for a student of one.
pub(super) fn student_calls(timesteps: &[i32], stops: &[i32]) -> Vec<i32> {
    if stops.is_empty() { Vec::new() } else { [&timesteps[..1], stops].concat() }
}

/// Where a student of so many steps is called beside the first: every (calls / steps)-th call.
fn stops(timesteps: &[i32], student_steps: usize) -> Result<Vec<i32>> {
    let call = |step: usize| timesteps[step * timesteps.len() / student_steps];
    let possible = (1..=timesteps.len()).contains(&student_steps);
    // Of more calls than the teacher has there is no list to make.
    let calls: Vec<i32> = if possible { (0..student_steps).map(call).collect() } else { Vec::new() };
    if calls.is_empty() || !calls.is_sorted_by(|a, b| a > b) {
        let message = format!("{student_steps} for a teacher of {} steps", timesteps.len());
        return Err(Error::argument("student_steps", message));
    }
    Ok(calls[1..].to_vec())
}

/// A sampler, cut at its stops.
fn legs(sampler: &Sampler, timesteps: &[i32], stops: &[i32]) -> Vec<Sampler> {
    if stops.is_empty() {
        return vec![sampler.clone()];
    }
    let mut begin = 0;
    let mut leg = |end: usize, until: Option<i32>| {
        let timesteps = Some(timesteps[begin..end].to_vec());
        begin = end;
        Sampler { timesteps, until, ..sampler.clone() }
    };
    let place = |stop: i32| timesteps.iter().position(|&t| t == stop).unwrap_or(timesteps.len());
    let mut legs: Vec<Sampler> = stops.iter().map(|&stop| leg(place(stop), Some(stop))).collect();
    legs.push(leg(timesteps.len(), None));
    legs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teachers_calls_are_cut_where_its_student_is_called() {
        let calls = [999, 700, 450, 260, 110, 30, 2, 0];
        assert!(stops(&calls, 1).unwrap().is_empty());
        assert_eq!(stops(&calls, 2).unwrap(), [110]);
        assert_eq!(stops(&calls, 4).unwrap(), [450, 110, 2]);
        assert_eq!(stops(&calls, 8).unwrap(), calls[1..]);
        for wrong in [0, 9, usize::MAX] {
            assert!(
                stops(&calls, wrong)
                    .unwrap_err()
                    .to_string()
                    .contains(&format!("{wrong} for a teacher of 8"))
            );
        }
        assert!(stops(&[5, 0, 0, 0], 4).is_err());

        let found = legs(&Sampler::default(), &calls, &[450, 110]);
        let expected = [(&calls[..2], Some(450)), (&calls[2..4], Some(110)), (&calls[4..], None)];
        for (leg, (timesteps, until)) in found.iter().zip(expected) {
            assert_eq!((leg.timesteps.as_deref(), leg.until), (Some(timesteps), until));
        }
        assert_eq!(found.len(), 3);
    }
}
