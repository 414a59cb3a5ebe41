//! `onestep sample`.

use crate::args::{Label, ModelPath, parse_label, resolve_labels};
use crate::draw::{Drawing, Item, Job};
use crate::output::{Captions, Sheet};
use crate::report::usage;
use onestep::Result;

/// Images of an unconditional model where no count is given.
const DEFAULT_COUNT: usize = 16;
/// Rows of a conditional model's grid where no count is given, and the most images that makes.
const DEFAULT_ROWS: usize = 10;
const DEFAULT_MOST: usize = 100;
/// The most labels that get a column each.
const MOST_COLUMNS: usize = 24;

/// Draw images
///
/// Image i is drawn from seed S + i: the same seed, label, model and device give the same image whatever --count,
/// --batch and --threads are.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep sample --out portraits.png
  onestep sample --label 4,5 --count 20 --seed 7 --out hats.png
  onestep sample teacher.safetensors --steps 100 --spacing quadratic --out digits/
  onestep sample teacher.safetensors --sampler ddpm --steps 1000 --count 64 --out samples.npy
  onestep sample --count 1 --label 4 --out - | magick -size 16x16 -depth 8 rgba:- hat.png")]
pub struct Args {
    #[command(flatten)]
    model: ModelPath,
    /// Images to draw [default: 16; conditional models: 10 a label, 100 at most]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Seed of the first image
    #[arg(short, long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Classes that the images take in turn: repeated, a comma list, or `all` [default: all]
    #[arg(short, long, value_name = "L", value_delimiter = ',', value_parser = parse_label,
        allow_negative_numbers = true)]
    label: Vec<Label>,
    #[command(flatten)]
    drawing: Drawing,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let studio = args.drawing.open(&args.model)?;
    let model = studio.model();

    let labels = resolve_labels(&args.label, &model.info().config.network)?;
    let count = args.count.map_or_else(|| default_count(labels.as_deref()), |count| count as usize);
    if args.seed.checked_add(count as u64 - 1).is_none() {
        return Err(usage("--seed", format!("{} and {count} images go beyond 64 bits", args.seed)));
    }
    let label = |index: usize| labels.as_ref().map(|labels| labels[index % labels.len()]);
    let job = Job {
        count,
        item: &|index| {
            let (seed, label) = (args.seed + index as u64, label(index));
            let name = label.map_or(seed.to_string(), |label| format!("{seed}-{label}"));
            Item { name, seed, label, noise: None }
        },
    };
    studio.draw(&args.drawing, &job, sheet(count, labels.as_deref()))
}

/// So many rows of all labels that a grid is neither empty nor endless.
fn default_count(labels: Option<&[i32]>) -> usize {
    labels.map_or(DEFAULT_COUNT, |labels| count_of(labels, DEFAULT_ROWS))
}

/// At most so many rows of all labels, one at least, and at most a hundred images.
pub fn count_of(labels: &[i32], rows: usize) -> usize {
    let rows = (DEFAULT_MOST / labels.len()).clamp(1, rows);
    (labels.len() * rows).min(DEFAULT_MOST)
}

/// A column a label where labels are few, else a square.
pub fn sheet(count: usize, labels: Option<&[i32]>) -> Sheet {
    let square = (count as f64).sqrt().ceil() as usize;
    let (columns, captions) = match labels {
        None => (square, Captions::None),
        Some([label]) => (square, Captions::Columns(vec![*label])),
        Some(labels) if labels.len() <= MOST_COLUMNS => {
            let columns = labels.len().min(count);
            (columns, Captions::Columns(labels[..columns].to_vec()))
        }
        Some(_) => (square, Captions::Images),
    };
    Sheet { count, columns, captions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_the_labels() {
        assert_eq!(default_count(None), 16);
        assert_eq!(default_count(Some(&[3])), 10);
        let classes: Vec<i32> = (0..1000).collect();
        assert_eq!(default_count(Some(&classes[..10])), 100);
        assert_eq!(default_count(Some(&classes[..40])), 80);
        assert_eq!(default_count(Some(&classes)), 100);
    }

    #[test]
    fn few_labels_get_a_column_each() {
        let classes: Vec<i32> = (0..100).collect();
        let ten = sheet(30, Some(&classes[..10]));
        assert_eq!((ten.columns, ten.captions), (10, Captions::Columns(classes[..10].to_vec())));
        let few = sheet(3, Some(&classes[..10]));
        assert_eq!((few.columns, few.captions), (3, Captions::Columns(vec![0, 1, 2])));
        assert_eq!(sheet(100, Some(&classes)).captions, Captions::Images);
        assert_eq!(sheet(10, None).columns, 4);
    }
}
