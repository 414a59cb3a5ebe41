//! Images to features: the images are drawn or read on one thread while the features of those before are found on others.

use super::extractor::{Extractor, Inspector};
use super::features::{Contents, Features, Manifest, is_whole, write_part};
use super::source::{Images, ImagesFrom};
use crate::error::{Error, Result, try_zeroed};
use crate::options::Cancel;
use crate::threads::spawn_scoped;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Finding the features of a set of images.
pub struct FeaturesRun {
    /// Which images.
    pub images: ImagesFrom,
    /// What finds their features.
    pub inspector: Inspector,
    /// The folder that they go to.
    pub out: PathBuf,
    /// How many images, over all parts; none: all of a folder or an array.
    pub count: Option<u64>,
    /// This process makes every n-th part, from the i-th on: (i, n).
    pub part: (u64, u64),
    /// Images that are drawn at a time.
    pub batch: usize,
    /// Threads that find features; 0: all that this process may use.
    pub threads: u32,
    /// Ends the run, where whole parts stay.
    pub cancel: Option<Cancel>,
}

/// Of a run of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeaturesProgress {
    /// Images of this process' parts that are done.
    pub done: u64,
    /// Images of this process' parts.
    pub total: u64,
}

/// Some images, made ready.
struct Prepared {
    part: u64,
    /// Whether they are the last of their part.
    last: bool,
    count: usize,
    values: Vec<f32>,
    not_finite: Vec<bool>,
}

impl FeaturesRun {
    /// Finds what is missing of this process' parts: those that are whole are left alone, and damaged ones made anew.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for more images than there are, and for a folder of other features; those of opening, of sampling and of
    /// extraction; IO; CANCELLED, where whole parts stay.
    pub fn run(&self, watch: &mut dyn FnMut(FeaturesProgress) -> Result<()>) -> Result<Manifest> {
        let (mine, all) = self.part;
        if mine >= all {
            let message = format!("{mine}/{all}: the first number is 0 to {all} - 1");
            return Err(Error::argument("shard", message));
        }
        if self.batch == 0 {
            return Err(Error::argument("batch", "0 given; at least 1 is needed"));
        }
        let mut images = self.images.open()?;
        let count = match (self.count, images.count()) {
            (Some(0), _) => return Err(Error::argument("count", "0 given; at least 1 is needed")),
            (Some(asked), Some(there)) => asked.min(there),
            (Some(count), None) | (None, Some(count)) => count,
            (None, None) => {
                return Err(Error::argument("count", "how many images a model shall draw is not said"));
            }
        };
        let mut extractor = self.inspector.open(&images, self.threads)?;
        let (width, classes) = extractor.widths();
        let manifest = Manifest::new(count, images.identity(), extractor.identity(), width, classes);
        manifest.settle(&self.out)?;
        let parts = (mine..manifest.parts()).step_by(all as usize);
        let size = |range: &Range<u64>| range.end - range.start;
        let total = parts.clone().map(|part| size(&manifest.range(part))).sum();
        let mut missing = Vec::new();
        let mut done = 0;
        for part in parts {
            match is_whole(&self.out, &manifest, part)? {
                true => done += size(&manifest.range(part)),
                false => missing.push(part),
            }
        }
        watch(FeaturesProgress { done, total })?;
        let preparation = extractor.preparation();
        // As many images as are drawn at a time are looked at in pieces of what suits the network.
        let batch = self.batch.max(extractor.batch());
        std::thread::scope(|scope| {
            let (give, take) = sync_channel::<Result<Prepared>>(1);
            let (manifest, images) = (&manifest, &mut images);
            let ahead = move || {
                let prepared = prepare(images, manifest, &missing, batch, preparation, &give);
                if let Err(error) = prepared {
                    // Nobody takes it once the run has ended otherwise.
                    let _ = give.send(Err(error));
                }
            };
            spawn_scoped(scope, ahead).map_err(|error| Error::DeviceFailed {
                device: "cpu".to_owned(),
                message: format!("cannot start a thread that prepares images: {error}"),
            })?;
            let mut contents = Contents::default();
            for prepared in take {
                let prepared = prepared?;
                self.extract(&mut extractor, &prepared, &mut contents)?;
                done += prepared.count as u64;
                if prepared.last {
                    write_part(&self.out, manifest, prepared.part, &contents)?;
                    contents = Contents::default();
                }
                watch(FeaturesProgress { done, total })?;
            }
            Ok::<(), Error>(())
        })?;
        Ok(manifest)
    }

    /// Runs it, and opens what all processes have made.
    ///
    /// # Errors
    /// Those of [`Self::run`] and [`Features::open`].
    pub fn finish(&self, watch: &mut dyn FnMut(FeaturesProgress) -> Result<()>) -> Result<Features> {
        self.run(watch)?;
        Features::open(&self.out)
    }

    fn extract(&self, extractor: &mut Extractor, prepared: &Prepared, contents: &mut Contents) -> Result<()> {
        let len = prepared.values.len() / prepared.count;
        let batch = extractor.batch();
        for first in (0..prepared.count).step_by(batch) {
            if self.cancel.as_ref().is_some_and(Cancel::is_triggered) {
                return Err(Error::Cancelled);
            }
            let count = batch.min(prepared.count - first);
            let values = &prepared.values[first * len..][..count * len];
            extractor.extract(values, count, &mut contents.features, &mut contents.logits)?;
        }
        contents.not_finite.extend(prepared.not_finite.iter().map(|&flag| u8::from(flag)));
        Ok(())
    }
}

/// Draws or reads the images of all parts, and hands them on.
fn prepare(
    images: &mut Images,
    manifest: &Manifest,
    parts: &[u64],
    batch: usize,
    preparation: super::Preparation,
    give: &SyncSender<Result<Prepared>>,
) -> Result<()> {
    for &part in parts {
        let range = manifest.range(part);
        for first in range.clone().step_by(batch) {
            let numbers = first..range.end.min(first + batch as u64);
            let last = numbers.end == range.end;
            let read = images.read(numbers)?;
            let mut values = try_zeroed(read.images.len() * preparation.len(), "images")?;
            let places = values.chunks_exact_mut(preparation.len());
            read.images.iter().zip(places).for_each(|(image, out)| preparation.fill(image, out));
            let count = read.images.len();
            let prepared = Prepared { part, last, count, values, not_finite: read.not_finite };
            if give.send(Ok(prepared)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
