//! Training: teachers from images, students from teachers.

mod learner;
mod optim;

pub use learner::{Batch, Learner};
pub use optim::{Adam, AdamForm, AdamOptions, Rate, average, clip_factor, norm};
