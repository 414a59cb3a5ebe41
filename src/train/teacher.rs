//! Teachers: DDPM's training (Ho et al. 2020, algorithm 1) of a U-Net on a folder of images.

use super::denoising::Denoising;
use super::event::Watch;
use super::images::Images;
use super::initial::Initial;
use super::learner::Learner;
use super::optim::{AdamForm, AdamOptions, Rate, check_clip, check_decays, check_parts, check_positive};
use super::random::Random;
use super::run::{Optimization, Outcome, RunOptions, run};
use super::state::State;
use super::student::without_variance;
use crate::error::{Error, Result};
use crate::model::{Params, Role};
use crate::weights::{self, Description, Kind};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a teacher is and how it learns; as TOML, and in `settings.json` of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherSettings {
    /// Height and width of an image; in TOML also one number for both.
    #[serde(deserialize_with = "size")]
    pub size: [usize; 2],
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// Sub-folders are classes.
    pub classes: bool,
    /// Channels of each level, finest first; each level has half the height and width of the one before.
    pub widths: Vec<usize>,
    /// Residual blocks a level on the way down; one more on the way up.
    pub layers: usize,
    /// Heights at which there is self-attention (and in the middle, always).
    pub attention: Vec<usize>,
    /// Channels of a head; none: one head.
    pub head_channels: Option<usize>,
    /// Groups of every norm.
    pub groups: usize,
    /// `epsilon`, `v_prediction`, `sample` or `flow`.
    pub prediction: String,
    /// `linear`, `scaled_linear` or `squaredcos_cap_v2`.
    pub schedule: String,
    /// T.
    pub timesteps: usize,
    /// Samplers clamp their estimate of the image to [-1, 1]: without, one that has learnt little leaves what images have.
    pub clip_sample: bool,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Images a step.
    pub batch: usize,
    /// Parts that a step's images are taken in, one after the other, for less memory.
    pub accumulate: usize,
    /// The highest learning rate.
    pub rate: f64,
    /// Steps of its linear rise.
    pub warmup: u64,
    /// It falls along half a cosine to a fiftieth, rather than staying.
    pub cosine: bool,
    /// Largest norm of a gradient; 0 for any.
    pub clip: f64,
    /// Decay of the moving average of the weights.
    pub ema: f64,
    /// How often a residual block drops a value before its second convolution, 0 to less than 1.
    pub dropout: f64,
    /// How often an image's label is taken away, 0 to less than 1: above 0 the model can be guided (Ho and Salimans 2022).
    pub drop_labels: f64,
    /// Decay rates of Adam's moments.
    pub betas: [f64; 2],
    /// What each step takes from the parameters, times the rate (AdamW).
    pub weight_decay: f64,
    /// Mirrors half of the images.
    pub flip: bool,
    /// Moves images by up to so many pixels in each direction; what comes in is the edge.
    pub shift: usize,
    /// Changes contrast and brightness by up to so much: 0.1 is a tenth of the contrast, and of the way from grey to white.
    pub color: f64,
    /// Images that are not learnt from, for tests.
    pub test: usize,
    /// Steps from one test to the next.
    pub test_every: u64,
    /// Of everything random.
    pub seed: u64,
}

/// Heights with self-attention where nothing else is asked for; images of some sizes never have them.
const ATTENTION: [usize; 1] = [16];

/// One number, or a pair.
fn size<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<[usize; 2], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number, or [height, width]")]
    enum Size {
        Side(usize),
        Pair([usize; 2]),
    }
    Ok(match Size::deserialize(from)? {
        Size::Side(side) => [side, side],
        Size::Pair(pair) => pair,
    })
}

impl Default for TeacherSettings {
    /// A small network for 32 x 32 RGB images.
    fn default() -> Self {
        Self {
            size: [32, 32],
            channels: 3,
            classes: false,
            widths: vec![64, 128, 128],
            layers: 1,
            attention: ATTENTION.to_vec(),
            head_channels: None,
            groups: 32,
            prediction: "epsilon".to_owned(),
            schedule: "linear".to_owned(),
            timesteps: 1000,
            clip_sample: true,
            steps: 20_000,
            batch: 64,
            accumulate: 1,
            rate: 2e-4,
            warmup: 500,
            cosine: true,
            clip: 1.0,
            ema: 0.999,
            dropout: 0.0,
            drop_labels: 0.0,
            betas: [0.9, 0.999],
            weight_decay: 0.0,
            flip: false,
            shift: 0,
            color: 0.0,
            test: 0,
            test_every: 500,
            seed: 0,
        }
    }
}

