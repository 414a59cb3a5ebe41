//! The network: its configuration, and its one definition, generic over an executor.

mod config;
mod schedule;

pub use config::{Config, Network, Prediction, Role, Schedule, Spacing, StudentOutput};
