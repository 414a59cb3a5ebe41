//! What a network is: the configuration of a U-Net and of the diffusion process it was trained for.

use super::Generator;
use crate::exec::{Activation, ClassUse};
use crate::names::named;

/// Which half of the paper a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Draws in K network calls.
    Teacher,
    /// Draws in one: x_0 = x_T - network(x_T, T - 1).
    Student,
}

named!(Role { "teacher" => Teacher, "student" => Student });

/// What the network's output stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise eps.
    Epsilon,
    /// The image x_0 itself.
    Sample,
    /// v = sqrt(alpha) eps - sqrt(1 - alpha) x_0.
    V,
    /// eps - x_0: the way from the image to the noise, as rectified flows have it. diffusers has no word for it on this process.
    Flow,
}

named!(Prediction { "epsilon" => Epsilon, "sample" => Sample, "v_prediction" => V, "flow" => Flow });

/// How a student's raw output becomes x_0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StudentOutput {
    /// x_0 = x_T - raw: the paper's form.
    XMinus,
    /// x_0 by the prediction type: raw (sample), sqrt(a) x_T - sqrt(1 - a) raw (v), (x_T - sqrt(1 - a) raw) / sqrt(a) (epsilon).
    X0,
}

named!(StudentOutput { "x_minus" => XMinus, "x0" => X0 });

/// Where a scheduler puts its timesteps when it is given a number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// i * (T / K) + steps_offset.
    Leading,
    /// round(T - i T / K) - 1.
    Trailing,
    /// floor(linspace(0, sqrt(0.8 T), K)^2): the paper's for CIFAR-10 and CelebA.
    Quadratic,
    /// round(linspace(0, T - 1, K)).
    Linspace,
}

named!(Spacing {
    "leading" => Leading,
    "trailing" => Trailing,
    "quadratic" => Quadratic,
    "linspace" => Linspace,
});

/// The diffusion process: noise levels, prediction type, and how its samplers behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// beta_t of every training timestep, t = 0 first.
    pub betas: Vec<f32>,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The bound to which the estimate of x_0 is clamped at each step, if it is.
    pub clip: Option<f32>,
    /// Whether the step after the last goes to alpha = 1 rather than to `alphas_cumprod[0]`.
    pub set_alpha_to_one: bool,
    /// Added to leading timesteps.
    pub steps_offset: u32,
    /// The file's own spacing.
    pub spacing: Spacing,
    /// How much noise DDPM's steps add.
    pub variance: Variance,
    /// Where the estimate of x_0 is clamped, that of the noise follows it, as in guided-diffusion's DDIM
    /// (`use_clipped_model_output`); else it stays as the network has it.
    pub clip_noise: bool,
    /// The network is told t 1000 / T, which need not be whole (improved-diffusion's 4,000 timesteps).
    pub rescale_timesteps: bool,
}

/// The variance of DDPM's steps (Ho et al. 2020; Nichol & Dhariwal 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// The posterior's.
    FixedSmall,
    /// beta.
    FixedLarge,
    /// Between both, at each value where the network says, in a second half of its output channels.
    LearnedRange,
}

named!(Variance {
    "fixed_small" => FixedSmall,
    "fixed_small_log" => FixedSmall,
    "fixed_large" => FixedLarge,
    "learned_range" => LearnedRange,
});

/// How images of one level become those of the next, half as large on the way down, twice on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// A convolution: of stride 2, or after doubling.
    Conv,
    /// A residual block that averages each 2x2 pixels, or doubles each, in front of its first convolution.
    Resnet,
}

named!(Resample { "conv" => Conv, "resnet" => Resnet });

/// Which of a level's residual blocks attention follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelAttention {
    /// None of them.
    None,
    /// Each.
    Each,
    /// The last alone.
    Last,
}

named!(LevelAttention { "none" => None, "each" => Each, "last" => Last });

/// A level of the U-Net, on the way down or on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Which of its residual blocks attention follows.
    pub attention: LevelAttention,
    /// How its images go on to the next level; of no meaning where it is the last.
    pub resample: Resample,
}

impl Level {
    /// Whether attention follows residual block `layer` of `layers`.
    pub fn attends(&self, layer: usize, layers: usize) -> bool {
        match self.attention {
            LevelAttention::None => false,
            LevelAttention::Each => true,
            LevelAttention::Last => layer + 1 == layers,
        }
    }
}

/// How attention shares its channels out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// So many heads, whatever their width.
    Count(usize),
    /// Heads of so many channels.
    Width(usize),
}

