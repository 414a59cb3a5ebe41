//! Training: teachers from images, students from teachers; by one process or by several ([`Group`]).

mod course;
mod distill;
mod folder;
mod group;
mod images;
mod initial;
mod learner;
mod optim;
mod pairs;
mod random;
mod recipe;
mod shard;
mod source;
mod state;
mod teacher;

pub use course::{Course, Event, Habits, Lesson, MODEL, Outcome, Watch, run};
pub use distill::{DistillRun, PairsFrom};
pub use folder::{Folder, Line, SETTINGS, read_log};
pub use group::Group;
pub use images::Images;
pub use learner::{Batch, Learner};
pub use optim::{Adam, AdamForm, AdamOptions, Rate, average, clip_factor, norm};
pub use pairs::{Drawn, Manifest, Pairs, PairsProgress, PairsRun, Teacher};
pub use recipe::{DistillSettings, Loss, Reduction};
pub use shard::PixelType;
pub use state::{Best, CHECKPOINT, State};
pub use teacher::{TeacherRun, TeacherSettings};
