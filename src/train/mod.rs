//! Training: teachers from images, students from teachers.

mod course;
mod distill;
mod draw;
mod folder;
mod halving;
mod images;
mod initial;
mod learner;
mod lpips;
mod optim;
mod pairs;
mod paper;
mod random;
mod recipe;
mod shard;
mod source;
mod state;
mod stored;
mod student;
mod teacher;

pub use course::{Course, Event, Habits, Lesson, MODEL, Outcome, Watch, run};
pub use distill::{DistillRun, ImagesFrom, PairsFrom};
pub use draw::{Drawn, Teacher};
pub use folder::{Folder, Line, SETTINGS, read_log};
pub use halving::{Round, rounds};
pub use images::Images;
pub use learner::{Batch, Learner};
pub use lpips::Lpips;
pub use optim::{Adam, AdamForm, AdamOptions, Rate, average, clip_factor, norm};
pub use pairs::{Manifest, PairsProgress, PairsRun};
pub use recipe::{DistillSettings, Loss, Reduction};
pub use shard::PixelType;
pub use state::{Best, CHECKPOINT, State};
pub use stored::{Pairs, Task};
pub use teacher::{TeacherRun, TeacherSettings};
