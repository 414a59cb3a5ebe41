//! What the fuzzers do with bytes, as plain functions: `cargo fuzz` searches (`fuzz_targets`), and `cargo test` replays
//! (`tests/library/fuzz.rs`). None may panic, abort, or take more memory or time than its input explains.

mod calls;

use onestep::{Layout, Limits, Model, Options, Request};
use std::path::Path;

/// A fuzzer's name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them that this build has.
pub const TARGETS: &[Target] = &[
    ("calls", calls::calls),
    ("diffusers", diffusers),
    ("native", native),
    ("pth", pth),
    #[cfg(feature = "formats")]
    ("h5", h5),
    #[cfg(feature = "metrics")]
    ("images", images),
    #[cfg(feature = "metrics")]
    ("npz", npz),
    #[cfg(feature = "train")]
    ("pairs", pairs),
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
    let folder = tempfile::tempdir().unwrap();
    let names =
        ["scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"];
    files(folder.path(), &names, data);
    draw(Model::open(folder.path(), &options()));
}

/// A PyTorch file of these bytes: as the weights of a diffusers folder, and by itself.
fn pth(data: &[u8]) {
    const CONFIG: &str = r#"{"sample_size": 4, "in_channels": 1, "out_channels": 1, "block_out_channels": [4],
        "layers_per_block": 1, "norm_num_groups": 1, "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}"#;
    let folder = tempfile::tempdir().unwrap();
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    std::fs::write(&path, data).unwrap();
    let _ = Model::open(&path, &options());
}

/// A picture, by each of its endings, and an archive of pictures.
#[cfg(feature = "metrics")]
fn images(data: &[u8]) {
    use onestep::metrics::ImagesFrom;
    let folder = tempfile::tempdir().unwrap();
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
    let folder = tempfile::tempdir().unwrap();
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
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), &["manifest.json", "pairs-00000.safetensors"], data);
    if let Ok(pairs) = onestep::train::Pairs::open(folder.path(), false) {
        let _ = (pairs.len(), pairs.calls());
    }
}
