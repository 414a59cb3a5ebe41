//! What the fuzzers do with bytes, as plain functions: `cargo fuzz` searches (`fuzz_targets`), and `cargo test` replays
//! (`tests/library/fuzz.rs`). None may panic, abort, or take more memory or time than its input explains.

mod calls;

use onestep::{Layout, Limits, Model, Options, Request};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folder of golden files.
static GOLDEN: LazyLock<PathBuf> = LazyLock::new(|| {
    // The fuzzers are a package of their own, below the one whose tests replay them.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("include/onestep.h").is_file());
    root.expect("the repository").join("tests/golden")
});

/// A tiny network's folder.
fn network() -> PathBuf {
    GOLDEN.join("diffusers/guided")
}

/// A fuzzer's name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them that this build has.
pub const TARGETS: &[Target] = &[
    ("calls", calls::calls),
    ("diffusers", diffusers),
    ("layouts", layouts),
    ("native", native),
    ("pth", pth),
    ("scheduler", scheduler),
    #[cfg(feature = "formats")]
    ("h5", h5),
    #[cfg(feature = "metrics")]
    ("images", images),
    #[cfg(feature = "metrics")]
    ("npz", npz),
    #[cfg(feature = "train")]
    ("pairs", pairs),
    #[cfg(feature = "train")]
    ("run", run_folder),
    #[cfg(feature = "train")]
    ("settings", settings),
];

/// Runs one by its name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.0 == name).expect("a target of this build");
    target.1(data);
}

fn options() -> Options {
    let limits = Limits { parameters: 1 << 16, pixels: 1 << 12, ..Limits::default() };
    Options { threads: 1, limits, ..Options::default() }
}

/// Draws one image, if the model opens.
fn draw(model: onestep::Result<Model>) {
    let Ok(model) = model else { return };
    let labels = model.info().config.network.num_classes.map(|_| vec![0]);
    let request = Request { seeds: Some(vec![1]), labels, ..Request::default() };
    let Ok(size) = model.output_size(1, &Layout::default()) else { return };
    let mut out = vec![0; size as usize];
    let _ = model
        .session(&options())
        .and_then(|mut session| session.sample(&request, &Layout::default(), &mut out));
}

/// A native file in memory. The checksum is made right first, since a fuzzer would not get past it.
fn native(data: &[u8]) {
    for bytes in [Some(data.to_vec()), onestep::weights::with_checksum(data)].into_iter().flatten() {
        draw(Model::from_bytes(&bytes, &options()));
    }
}

/// A folder of its own, in memory where the system has such a place.
fn empty_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// Writes files, which zeros keep apart, into a folder.
fn files(folder: &Path, names: &[&str], data: &[u8]) {
    for (name, bytes) in names.iter().zip(data.splitn(names.len(), |&byte| byte == 0)) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A diffusers folder: its scheduler's configuration, its network's, its weights.
fn diffusers(data: &[u8]) {
    let folder = empty_folder();
    let names =
        ["scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"];
    files(folder.path(), &names, data);
    draw(Model::open(folder.path(), &options()));
}

/// A scheduler's configuration beside a network that is right.
fn scheduler(data: &[u8]) {
    let folder = empty_folder();
    let unet = folder.path().join("unet");
    std::fs::create_dir(&unet).unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::copy(network().join("unet").join(name), unet.join(name)).unwrap();
    }
    files(folder.path(), &["scheduler/scheduler_config.json"], data);
    let _ = Model::open(folder.path(), &options());
}

/// Images of a shape into a buffer under a layout: every value is written, once, and nothing else is.
fn layouts(data: &[u8]) {
    use onestep::image::{Format, write};
    let mut words = data.chunks(3).map(|word| {
        let [kind, low, high] = std::array::from_fn(|i| u64::from(word.get(i).copied().unwrap_or(0)));
        // A size, one near a power of two, or nothing.
        match kind % 4 {
            0 => 0,
            1 => low,
            2 => low | high << 8,
            _ => (1u64 << (low % 64)).wrapping_add(high).wrapping_sub(2),
        }
    });
    let mut word = || words.next().unwrap_or(0);
    let shape: [usize; 4] = std::array::from_fn(|_| word() as usize);
    let flags = word();
    let Ok(format) = Format::from_i32((word() % 6) as i32) else { return };
    let layout = Layout {
        format,
        flip_y: flags & 1 != 0,
        unit_range: flags & 2 != 0,
        premultiplied: flags & 4 != 0,
        row_stride: word(),
        plane_stride: word(),
        image_stride: word(),
        columns: word(),
        column_stride: word(),
    };
    let Ok(size) = layout.output_size(shape) else { return };
    let [n, c, h, w] = shape;
    // No overlap: they cannot be fewer bytes than the values take.
    let a_pixel = match format {
        Format::F32Nchw | Format::F32Nhwc => 4 * c,
        Format::Rgb8 => 3,
        Format::Rgba8 | Format::Bgra8 => 4,
    };
    let written = [n, h, w].iter().try_fold(a_pixel, |bytes, &side| bytes.checked_mul(side)).unwrap();
    assert!(size >= written as u64, "{layout:?} of {shape:?} takes {size} bytes for {written}");
    if size > 1 << 16 {
        return;
    }
    let values = vec![0.5; n * c * h * w];
    let [zeros, ones] = [0, 0xFF].map(|fill| {
        let mut out = vec![fill; size as usize];
        write(&values, shape, &layout, &mut out).unwrap();
        assert!(write(&values, shape, &layout, &mut out[1..]).is_err());
        out
    });
    let same = zeros.iter().zip(&ones).filter(|(a, b)| a == b).count();
    assert_eq!(same, written, "{layout:?} of {shape:?}");
    assert_eq!(zeros.last(), ones.last(), "{layout:?} of {shape:?}: the last byte is not one of an image's");
}

