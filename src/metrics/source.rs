//! Where images to be scored come from: a model, a folder, an array.

use super::npy::{Array, Element};
use super::pixels;
use crate::error::{Error, Result, try_zeroed};
use crate::image::{self, Format, Layout};
use crate::model::Role;
use crate::options::{Limits, Options};
use crate::pictures::{self, Listed, Picture};
use crate::sampler::{Plan, Sampler};
use crate::session::{Model, Request, Session};
use crate::weights;
use serde_json::{Value, json};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// An image of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// Row by row, a pixel's channels side by side.
    pub pixels: Vec<u8>,
}

impl Image {
    /// The same with 1, 3 or 4 channels: grey is luminance, what loses its alpha comes to lie on black, and what
    /// gets one is opaque.
    pub fn with_channels(&self, channels: usize) -> Self {
        let of = |pixel: &[u8]| -> [u8; 4] {
            let (r, g, b, alpha) = match *pixel {
                [r, g, b, alpha] => (r, g, b, alpha),
                [r, g, b] => (r, g, b, 255),
                _ => (pixel[0], pixel[0], pixel[0], 255),
            };
            let seen = |value: u8| (u32::from(value) * u32::from(alpha) / 255) as u8;
            match channels {
                4 => [r, g, b, alpha],
                3 => [seen(r), seen(g), seen(b), 255],
                _ => [pictures::grey([r, g, b].map(seen)); 4],
            }
        };
        let pixels =
            self.pixels.chunks_exact(self.channels).flat_map(|pixel| of(pixel).into_iter().take(channels));
        Self { channels, pixels: pixels.collect(), ..*self }
    }

    /// The same of another size, each pixel the mean of what it covers, for pictures; transparent colours on black.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        let mut pixels = Vec::with_capacity(width * height * self.channels);
        for place in 0..width * height {
            let mean = pixels::mean(self, (place / width, place % width), (height, width));
            pixels.extend(mean[..self.channels].iter().map(|value| value.round() as u8));
        }
        Self { width, height, channels: self.channels, pixels }
    }
}

/// Images to be scored.
#[derive(Clone)]
pub enum ImagesFrom {
    /// What a model draws: image i from seed `first_seed` + i, and where there are classes of class i modulo their number.
    Model {
        /// Its file or folder; none: the built-in one.
        path: Option<PathBuf>,
        /// How it draws; none: its default.
        sampler: Option<Sampler>,
        /// Seed of the first image.
        first_seed: u64,
        /// How it is opened.
        options: Box<Options>,
    },
    /// PNG, JPEG and WebP files below a folder, or in a zip archive of one, in the order of their names.
    Folder(PathBuf),
    /// A `.npz` file with images under `arr_0`, or a `.npy` file: bytes (n, height, width, channels), or floats in [-1, 1]
    /// (n, channels, height, width), as `onestep sample` writes them.
    Array(PathBuf),
}

/// Where images come from, open.
pub enum Images {
    /// See [`ImagesFrom::Model`].
    Model(Box<Drawn>),
    /// See [`ImagesFrom::Folder`].
    Folder(Folder),
    /// See [`ImagesFrom::Array`].
    Array(Stored),
}

/// Images, and which of them held values that are no finite numbers.
pub struct Batch {
    /// The images.
    pub images: Vec<Image>,
    /// One an image.
    pub not_finite: Vec<bool>,
}

impl ImagesFrom {
    /// Opens a model, lists a folder, reads an array's header.
    ///
    /// # Errors
    /// IO; those of opening a model; BAD_MODEL for an array of another form; INVALID_ARGUMENT (`images`) where there are none.
    pub fn open(&self) -> Result<Images> {
        Ok(match self {
            ImagesFrom::Model { path, sampler, first_seed, options } => {
                Images::Model(Box::new(Drawn::open(path.as_deref(), sampler.clone(), *first_seed, options)?))
            }
            ImagesFrom::Folder(path) => Images::Folder(Folder::open(path)?),
            ImagesFrom::Array(path) => Images::Array(Stored::open(path)?),
        })
    }

    /// Whether an array's file holds images, and not statistics alone.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is no array.
    pub fn array_has_images(path: &Path) -> Result<bool> {
        Ok(Array::open(path, MEMBER)?.is_some())
    }

    /// A folder, an archive of one (`.zip`) or an array, by what lies at `path`.
    pub fn at(path: &Path) -> Self {
        let zipped = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        if zipped || path.is_dir() { Self::Folder(path.to_owned()) } else { Self::Array(path.to_owned()) }
    }
}

