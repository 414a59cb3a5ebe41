//! How a student stands to its teacher: the Fréchet distance of pixels, of the images of both.

use super::judge::{Judge, Reference};
use onestep::metrics::{ImagesFrom, Inspector};
use onestep::staged::Staged;
use onestep::train::{MODEL, Pairs};
use onestep::{Error, Options, Result, npy};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

/// Images of each at most.
const IMAGES: usize = 1000;
/// Images that both are compared with at most, where there is no other reference.
const OTHERS: usize = 10_000;

/// Distances of a student and its teacher from one reference, of as many images.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The student's.
    pub student: f64,
    /// The teacher's.
    pub teacher: f64,
    /// Of so many images each.
    pub images: usize,
    /// What they were compared with.
    pub reference: String,
}

impl Standing {
    /// As a sentence.
    pub fn text(&self) -> String {
        format!(
            "Frechet distance of {} images each, of pixels averaged to 8 x 8, from {}: student {:.4}, teacher {:.4} ({:.2} times)",
            self.images,
            self.reference,
            self.student,
            self.teacher,
            self.student / self.teacher
        )
    }

    /// Of the student in the folder `run`, whose teacher drew these pairs: the first of them are the teacher's images, and others what
    /// both are compared with, unless a judge has images for that.
    ///
    /// # Errors
    /// Those of reading pairs, of sampling, and of finding features.
    pub fn of(run: &Path, pairs: &Path, judge: Option<&Judge>, options: &Options) -> Result<Self> {
        let mut pairs = Pairs::open(pairs, false)?;
        let staged =
            Staged::folder(&run.join("standing")).map_err(|source| Error::Io { path: run.into(), source })?;
        let images = IMAGES.min(pairs.len() / 2);
        let teachers = staged.path().join("teacher.npy");
        write(&teachers, &mut pairs, 0..images)?;
        let (reference, name) = match judge.and_then(Judge::pixels) {
            Some((reference, name)) => (reference, name),
            None => {
                let others = staged.path().join("others.npy");
                let last = pairs.len().min(images + OTHERS);
                write(&others, &mut pairs, images..last)?;
                let channels = pairs.image()[0];
                let inspector = Inspector::Pixels { channels: Some(channels) };
                let of = Reference::of(&ImagesFrom::Array(others), &inspector, staged.path(), options)?;
                (of, format!("{} others of its teacher's", last - images))
            }
        };
        let student = ImagesFrom::Model {
            path: Some(run.join(MODEL)),
            sampler: None,
            first_seed: 0,
            options: Box::new(options.clone()),
        };
        let count = images as u64;
        Ok(Self {
            student: reference.distance(student, count, staged.path(), options)?,
            teacher: reference.distance(ImagesFrom::Array(teachers), count, staged.path(), options)?,
            images,
            reference: name,
        })
    }
}

/// Writes the images of these pairs as an array of floats, (n, channels, height, width).
fn write(path: &Path, pairs: &mut Pairs, numbers: Range<usize>) -> Result<()> {
    let failed = |source| Error::Io { path: path.into(), source };
    let [c, h, w] = pairs.image();
    let last = pairs.calls().len().max(1) - 1;
    let (mut x, mut image) = (vec![0.0f32; c * h * w], vec![0.0f32; c * h * w]);
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    file.write_all(&npy::header("<f4", &[numbers.len(), c, h, w])).map_err(failed)?;
    for number in numbers {
        pairs.fill(number, last, &mut x, &mut image)?;
        for value in &image {
            file.write_all(&value.to_le_bytes()).map_err(failed)?;
        }
    }
    file.flush().map_err(failed)
}
