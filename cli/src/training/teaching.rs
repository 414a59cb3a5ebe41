//! How a teacher draws what a student learns from: arguments of `pairs` and `distill`.

use crate::args::{check_there, choice, named, parse_guidance};
use crate::report::{say_notes, usage};
use onestep::model::Spacing;
use onestep::sampler::{Kind, Sampler};
use onestep::weights;
use onestep::{ClipSample, Result};
use std::path::Path;

/// Spacings, of which one has a second name.
const SPACINGS: [(&str, Spacing); 5] = [
    ("quadratic", Spacing::Quadratic),
    ("leading", Spacing::Leading),
    ("trailing", Spacing::Trailing),
    ("linspace", Spacing::Linspace),
    ("uniform", Spacing::Leading),
];

/// How the teacher draws.
#[derive(clap::Args)]
#[command(next_help_heading = "Teacher")]
pub struct Drawing {
    /// How it draws [default: ddim; heun for EDM's models]
    #[arg(id = "teacher_sampler", long = "sampler", value_parser = choice(&[
        ("ddim", Kind::Ddim), ("euler", Kind::Euler), ("heun", Kind::Heun), ("consistency", Kind::Consistency)]))]
    sampler: Option<Kind>,
    /// Steps of an image [default: 100; what EDM's models and consistency models have for their own]
    #[arg(id = "teacher_steps", long = "ddim-steps", value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Where DDIM's timesteps lie: quadratic is the paper's for CIFAR-10 and CelebA, leading the uniform one of DDIM's authors
    /// [default: quadratic]
    #[arg(long, alias = "schedule", value_parser = choice(&SPACINGS))]
    spacing: Option<Spacing>,
    /// The first of quadratic timesteps [default: 0.8 T, the paper's]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(..100_000))]
    top: Option<u32>,
    /// Classifier-free guidance of a teacher that was trained with --drop-labels, which the student learns in its one call: none + W
    /// (label - none); 1 is none
    #[arg(long, value_name = "W", value_parser = parse_guidance, allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// Clamp the teacher's estimate of the image at each step; file: as its file says
    #[arg(long, default_value = "file", value_parser = named::<ClipSample>())]
    pub clip_sample: ClipSample,
    /// Images a call of the teacher
    #[arg(long, value_name = "B", default_value_t = 64)]
    pub teacher_batch: usize,
    /// Steps of the student: 1, or a few [default: 1]
    #[arg(long, value_name = "K")]
    pub student_steps: Option<usize>,
}

impl Drawing {
    /// The teacher's steps.
    pub fn steps(&self) -> u32 {
        self.steps.unwrap_or(100)
    }

    /// Which argument says how a teacher draws, if any was given.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--sampler", self.sampler.is_some()),
            ("--ddim-steps", self.steps.is_some()),
            ("--spacing", self.spacing.is_some()),
            ("--top", self.top.is_some()),
            ("--guidance", self.guidance.is_some()),
            ("--clip-sample", self.clip_sample != ClipSample::File),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// The sampler of this teacher.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for arguments that say nothing together; those of reading the teacher's description.
    pub fn sampler(&self, teacher: &Path) -> Result<Sampler> {
        let guidance = self.guidance;
        let ddim = Sampler { guidance, ..self.ddim()? };
        check_there(teacher)?;
        let checkpoint = weights::open(teacher, u64::MAX)?;
        say_notes(checkpoint.notes());
        if checkpoint.config(None)?.generator.schedule().is_some() {
            return Ok(Sampler { kind: self.sampler, ..ddim });
        }
        match (self.spacing, self.top) {
            (None, None) => {
                Ok(Sampler { kind: self.sampler, steps: self.steps, guidance, ..Sampler::default() })
            }
            (Some(_), _) => Err(usage("--spacing", "only diffusion models have one")),
            (None, Some(_)) => Err(usage("--top", "only diffusion models have timesteps")),
        }
    }

    fn ddim(&self) -> Result<Sampler> {
        let steps = Some(self.steps());
        let spacing = self.spacing.unwrap_or(Spacing::Quadratic);
        let Some(top) = self.top else {
            return Ok(Sampler { spacing: Some(spacing), steps, ..Sampler::default() });
        };
        if spacing != Spacing::Quadratic {
            return Err(usage("--top", format!("{top} given, but only quadratic timesteps have a top")));
        }
        if self.steps() > top.saturating_add(1) {
            let message = format!(
                "{} given; there are only {} timesteps from --top {top} down to 0",
                self.steps(),
                top + 1
            );
            return Err(usage("--ddim-steps", message));
        }
        Ok(Sampler { timesteps: Some(quadratic(self.steps(), top)), ..Sampler::default() })
    }
}

/// floor(linspace(0, sqrt(top), steps)^2), from the top down, each once.
fn quadratic(steps: u32, top: u32) -> Vec<i32> {
    let step = f64::from(top).sqrt() / f64::from((steps - 1).max(1));
    let at = |i: u32| if i + 1 == steps { top as i32 } else { (f64::from(i) * step).powi(2) as i32 };
    let mut timesteps: Vec<i32> = (0..steps).rev().map(at).collect();
    timesteps.dedup();
    timesteps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadratic_schedules_begin_at_the_top() {
        assert_eq!(quadratic(1, 999), [999]);
        assert_eq!(quadratic(4, 900), [900, 400, 100, 0]);
        let all = quadratic(100, 999);
        assert_eq!((all[0], all[all.len() - 1]), (999, 0));
        assert!(all.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
