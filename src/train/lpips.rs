//! LPIPS (Zhang et al. 2018), a distance between images as people see it: how far apart the features are that a network
//! for classification finds in them. The network's weights are the user's; none come with this library.

#[cfg(not(feature = "candle"))]
mod absent;
#[cfg(feature = "candle")]
mod network;

#[cfg(not(feature = "candle"))]
use absent::Network;
#[cfg(feature = "candle")]
use network::Network;

use crate::error::{Error, Result};
use std::path::Path;

/// Pixels that pass through the network at a time. The first layers keep some 64 floats a pixel each.
const PIXELS: usize = 1 << 16;

/// The distance, with the weights of one network.
///
/// d(x, y) = sum over layers l of the mean over pixels of sum over channels c of w_lc (f_lc(x) - f_lc(y))^2, where f_l(x)
/// are the activations of layer l, divided at each pixel by their norm over channels. Where some activations of a pooled
/// window are equal, they share its gradient.
pub struct Lpips {
    network: Network,
}

impl Lpips {
    /// Reads a network, VGG16 or AlexNet, as the Python package `lpips` holds it:
    /// `torch.save(lpips.LPIPS(net="vgg").state_dict(), "lpips.pth")`, or the same tensors as `.safetensors`. Which network
    /// it is, the shape of `net.slice1.0.weight` tells.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is damaged, or a tensor that is missing or of another shape; UNSUPPORTED_MODEL for a
    /// tensor of whole numbers; OUT_OF_MEMORY; NOT_BUILT without the feature `candle`.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { network: Network::open(path)? })
    }

    /// `vgg` or `alex`.
    pub fn network(&self) -> &'static str {
        self.network.name()
    }

    /// A checksum of the weights as 32-bit floats, whatever file they are in.
    pub fn crc32(&self) -> u32 {
        self.network.crc32()
    }

    /// Whether images of this shape, (channels, height, width), can be compared.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where there are neither 1 nor 3 channels, or where nothing is left of the image after pooling.
    pub fn check(&self, [channels, height, width]: [usize; 3]) -> Result<()> {
        if channels != 1 && channels != 3 {
            let message = format!("images have {channels} channels; LPIPS compares grey (1) and RGB (3)");
            return Err(Error::argument("lpips", message));
        }
        let least = self.network.least_side();
        if height.min(width) < least {
            let message = format!(
                "images have {height} x {width} pixels; the network {} needs {least} x {least} at least",
                self.network()
            );
            return Err(Error::argument("lpips", message));
        }
        Ok(())
    }

    /// The distance between images and targets, both in [-1, 1] and of `shape`, (images, channels, height, width): the mean
    /// over images. Its gradient with respect to the images goes into `gradient`, of the same shape. Grey is taken as RGB of
    /// three equal channels.
    ///
    /// The bits depend neither on the threads nor on what was asked before. Work is done on the threads of `rayon`, which
    /// the environment variable `RAYON_NUM_THREADS` limits.
    ///
    /// # Errors
    /// Those of [`Self::check`]; INVALID_ARGUMENT for no images, or arrays that are not of the shape; OUT_OF_MEMORY.
    pub fn loss_and_gradient(
        &self,
        images: &[f32],
        targets: &[f32],
        shape: [usize; 4],
        mut gradient: Option<&mut [f32]>,
    ) -> Result<f64> {
        let [n, c, h, w] = shape;
        self.check([c, h, w])?;
        let len = c * h * w;
        let lens = [images.len(), targets.len(), gradient.as_ref().map_or(images.len(), |g| g.len())];
        if n == 0 || lens != [n * len; 3] {
            let message = format!("{lens:?} floats of images, targets and gradient; {shape:?} expected");
            return Err(Error::argument("lpips", message));
        }
        let part = (PIXELS / (h * w)).max(1);
        let mut loss = 0.0;
        for first in (0..n).step_by(part) {
            let part = part.min(n - first);
            let range = first * len..(first + part) * len;
            let gradient = gradient.as_mut().map(|gradient| &mut gradient[range.clone()]);
            loss += self.network.sum(&images[range.clone()], &targets[range], [part, c, h, w], gradient)?;
        }
        if let Some(gradient) = gradient {
            gradient.iter_mut().for_each(|value| *value /= n as f32);
        }
        Ok(loss / n as f64)
    }
}