impl TeacherSettings {
    /// Of the levels, finest first.
    fn heights(&self) -> Vec<usize> {
        (0..self.widths.len()).map_while(|level| self.size[0].checked_shr(level as u32)).collect()
    }

    /// The model that these settings make, in diffusers' terms.
    fn description(&self, classes: Option<usize>) -> Description {
        let [h, w] = self.size;
        let levels = self.heights();
        let kinds = |part: &str| -> Vec<Value> {
            let kind = |side: &usize| match self.attention.contains(side) {
                true => format!("Attn{part}Block2D").into(),
                false => format!("{part}Block2D").into(),
            };
            levels.iter().map(kind).collect()
        };
        let mut up = kinds("Up");
        up.reverse();
        let mut network = json!({
            "sample_size": if h == w { json!(h) } else { json!([h, w]) },
            "in_channels": self.channels,
            "out_channels": self.channels,
            "block_out_channels": self.widths,
            "layers_per_block": self.layers,
            "down_block_types": kinds("Down"),
            "up_block_types": up,
            "attention_head_dim": self.head_channels,
            "norm_num_groups": self.groups,
            "norm_eps": 1e-6,
            "act_fn": "silu",
            "downsample_padding": 0,
            "flip_sin_to_cos": false,
            "freq_shift": 1,
            "num_class_embeds": classes,
            "dropout": self.dropout,
        });
        if self.drop_labels > 0.0 {
            network["null_class"] = true.into();
            network["num_class_embeds"] = classes.map(|classes| classes + 1).into();
        }
        let scheduler = json!({
            "num_train_timesteps": self.timesteps,
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "beta_schedule": self.schedule,
            "prediction_type": self.prediction,
            "clip_sample": self.clip_sample,
        });
        Description {
            generator: Some(Kind::Teacher { default_steps: Some(50.min(self.timesteps as u32)) }),
            ..Description::new(network, scheduler)
        }
    }

    fn check(&self) -> Result<()> {
        check_positive(&[
            ("widths", self.widths.len() as f64),
            ("layers", self.layers as f64),
            ("groups", self.groups as f64),
            ("timesteps", self.timesteps as f64),
            ("batch", self.batch as f64),
            ("accumulate", self.accumulate as f64),
            ("rate", self.rate),
        ])?;
        check_parts(self.batch, self.accumulate)?;
        check_clip(self.clip)?;
        if self.drop_labels > 0.0 && !self.classes {
            return Err(Error::argument("drop_labels", "there are no labels (--classes)"));
        }
        let side = self.size[0].min(self.size[1]);
        if self.shift >= side {
            return Err(Error::argument(
                "shift",
                format!("{} given; images have {side} pixels a side", self.shift),
            ));
        }
        let [b1, b2] = self.betas;
        let decays = [
            ("ema", self.ema),
            ("dropout", self.dropout),
            ("drop_labels", self.drop_labels),
            ("betas", b1),
            ("betas", b2),
            ("color", self.color),
            ("weight_decay", self.weight_decay),
        ];
        check_decays(&decays)
    }

    /// That a level has each height at which there is to be attention.
    fn check_attention(&self) -> Result<()> {
        let heights = self.heights();
        match self.attention.iter().find(|height| !heights.contains(height)) {
            Some(height) if self.attention != ATTENTION => {
                let message = format!("{height} given; the levels' heights are {heights:?}");
                Err(Error::argument("attention", message))
            }
            _ => Ok(()),
        }
    }

    fn optimization(&self) -> Optimization {
        Optimization {
            steps: self.steps,
            rate: Rate {
                peak: self.rate,
                warmup: self.warmup,
                cosine_to: self.cosine.then_some(0.02),
                from_zero: false,
            },
            adam: AdamOptions {
                betas: self.betas,
                eps: 1e-8,
                form: AdamForm::Torch,
                weight_decay: self.weight_decay,
            },
            clip: (self.clip > 0.0).then_some(self.clip),
            ema: self.ema,
            ema_warmup: true,
        }
    }
}

