//! At which timesteps a teacher is called.

use super::Sampler;
use crate::error::{Error, Result};
use crate::model::{Generator, Schedule, Spacing};

/// The calls' timesteps, from noise to image, computed entry by entry: no memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timesteps<'a> {
    /// A number of steps spread over the T of training.
    Spaced { spacing: Spacing, steps: usize, train: usize, offset: usize },
    /// The caller's own.
    Explicit(&'a [i32]),
}

impl<'a> Timesteps<'a> {
    /// Those that a sampler asks for, checked: every entry is in 0..T.
    pub fn new(generator: &'a Generator, schedule: &'a Schedule, sampler: &'a Sampler) -> Result<Self> {
        let train = schedule.train_timesteps();
        if let Some(timesteps) = &sampler.timesteps {
            return Self::explicit(timesteps, train);
        }
        if let Some(timesteps) = generator.timesteps()
            && sampler.spacing.is_none()
            && sampler.steps.is_none_or(|steps| steps as usize == timesteps.len())
        {
            return Self::explicit(timesteps, train);
        }
        let steps = match sampler.steps {
            Some(steps) if (1..=train as u64).contains(&u64::from(steps)) => steps as usize,
            Some(steps) => {
                return Err(Error::argument(
                    "steps",
                    format!("{steps} is not one of 1 to {train} (train_timesteps)"),
                ));
            }
            None => (generator.default_steps() as usize).clamp(1, train),
        };
        let spacing = sampler.spacing.unwrap_or(schedule.spacing);
        Self::spaced(schedule, spacing, steps)
    }

    fn spaced(schedule: &Schedule, spacing: Spacing, steps: usize) -> Result<Self> {
        let train = schedule.train_timesteps();
        let timesteps = Self::Spaced { spacing, steps, train, offset: schedule.steps_offset as usize };
        let top = timesteps.get(0);
        if top as usize >= train {
            let offset = schedule.steps_offset;
            return Err(Error::argument(
                "steps",
                format!(
                    "{steps} leading steps with steps_offset {offset} begin at timestep {top}, the last one is {}",
                    train - 1
                ),
            ));
        }
        Ok(timesteps)
    }

    fn explicit(timesteps: &'a [i32], train: usize) -> Result<Self> {
        if timesteps.is_empty() {
            return Err(Error::argument("timesteps", "empty, at least one is needed"));
        }
        for (i, &t) in timesteps.iter().enumerate() {
            if usize::try_from(t).map_or(true, |t| t >= train) {
                return Err(Error::argument(
                    "timesteps",
                    format!("timesteps[{i}] = {t} is not one of 0 to {}", train - 1),
                ));
            }
            if i > 0 && t > timesteps[i - 1] {
                let before = timesteps[i - 1];
                return Err(Error::argument(
                    "timesteps",
                    format!("timesteps[{i}] = {t} follows {before}: they must not ascend"),
                ));
            }
        }
        Ok(Self::Explicit(timesteps))
    }

    /// How many calls.
    pub fn len(&self) -> usize {
        match *self {
            Self::Spaced { steps, .. } => steps,
            Self::Explicit(timesteps) => timesteps.len(),
        }
    }

    /// The timestep of call i, 0 the first.
    pub fn get(&self, i: usize) -> i32 {
        match *self {
            Self::Spaced { spacing, steps, train, offset } => spaced(spacing, steps, train, offset, i),
            Self::Explicit(timesteps) => timesteps[i],
        }
    }

    /// The next call's timestep; none after the last.
    pub fn next(&self, i: usize) -> Option<i32> {
        (i + 1 < self.len()).then(|| self.get(i + 1))
    }

    /// The timestep that DDIM goes to from call i; none: the image.
    ///
    /// diffusers' uniform spacings go down by T / K (whole number) whatever the next entry is, which is another
    /// timestep where K does not divide T; followed here to draw the same images.
    pub fn next_ddim(&self, i: usize) -> Option<i32> {
        match *self {
            Self::Spaced {
                spacing: Spacing::Leading | Spacing::Trailing | Spacing::Linspace,
                steps,
                train,
                ..
            } => Some(self.get(i) - (train / steps) as i32).filter(|&t| t >= 0),
            _ => self.next(i),
        }
    }
}

/// Entry i of a spacing, in numpy's f64 arithmetic and rounding (half to even).
fn spaced(spacing: Spacing, steps: usize, train: usize, offset: usize, i: usize) -> i32 {
    let from_below = steps - 1 - i;
    match spacing {
        Spacing::Leading => {
            (from_below * (train / steps)).saturating_add(offset).min(i32::MAX as usize) as i32
        }
        Spacing::Trailing => {
            // np.arange(T, 0, -T / K): the second entry, and its distance from the first as the increment. Its
            // length is K here; numpy's own is K + 1 for some K (61 of 1000), which gives diffusers a timestep -1.
            let (top, second) = (train as f64, train as f64 - train as f64 / steps as f64);
            let t = if i == 1 { second } else { top + i as f64 * (second - top) };
            t.round_ties_even() as i32 - 1
        }
        Spacing::Linspace => linspace((train - 1) as f64, steps, from_below).round_ties_even() as i32,
        Spacing::Quadratic => {
            let root = linspace((0.8 * train as f64).sqrt(), steps, from_below);
            (root * root) as i32
        }
    }
}

/// `np.linspace(0, stop, n)[i]`.
fn linspace(stop: f64, n: usize, i: usize) -> f64 {
    match n {
        1 => 0.0,
        _ if i == n - 1 => stop,
        _ => i as f64 * (stop / (n - 1) as f64),
    }
}
