//! How good a run's images are as it goes on: arguments, and who computes it.

use crate::meter::bar;
use crate::report::usage;
use onestep::metrics::{Features, FeaturesRun, Gaussian, ImagesFrom, Inspector, Protocol, frechet_distance};
use onestep::sampler::Sampler;
use onestep::staged::Staged;
use onestep::train::Scoring;
use onestep::weights::Checkpoint;
use onestep::{Cancel, Error, Options, Result};
use std::path::{Path, PathBuf};

/// How a run is judged.
#[derive(clap::Args)]
#[command(
    next_help_heading = "Evaluation (a score of the images that the averaged model draws; the best model by it is kept)"
)]
pub struct Judging {
    /// Steps from one score to the next: the Frechet distance to --eval-reference, of Inception's features (FID) with
    /// --eval-inception, else of pixels averaged to 8 x 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    eval_every: Option<u64>,
    /// What images are compared with: a folder of images, a .npz or .npy file, or features of `onestep eval` [default: a teacher's
    /// training images]
    #[arg(long, value_name = "PATH", requires = "eval_every")]
    eval_reference: Option<PathBuf>,
    /// Images a score, the same seeds each time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    eval_count: u64,
    /// Network calls an image [default: the model's own]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    eval_steps: Option<u32>,
    /// The weights of FID's Inception, as for `onestep eval`
    #[arg(long, value_name = "FILE", requires = "eval_every")]
    eval_inception: Option<PathBuf>,
}

/// What images are compared with, and how.
#[derive(Clone)]
pub struct Reference {
    inspector: Inspector,
    gaussian: Gaussian,
}

/// Who scores a run's models.
pub struct Judge {
    out: PathBuf,
    reference: Reference,
    /// Its name, for people.
    name: String,
    count: u64,
    sampler: Option<Sampler>,
    options: Options,
}

impl Judging {
    /// What the run is told; none where it is not judged.
    pub fn scoring(&self) -> Option<Scoring> {
        let kind = if self.eval_inception.is_some() { "FID" } else { "Frechet distance of pixels" };
        let steps = self.eval_steps.map_or(String::new(), |steps| format!(" of {steps} steps"));
        let by = format!("{kind} of {} images{steps}", self.eval_count);
        self.eval_every.map(|every| Scoring { every, by })
    }

    /// Finds the reference's statistics, and gets ready to judge the run in this folder; `images` are the reference where none was
    /// asked for. None where the run is not judged.
    ///
    /// # Errors
    /// INVALID_ARGUMENT without a reference; those of finding features.
    pub fn judge(
        &self,
        out: &Path,
        images: Option<&Path>,
        threads: u32,
        cancel: &Cancel,
        quiet: bool,
    ) -> Result<Option<Judge>> {
        if self.eval_every.is_none() {
            return Ok(None);
        }
        let Some(reference) = self.eval_reference.as_deref().or(images) else {
            return Err(usage("--eval-reference", "not given; a score compares with images"));
        };
        let inspector = match &self.eval_inception {
            Some(weights) => Inspector::Inception { weights: weights.clone(), protocol: Protocol::default() },
            None => Inspector::Pixels { channels: None },
        };
        let options =
            Options { device: "cpu".into(), threads, cancel: Some(cancel.clone()), ..Options::default() };
        let sampler = self.eval_steps.map(|steps| Sampler { steps: Some(steps), ..Sampler::default() });
        let folder = out.join("eval-reference");
        let name = reference.display().to_string();
        let (gaussian, extractor) = match reference {
            path if Features::are_in(path) => features_of(path, threads)?,
            path if is_npz(path) && Gaussian::read_if_there(path)?.is_some() => (Gaussian::read(path)?, None),
            path => {
                let run = features(ImagesFrom::at(path), &inspector, folder.clone(), None, &options);
                let bar = bar(!quiet, None, "features of the reference {pos}/{len} {wide_bar} {eta} left");
                let made = run.run(&mut |progress| {
                    bar.set_length(progress.total);
                    bar.set_position(progress.done);
                    Ok(())
                });
                bar.finish_and_clear();
                made?;
                features_of(&folder, threads)?
            }
        };
        // A model's images are made of as many channels as the reference's.
        let inspector = match (&inspector, extractor) {
            (Inspector::Pixels { .. }, Some(channels)) => Inspector::Pixels { channels: Some(channels) },
            _ => inspector,
        };
        let reference = Reference { inspector, gaussian };
        Ok(Some(Judge { out: out.to_owned(), reference, name, count: self.eval_count, sampler, options }))
    }
}

