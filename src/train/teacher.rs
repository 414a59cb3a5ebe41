//! Teachers: DDPM's training (Ho et al. 2020, algorithm 1) of a U-Net on a folder of images.

use super::draw::diffusion;
use super::folder::Folder;
use super::group::Group;
use super::images::Images;
use super::initial::Initial;
use super::learner::{Batch, Learner};
use super::optim::{AdamForm, AdamOptions, Rate, check_clip, check_decays, check_parts, check_positive};
use super::random::{Random, Shuffled};
use super::run::{Objective, Optimization, Outcome, RunOptions, Watch, record_scoring, run};
use super::state::State;
use super::student::without_variance;
use crate::error::{Error, Result, try_resize};
use crate::exec::Dropout;
use crate::model::{Config, Params, Prediction, Role};
use crate::noise;
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
    /// Mirrors half of the images.
    pub flip: bool,
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
            flip: false,
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
        let network = json!({
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
        check_decays(&[("ema", self.ema), ("dropout", self.dropout)])
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
            adam: AdamOptions { betas: [0.9, 0.999], eps: 1e-8, form: AdamForm::Torch },
            clip: (self.clip > 0.0).then_some(self.clip),
            ema: self.ema,
            ema_warmup: true,
        }
    }
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
    /// Those of [`Images::read`], [`Folder::shared`] and [`run`]; INVALID_ARGUMENT and UNSUPPORTED_MODEL for settings that
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
            None => description.config("the settings", None)?,
        };
        if config.network.num_classes != classes {
            let has = config.network.num_classes.unwrap_or(0);
            let message = format!("{has} classes in the model, {} in the folder", classes.unwrap_or(0));
            return Err(Error::argument("init", message));
        }
        let mut asked = json!({
            "command": "train teacher",
            "teacher": settings,
            "init": self.init.as_deref().map(Path::to_string_lossy),
            "images": images.len(),
            "images_crc32": format!("{:08x}", images.checksum()),
        });
        record_scoring(&mut asked, self.run_options.scoring.as_ref());
        let folder = Folder::shared(&self.out, &asked, self.run_options.changes, group)?;
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

/// What memory is for.
const BATCH: &str = "a batch of images";

/// Predicting the noise (or the image, or v) of noised images.
struct Denoising<'a> {
    settings: &'a TeacherSettings,
    group: &'a Group,
    images: &'a Images,
    random: Random,
    shuffled: Shuffled,
    prediction: Prediction,
    alphas_cumprod: Vec<f32>,
    x: Vec<f32>,
    target: Vec<f32>,
    noise: Vec<f32>,
}

impl<'a> Denoising<'a> {
    fn new(
        settings: &'a TeacherSettings,
        group: &'a Group,
        config: &Config,
        images: &'a Images,
        random: Random,
    ) -> Result<Self> {
        Ok(Self {
            settings,
            group,
            images,
            random,
            shuffled: Shuffled::new(random, images.len()),
            prediction: diffusion(config)?.prediction,
            alphas_cumprod: diffusion(config)?.alphas_cumprod()?,
            x: Vec::new(),
            target: Vec::new(),
            noise: Vec::new(),
        })
    }
}

impl Objective for Denoising<'_> {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        let (batch, len) = (self.settings.batch, learner.image_len());
        let mine = self.group.share(batch);
        let part = mine.len() / self.settings.accumulate;
        let number = (batch * len) as f64;
        let mut loss = 0.0;
        for first in mine.step_by(part) {
            try_resize(&mut self.x, part.saturating_mul(len), BATCH)?;
            try_resize(&mut self.target, part.saturating_mul(len), BATCH)?;
            try_resize(&mut self.noise, len, BATCH)?;
            let rate = self.settings.dropout as f32;
            let mut dropout = (rate > 0.0).then(|| Dropout { words: noise::words, rate, seeds: Vec::new() });
            let (mut times, mut labels) = (Vec::new(), self.images.labels.as_ref().map(|_| Vec::new()));
            let places = self.x.chunks_exact_mut(len).zip(self.target.chunks_exact_mut(len));
            for (slot, (x, target)) in (first..).zip(places) {
                let image = self.shuffled.item(step * batch as u64 + slot as u64);
                let draws = self.random.draws(step, slot);
                let t = self.random.timestep(step, slot, batch, self.alphas_cumprod.len());
                times.push(t as f32);
                if let (Some(labels), Some(all)) = (&mut labels, &self.images.labels) {
                    labels.push(all[image]);
                }
                self.images.fill(image, self.settings.flip && draws.flip, x);
                noise::fill(draws.noise, 0, &mut self.noise);
                if let Some(dropout) = &mut dropout {
                    dropout.seeds.push(draws.noise);
                }
                let alpha = f64::from(self.alphas_cumprod[t]);
                let (a, b) = (alpha.sqrt() as f32, (1.0 - alpha).sqrt() as f32);
                for ((x, target), &eps) in x.iter_mut().zip(target).zip(&self.noise) {
                    let x_0 = *x;
                    *x = a * x_0 + b * eps;
                    *target = match self.prediction {
                        Prediction::Epsilon => eps,
                        Prediction::Sample => x_0,
                        Prediction::V => a * eps - b * x_0,
                        Prediction::Flow => eps - x_0,
                    };
                }
            }
            let of =
                Batch { x: &self.x, times: &times, labels: labels.as_deref(), dropout: dropout.as_ref() };
            learner.accumulate(of, |net, gradient| {
                for ((gradient, net), target) in gradient.iter_mut().zip(net).zip(&self.target) {
                    let error = f64::from(net - target);
                    loss += error * error / number;
                    *gradient = (2.0 * error / number) as f32;
                }
            })?;
        }
        Ok(loss)
    }
}