/// An error of a file's key, as one of the setting that it came from.
fn of_setting(error: Error) -> Error {
    let Error::UnsupportedModel { key, found, supported, .. } = &error else { return error };
    let setting = match key.as_str() {
        "norm_num_groups" => "groups",
        "attention_head_dim" => "head_channels",
        "block_out_channels" => "widths",
        "layers_per_block" => "layers",
        "sample_size" => "size",
        "in_channels" => "channels",
        "num_train_timesteps" => "timesteps",
        "beta_schedule" => "schedule",
        "prediction_type" => "prediction",
        _ => return error,
    };
    Error::argument(setting, format!("{found} given; supported: {supported}"))
}

/// A run of a teacher.
pub struct TeacherRun {
    /// What it is and how it learns.
    pub settings: TeacherSettings,
    /// The folder of images.
    pub images: PathBuf,
    /// The run's folder.
    pub out: PathBuf,
    /// A model to begin from; its network and schedule count, not those of the settings.
    pub init: Option<PathBuf>,
    /// Threads.
    pub threads: usize,
    /// What it does beside.
    pub run_options: RunOptions,
}

impl TeacherRun {
    /// Trains to the end, from the run's checkpoint if there is one. `found` sees the images before training begins.
    ///
    /// # Errors
    /// Those of [`Images::read`], `Folder::shared` and [`run`]; INVALID_ARGUMENT and UNSUPPORTED_MODEL for settings that
    /// make no network.
    pub fn run(&self, found: &mut dyn FnMut(&Images), watch: Watch) -> Result<Outcome> {
        let (settings, group) = (&self.settings, &self.run_options.group);
        settings.check()?;
        if self.init.is_none() {
            settings.check_attention()?;
        }
        group.check_batch(settings.batch, settings.accumulate)?;
        let start = self.init.as_deref().map(|path| weights::open(path, u64::MAX)).transpose()?;
        let kept = start.as_ref().map(|checkpoint| checkpoint.config(Some(Role::Teacher))).transpose()?;
        let (size, channels) = match &kept {
            Some(config) => (config.network.size, config.network.channels),
            None => (settings.size.into(), settings.channels),
        };
        let images = Images::read(&self.images, size, channels, settings.classes)?;
        found(&images);
        let classes = images.labels.as_ref().map(|_| images.classes.len());
        let description = match &start {
            Some(checkpoint) => without_variance(&checkpoint.description().with_role(Some(Role::Teacher))),
            None => settings.description(classes),
        };
        let config = match kept {
            Some(config) => config,
            None => description.config("the settings", None).map_err(of_setting)?,
        };
        if config.network.num_classes != classes {
            let has = config.network.num_classes.unwrap_or(0);
            let message = format!("{has} classes in the model, {} in the folder", classes.unwrap_or(0));
            return Err(Error::argument("init", message));
        }
        if settings.drop_labels > 0.0 && config.network.null_label().is_none() {
            let message = "the model to begin from has no label that stands for none";
            return Err(Error::argument("drop_labels", message));
        }
        let mut asked = json!({
            "command": "train teacher",
            "teacher": settings,
            "init": self.init.as_deref().map(Path::to_string_lossy),
            "images": images.len(),
            "images_crc32": format!("{:08x}", images.checksum()),
        });
        let folder = self.run_options.folder(&self.out, &mut asked)?;
        let random = Random(settings.seed);
        let initial = Initial(random);
        let params: &dyn Params = match &start {
            Some(checkpoint) => checkpoint,
            None => &initial,
        };
        let learner = Learner::new(&config.network, params, self.threads)?;
        let optimization = settings.optimization();
        let state = State::new(learner, optimization.adam)?;
        let description = Description {
            provenance: Some(
                json!({"trained_by": concat!("onestep ", env!("CARGO_PKG_VERSION")), "teacher": settings}),
            ),
            ..description
        };
        let mut objective = Denoising::new(settings, group, &config, &images, random)?;
        run(&mut objective, state, &optimization, &self.run_options, folder.as_ref(), &description, watch)
    }
}
