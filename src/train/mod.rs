//! Training: teachers from images, students from teachers.

mod course;
mod folder;
mod images;
mod initial;
mod learner;
mod optim;
mod random;
mod state;
mod teacher;

pub use course::{Course, Event, Habits, Lesson, MODEL, Outcome, Watch, run};
pub use folder::{Folder, Line, read_log};
pub use images::Images;
pub use learner::{Batch, Learner};
pub use optim::{Adam, AdamForm, AdamOptions, Rate, average, clip_factor, norm};
pub use state::{Best, CHECKPOINT, State};
pub use teacher::{TeacherRun, TeacherSettings};
