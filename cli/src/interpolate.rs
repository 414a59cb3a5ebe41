//! `onestep interpolate`.

use crate::args::{Label, ModelPath, named, parse_label, resolve_labels};
use crate::draw::{Drawing, Item, Job};
use crate::output::{Captions, Sheet};
use onestep::Result;
use onestep::sampler::{Interpolation, interpolate};

/// Rows of a conditional model where no label is given.
const DEFAULT_ROWS: usize = 10;

/// Draw a strip from one seed to another
///
/// The first image is that of --from, the last that of --to; between them lies the interpolated noise. A strip a
/// label for conditional models.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep interpolate --from 1 --to 2 --out strip.png
  onestep interpolate --from 1 --to 2 --label 3 --count 24 --out frames/
In a folder, files are named FROM-TO-INDEX-LABEL.png.")]
pub struct Args {
    #[command(flatten)]
    model: ModelPath,
    /// Seed of the first image
    #[arg(long, value_name = "SEED")]
    from: u64,
    /// Seed of the last image
    #[arg(long, value_name = "SEED")]
    to: u64,
    /// Images a strip, both ends included
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    count: u32,
    /// Classes, a strip each: repeated, a comma list, or `all` [default: the first ten]
    #[arg(short, long, value_name = "L", value_delimiter = ',', value_parser = parse_label,
        allow_negative_numbers = true)]
    label: Vec<Label>,
    /// Path between the two: along the sphere, or straight
    #[arg(long, default_value = "slerp", value_parser = named::<Interpolation>())]
    mode: Interpolation,
    #[command(flatten)]
    drawing: Drawing,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let studio = args.drawing.open(&args.model)?;
    let model = studio.model();

    let network = &model.info().config.network;
    let mut labels = resolve_labels(&args.label, network)?;
    if let (Some(labels), []) = (&mut labels, args.label.as_slice()) {
        labels.truncate(DEFAULT_ROWS);
    }
    let len = network.channels * network.size.0 * network.size.1;
    let mut ends = vec![0.0; 2 * len];
    model.noise(&[args.from, args.to], &mut ends)?;
    let columns = args.count as usize;
    // One column's x_T, which depends on no other's.
    let noise = |column: usize| {
        let (from, to) = ends.split_at(len);
        let mut noise = vec![0.0; len];
        let position = column as f32 / (columns - 1) as f32;
        interpolate(args.mode, from, to, &[position], &mut noise).map(|()| noise)
    };
    noise(0)?;
    let rows = labels.as_ref().map_or(1, Vec::len);
    let job = Job {
        count: rows * columns,
        // Fresh noise of stochastic samplers is the same along the strip, so that it stays smooth.
        item: &|index| {
            let (row, column) = (index / columns, index % columns);
            let label = labels.as_ref().map(|labels| labels[row]);
            let mut name = format!("{}-{}-{column:03}", args.from, args.to);
            if let Some(label) = label {
                name.push_str(&format!("-{label}"));
            }
            Item { name, seed: args.from, label, noise: noise(column).ok() }
        },
    };
    let captions = labels.clone().map_or(Captions::None, Captions::Rows);
    let sheet = Sheet { count: job.count, columns, captions };
    studio.draw(&args.drawing, &job, sheet)
}
