//! What a network is: the configuration of a U-Net and of the diffusion process it was trained for.

use super::Generator;
use crate::exec::Activation;
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
}

named!(Prediction { "epsilon" => Epsilon, "sample" => Sample, "v_prediction" => V });

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
    /// DDPM's variance: false is `fixed_small` (the posterior's), true `fixed_large` (beta).
    pub fixed_large: bool,
}

/// How images of one level become those of the next, half as large on the way down, twice on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// A convolution: of stride 2, or after doubling.
    Conv,
    /// A residual block that averages each 2x2 pixels, or doubles each, in front of its first convolution.
    Resnet,
}

named!(Resample { "conv" => Conv, "resnet" => Resnet });

/// A level of the U-Net, on the way down or on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whether attention follows each of its residual blocks.
    pub attention: bool,
    /// How its images go on to the next level; of no meaning where it is the last.
    pub resample: Resample,
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
    /// Channels a head; none means one head.
    pub attention_head_dim: Option<usize>,
    /// Groups of every norm.
    pub norm_num_groups: usize,
    /// Groups of the middle attention's norm, where they differ.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every norm.
    pub norm_eps: f32,
    /// The middle block divides its sums by this.
    pub mid_block_scale_factor: f32,
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
    /// Width of the time embedding after its first layer.
    pub time_embedding_dim: usize,
    /// Time enters as scale and shift rather than as a bias.
    pub scale_shift: bool,
    /// Classes, if the network is conditional.
    pub num_classes: Option<usize>,
    /// Dropout rate in training.
    pub dropout: f32,
}

impl Network {
    /// Channels, height and width of an image.
    pub fn image(&self) -> [usize; 3] {
        [self.channels, self.size.0, self.size.1]
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