impl Images {
    /// How many there are; none where as many can be had as are asked for.
    pub fn count(&self) -> Option<u64> {
        match self {
            Images::Model(_) => None,
            Images::Folder(folder) => Some(folder.listed.len() as u64),
            Images::Array(stored) => Some(stored.count),
        }
    }

    /// What a user should know of the model that draws them.
    pub fn notes(&self) -> &[String] {
        self.model().map_or(&[], |model| &model.info().notes)
    }

    /// The model that draws them, if one does.
    pub fn model(&self) -> Option<&Model> {
        match self {
            Images::Model(drawn) => Some(drawn.session.model()),
            _ => None,
        }
    }

    /// What tells these images from others, to be kept beside their features.
    pub fn identity(&self) -> Value {
        match self {
            Images::Model(drawn) => drawn.identity.clone(),
            Images::Folder(folder) => {
                json!({"files": folder.listed.len(), "crc32": format!("{:08x}", folder.crc32)})
            }
            Images::Array(stored) => stored.identity.clone(),
        }
    }

    /// Channels of an image: of a folder, the first one's.
    ///
    /// # Errors
    /// IO where the first cannot be read.
    pub fn channels(&self) -> Result<usize> {
        Ok(match self {
            Images::Model(drawn) => drawn.session.model().info().config.network.channels,
            Images::Folder(folder) => folder.read(0)?.channels,
            Images::Array(stored) => stored.shape.2,
        })
    }

    /// Images of these numbers; an array's only in ascending order.
    ///
    /// # Errors
    /// Those of sampling; IO; BAD_MODEL.
    pub fn read(&mut self, numbers: Range<u64>) -> Result<Batch> {
        match self {
            Images::Model(drawn) => drawn.read(numbers),
            Images::Folder(folder) => {
                let numbers = numbers.start as usize..numbers.end as usize;
                let images = numbers.map(|index| folder.read(index)).collect::<Result<Vec<_>>>()?;
                let not_finite = vec![false; images.len()];
                Ok(Batch { images, not_finite })
            }
            Images::Array(stored) => stored.read(numbers),
        }
    }
}

/// A model's images.
pub struct Drawn {
    session: Session,
    sampler: Option<Sampler>,
    first_seed: u64,
    identity: Value,
    floats: Vec<f32>,
}

impl Drawn {
    fn open(
        path: Option<&Path>,
        sampler: Option<Sampler>,
        first_seed: u64,
        options: &Options,
    ) -> Result<Self> {
        let (model, crc32) = match path {
            Some(path) => {
                let checkpoint = weights::open(path, options.limits.file_bytes)?;
                (Model::from_checkpoint(&checkpoint, options)?, checkpoint.weights_crc32()?)
            }
            None => (Model::open_default(options)?, 0),
        };
        let config = &model.info().config;
        let mut plan = Plan::default();
        plan.fill(config, sampler.as_ref())?;
        let timesteps: Vec<i32> = plan.steps.iter().map(|step| step.timestep).collect();
        let identity = json!({
            "weights_crc32": format!("{crc32:08x}"),
            "role": if config.generator.role() == Role::Student { "student" } else { "teacher" },
            "sampler": sampler.as_ref().map(|sampler| format!("{sampler:?}")),
            "timesteps": timesteps,
            "first_seed": first_seed,
            "precision": format!("{:?}", model.info().precision),
        });
        Ok(Self { session: model.session(options)?, sampler, first_seed, identity, floats: Vec::new() })
    }

    /// Network calls an image.
    pub fn calls(&self) -> usize {
        self.identity["timesteps"].as_array().map_or(1, Vec::len)
    }

    fn read(&mut self, numbers: Range<u64>) -> Result<Batch> {
        let network = &self.session.model().info().config.network;
        let ([channels, height, width], classes) = (network.image(), network.num_classes);
        let seeds: Vec<u64> = numbers.clone().map(|number| self.first_seed.wrapping_add(number)).collect();
        let label = |number: u64| classes.map(|classes| (number % classes as u64) as i32);
        let labels: Option<Vec<i32>> = numbers.map(label).collect();
        let (count, len) = (seeds.len(), channels * height * width);
        self.floats.resize(count * len, 0.0);
        let request =
            Request { seeds: Some(seeds), labels, sampler: self.sampler.clone(), ..Request::default() };
        let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
        self.session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut self.floats))?;
        to_bytes(&self.floats, [count, channels, height, width])
    }
}

