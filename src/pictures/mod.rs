//! Image files: PNG, JPEG and WebP, and folders and archives of them.

#[cfg(feature = "train")]
mod fitted;
mod listed;
mod picture;

pub use listed::Listed;
pub use picture::Picture;
#[cfg(feature = "metrics")]
pub use picture::grey;
#[cfg(test)]
pub use picture::testing;
