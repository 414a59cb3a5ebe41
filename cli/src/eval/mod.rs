//! `onestep eval`.

mod args;
mod pictures;
mod published;
mod report;
mod weights;

use crate::interrupt;
use crate::meter::bar;
use crate::report::{io_error, print, say, say_notes, usage};
pub use args::Args;
use onestep::metrics::{
    Features, FeaturesProgress, FeaturesRun, Gaussian, ImagesFrom, Inspector, Metric, Reference, SUBSET,
    Scores, Stage,
};
use onestep::weights::write_text;
use onestep::{Cancel, Error, Named, Options, Result, available_threads};
use pictures::Pictures;
use std::path::PathBuf;
use std::time::Instant;

/// Images that a model draws where no count is given: as many as papers score.
const COUNT: u64 = 50_000;

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let cancel = interrupt::cancel_on_ctrl_c()?;
    let result = shared(args, &cancel);
    if matches!(result, Err(Error::Cancelled)) && !args.quiet {
        say(format_args!("stopped; {} keeps what is done, and the same command goes on", args.out.display()));
    }
    result
}

#[cfg(feature = "train")]
fn shared(args: &Args, cancel: &Cancel) -> Result<()> {
    crate::training::together(args.mpi, |group| {
        let part = args.shard.unwrap_or((group.rank(), group.size()));
        let work = Work { args, cancel, part, quiet: args.quiet || !group.leads() };
        let features = work.features();
        // No process reads what others have not written yet.
        let made = group.agree(features)?;
        if group.leads() { work.score(made) } else { Ok(()) }
    })
}

#[cfg(not(feature = "train"))]
fn shared(args: &Args, cancel: &Cancel) -> Result<()> {
    let work = Work { args, cancel, part: args.shard.unwrap_or((0, 1)), quiet: args.quiet };
    let made = work.features()?;
    work.score(made)
}

/// What a process does.
struct Work<'a> {
    args: &'a Args,
    cancel: &'a Cancel,
    part: (usize, usize),
    quiet: bool,
}

/// What there is to score: the folder of the images' features, the reference's, and its statistics.
struct Made {
    features: PathBuf,
    reference: Option<PathBuf>,
    gaussian: Option<Gaussian>,
    metrics: Vec<Metric>,
    /// Images a second of those that were not there before.
    speed: Option<f64>,
}