/// A PyTorch file of these bytes: as the weights of a diffusers folder, and by itself.
fn pth(data: &[u8]) {
    const CONFIG: &str = r#"{"sample_size": 4, "in_channels": 1, "out_channels": 1, "block_out_channels": [4],
        "layers_per_block": 1, "norm_num_groups": 1, "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}"#;
    let folder = empty_folder();
    let alone = folder.path().join("model.pth");
    std::fs::write(&alone, data).unwrap();
    let _ = Model::open(&alone, &options());
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    std::fs::rename(alone, folder.path().join("diffusion_pytorch_model.bin")).unwrap();
    let _ = Model::open(folder.path(), &options());
}

/// A Keras file of these bytes.
#[cfg(feature = "formats")]
fn h5(data: &[u8]) {
    let folder = empty_folder();
    let path = folder.path().join("model.h5");
    std::fs::write(&path, data).unwrap();
    let _ = Model::open(&path, &options());
}

/// A picture, by each of its endings, and an archive of pictures.
#[cfg(feature = "metrics")]
fn images(data: &[u8]) {
    use onestep::metrics::ImagesFrom;
    let folder = empty_folder();
    for name in ["a.png", "a.jpg", "a.webp"] {
        std::fs::write(folder.path().join(name), data).unwrap();
    }
    let archive = folder.path().join("a.zip");
    std::fs::write(&archive, data).unwrap();
    for place in [folder.path().to_owned(), archive] {
        if let Ok(mut images) = ImagesFrom::Folder(place).open() {
            for image in 0..images.count().unwrap_or(0).min(4) {
                let _ = images.read(image..image + 1);
            }
        }
    }
}

/// NumPy's files of these bytes: statistics, and images.
#[cfg(feature = "metrics")]
fn npz(data: &[u8]) {
    use onestep::metrics::{Gaussian, ImagesFrom};
    let folder = empty_folder();
    let path = folder.path().join("stats.npz");
    std::fs::write(&path, data).unwrap();
    let _ = Gaussian::read(&path);
    if let Ok(mut images) = ImagesFrom::Array(path).open() {
        let _ = images.read(0..images.count().unwrap_or(0).min(2));
    }
}

/// A folder of pairs: its manifest, and its first shard.
#[cfg(feature = "train")]
fn pairs(data: &[u8]) {
    let folder = empty_folder();
    files(folder.path(), &["manifest.json", "pairs-00000.safetensors"], data);
    if let Ok(pairs) = onestep::train::Pairs::open(folder.path(), false) {
        let _ = (pairs.len(), pairs.calls());
    }
}

/// A run's folder as training meets it when it goes on: its settings, its log and its checkpoint.
#[cfg(feature = "train")]
fn run_folder(data: &[u8]) {
    use onestep::train::{Changes, Folder, read_log};
    let folder = empty_folder();
    files(folder.path(), &["settings.json", "log.csv", "checkpoint.safetensors"], data);
    let asked = serde_json::json!({ "batch": 4 });
    if let Ok(run) = Folder::open(folder.path(), &asked, Changes { new_images: true }) {
        let _ = run.log(3);
    }
    let _ = read_log(folder.path());
}

/// A training run's settings file; what it makes of two pictures, if that is little work.
#[cfg(feature = "train")]
fn settings(data: &[u8]) {
    use onestep::train::{DistillSettings, RunOptions, TeacherRun, TeacherSettings};
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = toml::from_str::<DistillSettings>(text);
    let Ok(settings) = toml::from_str::<TeacherSettings>(text) else { return };
    let widths = settings.widths.len() <= 3 && settings.widths.iter().all(|&width| width <= 16);
    let sizes =
        settings.size.iter().all(|&side| side <= 16) && settings.layers <= 2 && settings.channels <= 4;
    if !(widths && sizes && settings.batch <= 8 && settings.timesteps <= 1000) {
        return;
    }
    let folder = empty_folder();
    for class in ["a", "b"] {
        let class = folder.path().join(class);
        std::fs::create_dir(&class).unwrap();
        std::fs::copy(GOLDEN.join("pictures/exif-1.png"), class.join("1.png")).unwrap();
    }
    let run = TeacherRun {
        settings,
        images: folder.path().to_owned(),
        out: folder.path().join("run"),
        init: None,
        threads: 1,
        run_options: RunOptions { dry_run: true, ..RunOptions::default() },
    };
    let _ = run.run(&mut |_| (), &mut |_| Ok(()));
}
