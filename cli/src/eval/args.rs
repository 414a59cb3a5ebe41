//! The arguments of `onestep eval`.

use crate::args::{Machine, Sampling, Threads, named, parse_part};
use onestep::metrics::{Metric, Protocol};
use std::path::PathBuf;

/// Score images: FID, Inception Score, KID, precision and recall
///
/// The features of all images go to DIR/features, in parts: a run that was stopped, by Ctrl-C or worse, goes on with the same
/// command, and comes to the same numbers to the bit. Parts may be made by several processes (--shard, --mpi).
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep eval --model student.safetensors --reference cifar10-train/ --inception pt_inception-2015-12-05-6726825d.pth --out eval/
  onestep eval --images samples/ --reference cifar10-32x32.npz --inception FILE --metrics fid,is --out eval/
  onestep eval --images cifar10-train/ --inception FILE --out train/      writes train/stats.npz, a reference for others
  onestep eval --model student.safetensors --reference faces/ --metrics pixel --count 10000 --out eval/
  onestep eval --model MODEL --reference REF --inception FILE --out /data/eval --shard $SLURM_ARRAY_TASK_ID/64

DIR then holds report.md, scores.json, pictures, and stats.npz (mu and sigma, as pytorch-fid reads them).")]
pub struct Args {
    /// The model whose images are scored [default: the student inside this command]
    #[arg(long, value_name = "MODEL", conflicts_with = "images")]
    pub model: Option<PathBuf>,
    /// Images to score: a folder of PNG, JPEG and WebP files or a .zip of one, a .npz file with arr_0, or a .npy file
    #[arg(long, value_name = "PATH")]
    pub images: Option<PathBuf>,
    /// What they are compared with: images as for --images, a .npz file of mu and sigma, or a folder of features that this command
    /// has made
    #[arg(long, value_name = "PATH")]
    pub reference: Option<PathBuf>,
    /// The weights of FID's Inception, pt_inception-2015-12-05-6726825d.pth
    #[arg(long, value_name = "FILE")]
    pub inception: Option<PathBuf>,
    /// Scores to compute. pixel, of images averaged to 8 x 8, needs no --inception, and goes alone [default: all that Inception and
    /// the reference allow]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = named::<Metric>())]
    pub metrics: Vec<Metric>,
    /// How images are shown to Inception: as TensorFlow's graph did (and EDM's, OpenAI's and torch-fidelity's programs do), or as
    /// pytorch-fid does
    #[arg(long, default_value = "tf", value_parser = named::<Protocol>())]
    pub protocol: Protocol,
    /// Images to score [default: 50000 of a model; all that are there]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=u64::from(u32::MAX)))]
    pub count: Option<u64>,
    /// Folder of the report, and of the features
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// A teacher, for a picture of what it draws from the same noise
    #[arg(long, value_name = "MODEL", conflicts_with = "images")]
    pub teacher: Option<PathBuf>,
    /// Seed of the first image; image i is drawn from seed S + i, and of class i modulo the number of classes
    #[arg(short, long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Images that the model draws at a time
    #[arg(short, long, value_name = "B", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Make part I of N, 0 the first: every N-th part of the features, and no report. The same command without it makes the rest, and
    /// the report
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    pub shard: Option<(usize, usize)>,
    /// Share the parts with all processes that mpirun or srun started
    #[cfg(feature = "train")]
    #[arg(long, conflicts_with = "shard")]
    pub mpi: bool,
    /// Print the scores as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// No progress bar and no closing lines
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub sampling: Sampling,
    #[command(flatten)]
    pub machine: Machine,
    #[command(flatten)]
    pub threads: Threads,
}