impl Work<'_> {
    /// Finds the features of images and reference, this process' part of them.
    fn features(&self) -> Result<Made> {
        let args = self.args;
        let gaussian = self.statistics()?;
        let of_images = self.reference_has_images()?;
        let metrics = self.metrics(gaussian.is_some(), of_images)?;
        let pixel = metrics.contains(&Metric::Pixel);
        let inspector = match &args.inception {
            _ if pixel => Inspector::Pixels { channels: None },
            Some(weights) => Inspector::Inception { weights: weights.clone(), protocol: args.protocol },
            None => return Err(usage("--inception", weights::HOW)),
        };
        std::fs::create_dir_all(&args.out).map_err(|error| io_error(&args.out, error))?;
        let features = args.out.join("features");
        let (manifest, speed) =
            self.extract(self.images()?, inspector.clone(), features.clone(), self.count())?;
        // Its images are made of as many channels, and are not needed where statistics say enough.
        let needed = of_images && (gaussian.is_none() || metrics.iter().any(|metric| *metric != Metric::Fid));
        let reference = match &args.reference {
            Some(path) if needed && Features::are_in(path) => Some(path.clone()),
            Some(path) if needed => {
                let channels = manifest.extractor["channels"].as_u64().map(|channels| channels as usize);
                let inspector = if pixel { Inspector::Pixels { channels } } else { inspector };
                let out = args.out.join("reference");
                self.extract(ImagesFrom::at(path), inspector, out.clone(), None)?;
                Some(out)
            }
            _ => None,
        };
        Ok(Made { features, reference, gaussian, metrics, speed })
    }

    /// The statistics in the reference's file, if that is one of them.
    fn statistics(&self) -> Result<Option<Gaussian>> {
        match &self.args.reference {
            Some(path) if path.extension().is_some_and(|extension| extension == "npz") => {
                Gaussian::read_if_there(path)
            }
            _ => Ok(None),
        }
    }

    /// Whether the reference has images, or features of some.
    fn reference_has_images(&self) -> Result<bool> {
        let Some(path) = &self.args.reference else { return Ok(false) };
        if path.is_dir() {
            return Ok(true);
        }
        ImagesFrom::array_has_images(path)
    }

    /// The scores asked for, or all that can be had.
    fn metrics(&self, statistics: bool, images: bool) -> Result<Vec<Metric>> {
        let args = self.args;
        let mut asked = Vec::new();
        args.metrics.iter().for_each(|metric| {
            if !asked.contains(metric) {
                asked.push(*metric);
            }
        });
        if let (true, Some(other)) =
            (asked.contains(&Metric::Pixel), asked.iter().find(|metric| **metric != Metric::Pixel))
        {
            let message = format!("pixel goes alone; {} is of Inception's features", other.name());
            return Err(usage("--metrics", message));
        }
        for &metric in &asked {
            // Before an hour of work, not after it.
            let (there, needs) = match metric {
                Metric::Fid => (statistics || images, "images or statistics"),
                Metric::Kid | Metric::PrecisionRecall => (images, "images, or a folder of features"),
                // Alone, both give statistics.
                Metric::Pixel | Metric::InceptionScore => (true, ""),
            };
            if !there {
                return Err(usage("--reference", format!("{} compares with {needs}", metric.name())));
            }
        }
        if let (true, Some(count)) =
            (asked.contains(&Metric::Kid), args.count.filter(|&count| count < SUBSET as u64))
        {
            return Err(usage("--count", format!("{count} given; kid draws subsets of {SUBSET}")));
        }
        if !asked.is_empty() {
            return Ok(asked);
        }
        if args.inception.is_none() {
            return Err(usage("--inception", weights::HOW));
        }
        let all = [
            (Metric::Fid, statistics || images),
            (Metric::InceptionScore, true),
            (Metric::Kid, images),
            (Metric::PrecisionRecall, images),
        ];
        Ok(all.into_iter().filter(|(_, possible)| *possible).map(|(metric, _)| metric).collect())
    }

    fn images(&self) -> Result<ImagesFrom> {
        let args = self.args;
        if let Some(path) = &args.images {
            return Ok(ImagesFrom::at(path));
        }
        if let Some(path) = &args.model {
            crate::args::check_there(path)?;
        }
        Ok(ImagesFrom::Model {
            path: args.model.clone(),
            sampler: args.sampling.sampler()?,
            first_seed: args.seed,
            options: Box::new(self.options()),
        })
    }

    fn options(&self) -> Options {
        Options {
            threads: self.args.threads.threads,
            clip_sample: self.args.sampling.clip_sample,
            cancel: Some(self.cancel.clone()),
            ..self.args.machine.options()
        }
    }

    fn count(&self) -> Option<u64> {
        self.args.count.or(self.args.images.is_none().then_some(COUNT))
    }

    /// Finds features under a bar; how many images a second, of those that were not there.
    fn extract(
        &self,
        images: ImagesFrom,
        inspector: Inspector,
        out: PathBuf,
        count: Option<u64>,
    ) -> Result<(onestep::metrics::Manifest, Option<f64>)> {
        let what = if out.ends_with("reference") { "of the reference" } else { "of images" };
        let run = FeaturesRun {
            images,
            inspector,
            out,
            count,
            part: (self.part.0 as u64, self.part.1 as u64),
            batch: self.args.batch as usize,
            threads: self.args.threads.threads,
            cancel: Some(self.cancel.clone()),
        };
        let template = format!("features {what} {{pos}}/{{len}} {{wide_bar}} {{per_sec}}, {{eta}} left");
        let bar = bar(!self.quiet && !self.args.json, None, &template);
        let (mut first, mut last) = (None, 0);
        let result = run.run(&mut |FeaturesProgress { done, total }| {
            first.get_or_insert_with(|| (done, Instant::now()));
            last = done;
            bar.set_length(total);
            bar.set_position(done);
            self.check()
        });
        bar.finish_and_clear();
        let manifest = result?;
        let speed = first.filter(|(done, _)| last > *done);
        Ok((manifest, speed.map(|(done, start)| (last - done) as f64 / start.elapsed().as_secs_f64())))
    }

    fn check(&self) -> Result<()> {
        interrupt::check(Some(self.cancel))
    }

    /// Computes, writes and says the scores.
    fn score(&self, mut made: Made) -> Result<()> {
        let args = self.args;
        if let Some((part, parts)) = args.shard
            && parts > 1
        {
            if !args.quiet {
                say(format_args!(
                    "part {part} of {parts} is in {}; the same command without --shard makes the report",
                    args.out.display()
                ));
            }
            return Ok(());
        }
        let threads = match args.threads.threads {
            0 => available_threads(),
            threads => threads as usize,
        };
        let features = Features::open(&made.features)?;
        let bar = bar(!args.quiet && !args.json, None, "{msg} {wide_bar} {eta} left");
        let own = Gaussian::of(&features, threads, &mut |done, total| {
            bar.set_message("means and covariances");
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            self.check()
        })?;
        own.write(&args.out.join("stats.npz"))?;
        let reference = match (&made.reference, made.gaussian) {
            (None, None) => None,
            (folder, gaussian) => {
                let features = folder.as_deref().map(Features::open).transpose()?;
                Some(Reference { features, gaussian })
            }
        };
        let pixel = made.metrics.contains(&Metric::Pixel);
        let left_out = self.leave_out(&mut made.metrics, &features, reference.as_ref());
        let scores = Scores::of(
            (&features, &own),
            reference.as_ref(),
            &made.metrics,
            threads,
            &mut |stage, done, total| {
                bar.set_message(stage_name(stage));
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                self.check()
            },
        );
        bar.finish_and_clear();
        let mut scores = scores?;
        scores.notes.extend(left_out);
        let images = self.images()?.open()?;
        scores.notes.extend(images.notes().iter().cloned());
        if let (Some(path), false) = (&args.inception, pixel) {
            scores.notes.extend(weights::note(path)?);
        }
        if let (Some(asked), Some(_)) = (args.count, &args.images)
            && asked > scores.images
        {
            let message = format!("{asked} images were asked for; there are {}", scores.images);
            scores.notes.push(message);
        }
        let text =
            serde_json::to_string_pretty(&scores).map_err(|error| Error::Internal(error.to_string()))?;
        write_text(&args.out.join("scores.json"), &(text.clone() + "\n"))?;
        let pictures = Pictures {
            out: &args.out,
            count: scores.images,
            teacher: args.teacher.as_deref(),
            options: self.options(),
            sampler: args.sampling.sampler()?,
            seed: args.seed,
            reference: args.reference.as_deref(),
        };
        let drawn = pictures.draw(
            images,
            &features,
            reference.as_ref().and_then(|reference| reference.features.as_ref()),
        )?;
        let report = report::Report {
            scores: &scores,
            features: &features,
            subject: self.subject(),
            reference: args.reference.as_deref(),
            pictures: &drawn,
            pixel,
            speed: made.speed,
            calls: calls(&features),
        };
        write_text(&args.out.join("report.md"), &report.text())?;
        if args.json {
            return print(text);
        }
        if !args.quiet {
            print(report::lines(&scores))?;
            say_notes(&scores.notes);
            say(format_args!("{}", args.out.join("report.md").display()));
        }
        Ok(())
    }

    /// Takes out what too few images have no score for, where nobody asked for it; what to say of it.
    fn leave_out(
        &self,
        metrics: &mut Vec<Metric>,
        features: &Features,
        reference: Option<&Reference>,
    ) -> Option<String> {
        if reference.is_none() && metrics.contains(&Metric::Pixel) {
            metrics.clear();
            return Some(
                "without a reference there is nothing to compare with; these features may be one".to_owned(),
            );
        }
        let of_reference = reference.and_then(|reference| reference.features.as_ref());
        let least = of_reference.map_or(features.len(), Features::len).min(features.len());
        if !self.args.metrics.is_empty() || least >= SUBSET || !metrics.contains(&Metric::Kid) {
            return None;
        }
        metrics.retain(|metric| *metric != Metric::Kid);
        Some(format!("KID is left out: it draws subsets of {SUBSET}, and there are {least} images"))
    }

    /// What is scored, in a report's words.
    fn subject(&self) -> String {
        match (&self.args.images, &self.args.model) {
            (Some(images), _) => images.display().to_string(),
            (None, Some(model)) => model.display().to_string(),
            (None, None) => "the built-in student".to_owned(),
        }
    }
}

/// Network calls an image of a model's features.
fn calls(features: &Features) -> Option<usize> {
    features.manifest().images["timesteps"].as_array().map(Vec::len)
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Statistics => "means and covariances of the reference",
        Stage::Frechet => "a distance",
        Stage::Kid => "subsets for KID",
        Stage::PrecisionRecall => "neighbours for precision and recall",
    }
}