/// Images of floats in [-1, 1], (n, channels, height, width), as `image::write` makes bytes of them.
fn to_bytes(floats: &[f32], shape: [usize; 4]) -> Result<Batch> {
    let [_, channels, height, width] = shape;
    let len = channels * height * width;
    let not_finite =
        floats.chunks_exact(len).map(|image| !image.iter().all(|value| value.is_finite())).collect();
    let format = if channels == 4 { Format::Rgba8 } else { Format::Rgb8 };
    let layout = Layout { format, ..Layout::default() };
    let mut bytes = vec![0; layout.output_size(shape)? as usize];
    image::write(floats, shape, &layout, &mut bytes)?;
    let of_one = bytes.len() / shape[0];
    let images = bytes.chunks_exact(of_one).map(|bytes| {
        // Grey is written thrice.
        let pixels = match channels {
            1 => bytes.iter().copied().step_by(3).collect(),
            _ => bytes.to_vec(),
        };
        Image { width, height, channels, pixels }
    });
    Ok(Batch { images: images.collect(), not_finite })
}

/// A folder's images.
pub struct Folder {
    listed: Listed,
    /// Of their names and sizes.
    crc32: u32,
}

impl Folder {
    fn open(folder: &Path) -> Result<Self> {
        let listed = Listed::open(folder)?;
        if listed.len() == 0 {
            let message = format!("{}: no PNG, JPEG or WebP file", folder.display());
            return Err(Error::argument("images", message));
        }
        let mut hasher = crc32fast::Hasher::new();
        for (index, name) in listed.names().iter().enumerate() {
            hasher.update(name.as_os_str().as_encoded_bytes());
            hasher.update(&listed.bytes(index)?.to_le_bytes());
        }
        Ok(Self { listed, crc32: hasher.finalize() })
    }

    fn read(&self, index: usize) -> Result<Image> {
        let decoded = self.listed.read(index);
        let Picture { width, height, channels, bytes } =
            decoded.map_err(|error| Error::io(self.listed.path(index), error))?;
        Ok(Image { width, height, channels, pixels: bytes })
    }
}

/// An array's images.
pub struct Stored {
    array: Array,
    count: u64,
    /// Height, width, channels.
    shape: (usize, usize, usize),
    /// The next image of the stream.
    next: u64,
    identity: Value,
}

/// The name of the images in an archive.
const MEMBER: &str = "arr_0";

impl Stored {
    fn open(path: &Path) -> Result<Self> {
        let Some(array) = Array::open(path, MEMBER)? else {
            let message = format!("no images under {MEMBER}");
            return Err(Error::bad_model(path.display().to_string(), message));
        };
        let shape = match (array.element, &array.shape[..]) {
            (Element::U8, &[n, h, w, c]) => Some((n, (h, w, c))),
            (Element::F32, &[n, c, h, w]) => Some((n, (h, w, c))),
            _ => None,
        };
        let most = Limits::default().pixels;
        let sound = |h: usize, w: usize| (1..=most).contains(&(h as u64).saturating_mul(w as u64));
        let shape = shape.filter(|&(n, (h, w, c))| n > 0 && sound(h, w) && matches!(c, 1 | 3 | 4));
        let Some((count, shape)) = shape else {
            let message = format!(
                "{:?} values of shape {:?}; images are bytes (n, height, width, channels) or floats (n, channels, height, \
                 width), of 1, 3 or 4 channels",
                array.element, array.shape
            );
            return Err(array.bad(message));
        };
        let bytes = path.metadata().map_err(|e| Error::io(path, e))?.len();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let identity = json!({"array": name, "bytes": bytes, "shape": array.shape});
        Ok(Self { array, count: count as u64, shape, next: 0, identity })
    }

    fn read(&mut self, numbers: Range<u64>) -> Result<Batch> {
        let (height, width, channels) = self.shape;
        let len = height * width * channels;
        let mut bytes = try_zeroed(len * self.array.element.size(), "an image")?;
        while self.next < numbers.start {
            self.array.read(&mut bytes)?;
            self.next += 1;
        }
        let mut batch = Batch { images: Vec::new(), not_finite: Vec::new() };
        for _ in numbers {
            self.array.read(&mut bytes)?;
            self.next += 1;
            if self.array.element == Element::U8 {
                batch.images.push(Image { width, height, channels, pixels: bytes.clone() });
                batch.not_finite.push(false);
                continue;
            }
            let (words, _) = bytes.as_chunks();
            let floats: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            let one = to_bytes(&floats, [1, channels, height, width])?;
            batch.images.extend(one.images);
            batch.not_finite.extend(one.not_finite);
        }
        Ok(batch)
    }
}
