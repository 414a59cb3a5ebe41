//! Where images go. Every file is written beside its place and renamed when whole, so that an error or Ctrl-C
//! leaves nothing partial.

mod folder;
mod font;
mod grid;
mod npy;
pub mod pixels;
mod raw;
pub mod staged;

pub use grid::Captions;

use crate::args::choice;
use crate::draw::Item;
use crate::report::usage;
use onestep::image::{Format, Layout};
use onestep::{Model, Result};
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

/// Takes batches of images in order.
pub trait Sink {
    /// How the images are wanted.
    fn layout(&self) -> Layout;
    /// Takes the next images, in that layout.
    fn put(&mut self, items: &[Item], bytes: &[u8]) -> Result<()>;
    /// Makes the output appear at its place.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Where images go, as the command line says.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Where the images go, by its form:
    /// `NAME.png`: one grid picture;
    /// a folder (exists, ends in `/`, or has no extension): one PNG an image, SEED-LABEL.png;
    /// `NAME.npy`: one array, f32, (n, c, h, w), the network's own [-1, 1], unclamped;
    /// `-`, or a device or pipe: raw bytes there, see --format
    #[arg(short, long, value_name = "PATH", verbatim_doc_comment)]
    pub out: PathBuf,
    /// For raw bytes: rgb8 (n, h, w, 3) or rgba8 (n, h, w, 4) bytes, or f32 (n, c, h, w) in [-1, 1], native byte order
    /// [default: rgba8 of models with alpha, else rgb8]
    #[arg(long, value_parser = choice(&[("rgb8", Format::Rgb8), ("rgba8", Format::Rgba8), ("f32", Format::F32Nchw)]))]
    pub format: Option<Format>,
    /// Grid only: integer scale-up of each image [default: as much as makes it 64 pixels wide]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub scale: Option<u32>,
    /// No progress bar and no closing line
    #[arg(short, long)]
    pub quiet: bool,
}

/// The form of an output, read off its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One picture.
    Grid(PathBuf),
    /// One picture an image.
    Folder(PathBuf),
    /// One array.
    Npy(PathBuf),
    /// Bytes on stdout, or in a device or pipe, in this format or in that of the model's pictures.
    Raw(Option<PathBuf>, Option<Format>),
}

impl Output {
    /// The form asked for; an error where the path fits none.
    pub fn target(&self) -> Result<Target> {
        let path = &self.out;
        if path == Path::new("-") {
            return Ok(Target::Raw(None, self.format));
        }
        if path.extension().is_none()
            && path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
        {
            return Ok(Target::Raw(Some(path.clone()), self.format));
        }
        if self.format.is_some() {
            return Err(usage("--format", "goes with raw bytes alone, such as `--out -`"));
        }
        let ends_in_separator =
            path.as_os_str().as_encoded_bytes().last().is_some_and(|&byte| is_separator(byte));
        if ends_in_separator || path.is_dir() {
            return Ok(Target::Folder(path.clone()));
        }
        match path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()) {
            None if path.as_os_str().is_empty() => Err(usage("--out", "the path is empty")),
            None => Ok(Target::Folder(path.clone())),
            Some(extension) if extension == "png" => Ok(Target::Grid(path.clone())),
            Some(extension) if extension == "npy" => Ok(Target::Npy(path.clone())),
            Some(extension) => {
                let message = format!("{extension} given; .png, .npy, a folder or `-` expected");
                Err(usage("--out", message))
            }
        }
    }

    /// Opens the output, so that a place that cannot be written is known before anything is drawn.
    pub fn sink(&self, target: &Target, model: &Model, sheet: Sheet) -> Result<Box<dyn Sink>> {
        let shape = Shape::of(model);
        Ok(match target {
            Target::Grid(path) => Box::new(grid::Grid::new(path, shape, sheet, self.scale)?),
            Target::Folder(path) => Box::new(folder::Folder::new(path, shape)?),
            Target::Npy(path) => Box::new(npy::Npy::new(path, shape, sheet.count)?),
            Target::Raw(place, format) => {
                let format = format.unwrap_or(pixels::Pixel::of(shape).layout().format);
                Box::new(raw::Raw::new(place.as_deref(), format)?)
            }
        })
    }

    /// The place's name in reports.
    pub fn name(&self) -> String {
        if self.out == Path::new("-") { "stdout".into() } else { self.out.display().to_string() }
    }
}

/// A picture of all images, for what draws no other form.
#[cfg(feature = "train")]
pub fn picture(path: &Path, model: &Model, sheet: Sheet) -> Result<Box<dyn Sink>> {
    Ok(Box::new(grid::Grid::new(path, Shape::of(model), sheet, None)?))
}

/// One picture of images of bytes, as many channels a pixel as the shape's picture has.
#[cfg(feature = "metrics")]
pub fn sheet_of(path: &Path, shape: Shape, sheet: Sheet, images: &[Vec<u8>]) -> Result<()> {
    let mut grid = grid::Grid::new(path, shape, sheet, None)?;
    images.iter().for_each(|image| grid.place(image));
    Box::new(grid).finish()
}

/// How a grid is laid out; the other forms take the count alone.
pub struct Sheet {
    /// Images in all.
    pub count: usize,
    /// Images a row.
    pub columns: usize,
    /// What is written beside them.
    pub captions: Captions,
}

/// Size of an image in pixels, and its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Channels of the network's image.
    pub channels: usize,
}

impl Shape {
    fn of(model: &Model) -> Self {
        let network = &model.info().config.network;
        Self { width: network.size.1, height: network.size.0, channels: network.channels }
    }
}

fn is_separator(byte: u8) -> bool {
    byte == b'/' || char::from(byte) == MAIN_SEPARATOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Result<Target> {
        Output { out: path.into(), format: None, scale: None, quiet: true }.target()
    }

    #[test]
    fn the_form_is_read_off_the_path() {
        assert_eq!(target("a.png").unwrap(), Target::Grid("a.png".into()));
        assert_eq!(target("a.PNG").unwrap(), Target::Grid("a.PNG".into()));
        assert_eq!(target("b/a.npy").unwrap(), Target::Npy("b/a.npy".into()));
        assert_eq!(target("faces").unwrap(), Target::Folder("faces".into()));
        assert_eq!(target("faces.png/").unwrap(), Target::Folder("faces.png/".into()));
        assert_eq!(target("..").unwrap(), Target::Folder("..".into()));
        assert_eq!(target("-").unwrap(), Target::Raw(None, None));
        #[cfg(unix)]
        assert_eq!(target("/dev/null").unwrap(), Target::Raw(Some("/dev/null".into()), None));
        assert!(target("a.jpg").unwrap_err().to_string().contains("jpg given"));
        assert!(target("").is_err());
    }
}