/// A run that finds the features of images.
fn features(
    images: ImagesFrom,
    inspector: &Inspector,
    out: PathBuf,
    count: Option<u64>,
    options: &Options,
) -> FeaturesRun {
    let (threads, cancel) = (options.threads, options.cancel.clone());
    FeaturesRun { images, inspector: inspector.clone(), out, count, part: (0, 1), batch: 16, threads, cancel }
}

impl Reference {
    /// Of all of these images; `place` is a folder for what it takes on the way.
    ///
    /// # Errors
    /// Those of finding features.
    pub fn of(images: &ImagesFrom, inspector: &Inspector, place: &Path, options: &Options) -> Result<Self> {
        let run = features(images.clone(), inspector, place.join("reference"), None, options);
        let found = run.finish(&mut |_| Ok(()))?;
        let gaussian = Gaussian::of(&found, options.threads.max(1) as usize, &mut |_, _| Ok(()))?;
        Ok(Self { inspector: inspector.clone(), gaussian })
    }

    /// The Fréchet distance of so many images; `place` is a folder for what it takes on the way.
    ///
    /// # Errors
    /// Those of sampling and of finding features.
    pub fn distance(&self, images: ImagesFrom, count: u64, place: &Path, options: &Options) -> Result<f64> {
        let place = place.join("features");
        let run = features(images, &self.inspector, place.clone(), Some(count), options);
        let found = run.finish(&mut |_| Ok(()))?;
        let own = Gaussian::of(&found, options.threads.max(1) as usize, &mut |_, _| Ok(()))?;
        std::fs::remove_dir_all(&place).map_err(|source| Error::Io { path: place, source })?;
        frechet_distance(&own, &self.gaussian)
    }
}

/// Statistics of a folder of features, and the channels of images averaged there.
fn features_of(folder: &Path, threads: u32) -> Result<(Gaussian, Option<usize>)> {
    let features = Features::open(folder)?;
    let channels = features.manifest().extractor["channels"].as_u64().map(|channels| channels as usize);
    let gaussian = Gaussian::of(&features, threads.max(1) as usize, &mut |_, _| Ok(()))?;
    Ok((gaussian, channels))
}

fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}

impl Judge {
    /// The Fréchet distance of what a model draws. What it takes on the way lies in the run's folder, and is removed.
    ///
    /// # Errors
    /// Those of sampling and of finding features.
    pub fn score(&self, model: &Checkpoint<'static>) -> Result<f64> {
        let place = self.out.join("eval");
        let staged = Staged::folder(&place).map_err(|source| Error::Io { path: place, source })?;
        let path = staged.path().join("model.safetensors");
        model.save(&path, None)?;
        let images = ImagesFrom::Model {
            path: Some(path),
            sampler: self.sampler.clone(),
            first_seed: 0,
            options: Box::new(self.options.clone()),
        };
        self.reference.distance(images, self.count, staged.path(), &self.options)
    }

    /// What it compares pixels with, and the name of that; none where it compares something else.
    pub fn pixels(&self) -> Option<(Reference, String)> {
        let pixels = matches!(self.reference.inspector, Inspector::Pixels { .. });
        pixels.then(|| (self.reference.clone(), self.name.clone()))
    }
}
