//! A PyTorch file of these bytes: as the weights of a diffusers folder, and by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::{Model, Options};

const CONFIG: &str = r#"{"sample_size": 4, "in_channels": 1, "out_channels": 1, "block_out_channels": [4],
    "layers_per_block": 1, "norm_num_groups": 1, "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}"#;

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("model.pth");
    std::fs::write(&alone, data).unwrap();
    let _ = Model::open(&alone, &Options::default());
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    std::fs::rename(alone, folder.path().join("diffusion_pytorch_model.bin")).unwrap();
    let _ = Model::open(folder.path(), &Options::default());
});
