//! Tensors of other libraries' files on their way to diffusers' names and shapes.

use super::Description;
use super::plain::Tensors;
use super::stored::Stored;
use crate::error::{Error, Result};

/// Where the rows of q, k and v lie in one tensor of all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qkv {
    /// All of q, all of k, all of v.
    Parts,
    /// q, k and v of the first of so many heads, then of the next.
    Heads(usize),
    /// A row of q, one of k, one of v.
    Rows,
}

/// A file of another library's, as this one calls it.
pub struct Understood {
    /// The model.
    pub description: Description,
    /// Its tensors.
    pub tensors: Tensors,
    /// Values that had to be computed of the file's: source number 1 of the tensors, as f32.
    pub computed: Option<Vec<u8>>,
}

/// A file's tensors, as what their shapes tell.
#[derive(Clone, Copy)]
pub struct Shapes<'a>(pub &'a Tensors);

impl<'a> Shapes<'a> {
    /// The shape of a tensor.
    pub fn shape(self, name: &str) -> Option<&'a [usize]> {
        self.0.get(name).map(|stored| &stored.shape[..])
    }

    /// Whether there is a layer of this name.
    pub fn has(self, layer: &str) -> bool {
        self.0.contains_key(&format!("{layer}.weight"))
    }
}

/// See the module.
pub struct Renaming {
    file: String,
    /// Under their own names.
    left: Tensors,
    /// Under diffusers'.
    named: Tensors,
}

impl Renaming {
    /// Of a file's tensors.
    pub fn new(file: &str, tensors: Tensors) -> Self {
        let origin = |(name, stored): (String, Stored)| {
            let origin = stored.origin.clone().unwrap_or_else(|| name.clone());
            (name, stored.called(origin))
        };
        let left = tensors.into_iter().map(origin).collect();
        Self { file: file.to_owned(), left, named: Tensors::new() }
    }

    /// A tensor that the configuration has.
    pub fn take(&mut self, name: &str) -> Result<Stored> {
        self.left.remove(name).ok_or_else(|| {
            Error::bad_model(&self.file, format!("no tensor {name}, which this configuration has"))
        })
    }

    /// Leaves out all tensors of which `unneeded` says so.
    pub fn drop(&mut self, unneeded: impl Fn(&str) -> bool) {
        self.left.retain(|name, _| !unneeded(name));
    }

    /// A tensor under diffusers' name.
    pub fn put(&mut self, name: &str, stored: Stored) {
        self.named.insert(name.to_owned(), stored);
    }

    /// A layer's weight and bias, as diffusers calls them.
    pub fn layer(&mut self, from: &str, to: &str) -> Result<()> {
        for part in ["weight", "bias"] {
            let mut stored = self.take(&format!("{from}.{part}"))?;
            // A 1x1 convolution along a line of pixels.
            if let [c_out, c_in, 1] = stored.shape[..] {
                stored.shape = vec![c_out, c_in];
            }
            self.put(&format!("{to}.{part}"), stored);
        }
        Ok(())
    }

    /// Several of a block's layers.
    pub fn layers(&mut self, from: &str, to: &str, names: &[(&str, &str)]) -> Result<()> {
        names.iter().try_for_each(|(old, new)| self.layer(&format!("{from}.{old}"), &format!("{to}.{new}")))
    }

    /// A residual block, whose layers are called so: first norm, first convolution, time, second norm, second convolution, and the
    /// shortcut, if it has one.
    pub fn resnet(&mut self, from: &str, to: &str, names: &[&str; 6]) -> Result<()> {
        let ours = ["norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut"];
        let shortcut = self.left.contains_key(&format!("{from}.{}.weight", names[5]));
        let count = if shortcut { 6 } else { 5 };
        names.iter().zip(ours).take(count).try_for_each(|(old, new)| self.layers(from, to, &[(old, new)]))
    }

    /// Query, key and value of the attention `to`, from one layer of all three.
    pub fn qkv(&mut self, from: &str, to: &str, order: impl Fn(usize) -> Qkv) -> Result<()> {
        for part in ["weight", "bias"] {
            let name = format!("{from}.{part}");
            let all = self.take(&name)?;
            let channels = all.shape.first().map_or(0, |rows| rows / 3);
            let square = match (part, &all.shape[..]) {
                ("weight", [rows, c_in] | [rows, c_in, 1] | [rows, c_in, 1, 1]) => {
                    *rows == 3 * channels && *c_in == channels
                }
                ("bias", [rows]) => *rows == 3 * channels,
                _ => false,
            };
            let order = order(channels);
            let fits = !matches!(order, Qkv::Heads(heads) if heads == 0 || !channels.is_multiple_of(heads));
            if !square || channels == 0 || !fits {
                let message = format!("tensor {name} has shape {:?}, no attention's q, k and v", all.shape);
                return Err(Error::bad_model(&self.file, message));
            }
            for (i, letter) in ["q", "k", "v"].into_iter().enumerate() {
                let (first, blocks) = match order {
                    Qkv::Parts => (i * channels, (1, channels, channels)),
                    Qkv::Heads(heads) => {
                        let width = channels / heads;
                        (i * width, (heads, width, 3 * width))
                    }
                    Qkv::Rows => (i, (channels, 1, 3)),
                };
                let mut stored = all.rows(first, blocks).ok_or_else(|| {
                    Error::bad_model(&self.file, format!("tensor {name} lies in an order that has no rows"))
                })?;
                stored.shape.truncate(if part == "weight" { 2 } else { 1 });
                self.put(&format!("{to}.to_{letter}.{part}"), stored);
            }
        }
        Ok(())
    }

    /// All tensors, those that nobody asked for under their own names: whoever opens the model says that they are too many.
    pub fn finish(mut self) -> Tensors {
        self.named.append(&mut self.left);
        self.named
    }
}
