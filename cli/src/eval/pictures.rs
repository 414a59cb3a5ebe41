//! What people look at beside the numbers: uncurated samples, teacher and student from the same noise, the nearest images of the
//! reference, and the way from one image to another.

use crate::output::pixels::Pixel;
use crate::output::{Captions, Shape, Sheet, sheet_of};
use onestep::image::{Format, Layout};
use onestep::metrics::{Features, Image, Images, ImagesFrom, nearest};
use onestep::sampler::{Interpolation, Sampler, interpolate};
use onestep::{Model, Options, Request, Result};
use std::path::Path;

/// Images of the sheet of samples, and a row of any picture.
const SAMPLES: u64 = 100;
const COLUMNS: usize = 10;
/// Rows of pairs, of neighbours, and of strips.
const PAIRS: u64 = 20;
const NEIGHBOURS: (usize, usize) = (8, 6);
const STRIPS: usize = 3;

/// A picture that was drawn.
pub struct Drawn {
    /// In the folder of the report.
    pub file: &'static str,
    pub title: &'static str,
    /// What is to be seen.
    pub what: String,
}

/// What pictures are drawn from.
pub struct Pictures<'a> {
    pub out: &'a Path,
    /// How many images there are.
    pub count: u64,
    pub teacher: Option<&'a Path>,
    pub options: Options,
    pub sampler: Option<Sampler>,
    pub seed: u64,
    pub reference: Option<&'a Path>,
}