impl Heads {
    /// How many there are over `channels`.
    pub fn of(self, channels: usize) -> usize {
        match self {
            Heads::Count(count) => count,
            Heads::Width(width) => channels / width,
        }
    }
}

/// The U-Net's shape, in diffusers' terms (`UNet2DModel`).
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Height and width of an image.
    pub size: (usize, usize),
    /// Channels of an image.
    pub channels: usize,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// The levels on the way down, finest first.
    pub down: Vec<Level>,
    /// The levels on the way up, coarsest first.
    pub up: Vec<Level>,
    /// Attention in the middle block.
    pub mid_attention: bool,
    /// Heads of every attention.
    pub heads: Heads,
    /// Groups of every norm, where `norm_min_channels` allows as many.
    pub norm_num_groups: usize,
    /// Channels that a group has at least.
    pub norm_min_channels: usize,
    /// Groups of the middle attention's norm, where they differ.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every norm.
    pub norm_eps: f32,
    /// The middle block divides its sums, residual connections and attention's alike, by this.
    pub mid_block_scale_factor: f32,
    /// And all other blocks theirs by this.
    pub output_scale_factor: f32,
    /// The residual of blocks that resample passes a 1x1 convolution as well.
    pub resample_projection: bool,
    /// Stride-2 convolutions pad all sides rather than right and bottom alone.
    pub symmetric_downsample: bool,
    /// The nonlinearity of residual blocks.
    pub activation: Activation,
    /// The state x enters as 2x - 1.
    pub center_input_sample: bool,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the time embedding's frequencies.
    pub freq_shift: f32,
    /// Width of the time's sinusoid.
    pub time_proj_channels: usize,
    /// Width of the time embedding after its first layer.
    pub time_embedding_dim: usize,
    /// Time enters as scale and shift rather than as a bias.
    pub scale_shift: bool,
    /// Classes, if the network is conditional.
    pub num_classes: Option<usize>,
    /// One label more, behind those of the classes, stands for none: the network was taught without labels too, so it can be
    /// guided (Ho and Salimans 2022).
    pub null_class: bool,
    /// What a class's row is added to.
    pub class_use: ClassUse,
    /// A second half of the output channels says where DDPM's variance lies.
    pub learned_variance: bool,
    /// Dropout rate in training.
    pub dropout: f32,
}

/// DDPM's for CIFAR-10 (Ho et al. 2020).
impl Default for Network {
    fn default() -> Self {
        let level = |attends| Level {
            attention: if attends { LevelAttention::Each } else { LevelAttention::None },
            resample: Resample::Conv,
        };
        Self {
            size: (32, 32),
            channels: 3,
            block_out_channels: vec![128, 256, 256, 256],
            layers_per_block: 2,
            down: [false, true, false, false].map(level).into(),
            up: [false, false, true, false].map(level).into(),
            mid_attention: true,
            heads: Heads::Count(1),
            norm_num_groups: 32,
            norm_min_channels: 1,
            attn_norm_num_groups: None,
            norm_eps: 1e-6,
            mid_block_scale_factor: 1.0,
            output_scale_factor: 1.0,
            resample_projection: false,
            symmetric_downsample: false,
            activation: Activation::Silu,
            center_input_sample: false,
            flip_sin_to_cos: false,
            freq_shift: 1.0,
            time_proj_channels: 128,
            time_embedding_dim: 512,
            scale_shift: false,
            num_classes: None,
            null_class: false,
            class_use: ClassUse::Embedding,
            learned_variance: false,
            dropout: 0.0,
        }
    }
}

impl Network {
    /// Channels, height and width of an image.
    pub fn image(&self) -> [usize; 3] {
        [self.channels, self.size.0, self.size.1]
    }

    /// How many labels there are: those of the classes, and the one that stands for none.
    pub fn labels(&self) -> Option<usize> {
        self.num_classes.map(|classes| classes + usize::from(self.null_class))
    }

    /// The label that stands for none, if one does.
    pub fn null_label(&self) -> Option<i32> {
        self.num_classes.filter(|_| self.null_class).map(|classes| classes as i32)
    }

    /// Groups of a norm of so many channels.
    pub fn norm_groups(&self, channels: usize) -> usize {
        self.norm_num_groups.min(channels / self.norm_min_channels)
    }
}

/// Everything about a model but its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The network.
    pub network: Network,
    /// What becomes of its predictions.
    pub generator: Generator,
}