impl Pictures<'_> {
    /// Draws all that there can be.
    pub fn draw(
        &self,
        mut images: Images,
        features: &Features,
        reference: Option<&Features>,
    ) -> Result<Vec<Drawn>> {
        let mut drawn = Vec::new();
        let count = SAMPLES.min(self.count);
        let samples = images.read(0..count)?.images;
        self.picture("samples.png", &samples, COLUMNS)?;
        let what = format!("The first {count}, uncurated.");
        drawn.push(Drawn { file: "samples.png", title: "Samples", what });
        if let Some(teacher) = self.teacher {
            drawn.push(self.pairs(teacher, &samples)?);
        }
        if let Some(reference) = reference {
            drawn.extend(self.neighbours(&samples, features, reference)?);
        }
        if let Some(model) = images.model() {
            drawn.push(self.strips(model)?);
        }
        Ok(drawn)
    }

    /// Images in rows, brought to the first one's size.
    fn picture(&self, file: &str, images: &[Image], columns: usize) -> Result<()> {
        let Some(first) = images.first() else { return Ok(()) };
        let most = images.iter().map(|image| image.channels).max().unwrap_or(1);
        let shape = Shape { width: first.width, height: first.height, channels: most };
        let sheet = Sheet { count: images.len(), columns, captions: Captions::None };
        let mut bytes = Vec::new();
        for image in images {
            let resized;
            let image = if (image.width, image.height) == (first.width, first.height) {
                image
            } else {
                resized = image.resized(first.width, first.height);
                &resized
            };
            bytes.push(image.with_channels(Pixel::of(shape).bytes()).pixels);
        }
        sheet_of(&self.out.join(file), shape, sheet, &bytes)
    }

    /// Rows of the teacher's images, each above the student's from the same noise.
    fn pairs(&self, teacher: &Path, samples: &[Image]) -> Result<Drawn> {
        let from = ImagesFrom::Model {
            path: Some(teacher.to_owned()),
            sampler: None,
            first_seed: self.seed,
            options: Box::new(self.options.clone()),
        };
        let count = PAIRS.min(samples.len() as u64);
        let teachers = from.open()?.read(0..count)?.images;
        let rows = teachers.chunks(COLUMNS).zip(samples.chunks(COLUMNS));
        let images: Vec<Image> =
            rows.flat_map(|(above, below)| [above, &below[..above.len()]].concat()).collect();
        self.picture("teacher.png", &images, COLUMNS)?;
        let what =
            format!("Rows of {} and, below each, of the student from the same noise.", teacher.display());
        Ok(Drawn { file: "teacher.png", title: "Teacher and student", what })
    }

    /// Samples, each followed by the reference's nearest, where the reference's images are at hand.
    fn neighbours(
        &self,
        samples: &[Image],
        features: &Features,
        reference: &Features,
    ) -> Result<Option<Drawn>> {
        let Some(path) = self.reference.filter(|path| !Features::are_in(path)) else { return Ok(None) };
        let (rows, columns) = NEIGHBOURS;
        let found = nearest(features, rows.min(samples.len()), reference, columns)?;
        // An array is read from its beginning to its end.
        let mut wanted: Vec<usize> = found.iter().flatten().map(|&(number, _)| number).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut source = ImagesFrom::at(path).open()?;
        let mut images = Vec::new();
        for &number in &wanted {
            images.extend(source.read(number as u64..number as u64 + 1)?.images);
        }
        let image = |number: usize| images[wanted.partition_point(|&other| other < number)].clone();
        let all: Vec<Image> = samples
            .iter()
            .zip(&found)
            .flat_map(|(sample, row)| {
                std::iter::once(sample.clone()).chain(row.iter().map(|&(number, _)| image(number)))
            })
            .collect();
        let columns = 1 + found.first().map_or(0, Vec::len);
        self.picture("neighbours.png", &all, columns)?;
        let least = found.iter().filter_map(|row| row.first()).map(|&(_, distance)| distance);
        let least = least.fold(f64::INFINITY, f64::min);
        let what = format!(
            "The first samples, and right of each the reference's images that are nearest by features, nearest first. The least distance \
             is {least:.4}; a copy's is 0."
        );
        Ok(Some(Drawn { file: "neighbours.png", title: "Did it memorise?", what }))
    }

    /// Strips along the sphere from one seed's noise to the next one's.
    fn strips(&self, model: &Model) -> Result<Drawn> {
        let network = &model.info().config.network;
        let ([channels, height, width], classes) = (network.image(), network.num_classes);
        let len = channels * height * width;
        let positions: Vec<f32> = (0..COLUMNS).map(|i| i as f32 / (COLUMNS - 1) as f32).collect();
        let mut noise = vec![0.0; STRIPS * COLUMNS * len];
        for (strip, noise) in noise.chunks_exact_mut(COLUMNS * len).enumerate() {
            let mut ends = vec![0.0; 2 * len];
            let first = self.seed.wrapping_add(2 * strip as u64);
            model.noise(&[first, first.wrapping_add(1)], &mut ends)?;
            let (from, to) = ends.split_at(len);
            interpolate(Interpolation::Slerp, from, to, &positions, noise)?;
        }
        let strip_of = |i: usize| i / COLUMNS;
        let labels = classes
            .map(|classes| (0..STRIPS * COLUMNS).map(|i| (strip_of(i) % classes) as i32).collect::<Vec<_>>());
        // Fresh noise of stochastic samplers is the same along a strip.
        let seeds = (0..STRIPS * COLUMNS).map(|i| self.seed.wrapping_add(strip_of(i) as u64)).collect();
        let request = Request {
            seeds: Some(seeds),
            noise: Some(noise),
            labels,
            sampler: self.sampler.clone(),
            ..Request::default()
        };
        let format = if channels == 4 { Format::Rgba8 } else { Format::Rgb8 };
        let layout = Layout { format, ..Layout::default() };
        let mut bytes = vec![0; model.output_size(STRIPS * COLUMNS, &layout)? as usize];
        model.session(&self.options)?.sample(&request, &layout, &mut bytes)?;
        let channels = if channels == 4 { 4 } else { 3 };
        let images: Vec<Image> = bytes
            .chunks_exact(width * height * channels)
            .map(|pixels| Image { width, height, channels, pixels: pixels.to_vec() })
            .collect();
        self.picture("interpolation.png", &images, COLUMNS)?;
        let what = "Along the sphere from the noise of one seed to that of the next, a class each where there are classes.";
        Ok(Drawn { file: "interpolation.png", title: "Interpolation", what: what.to_owned() })
    }
}
