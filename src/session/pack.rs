//! Models that are prepared once, and kept so in a file.

use super::{Info, Model};
use crate::device::{self, Place};
use crate::error::{Error, Result};
use crate::names::Named;
use crate::options::{ExecutorKind, MemoryMode, Options, Precision};
use crate::weights::{self, Checkpoint, PackedFor};
use crate::{cpu_features, engine};
use std::path::Path;

impl Model {
    /// Prepares the model at `source` for the CPU, and writes its weights, as they are then, to a packed file at `out`:
    /// [`Model::open`] reads that in place of transforming them. It has up to 2.4 times the bytes of 32-bit weights
    /// ([`MemoryMode::Fast`]), opens where the processor has the instruction set that it was packed for, and is good for nothing
    /// but drawing. The options say which instruction set, precision and memory mode it is for.
    ///
    /// # Errors
    /// Those of opening; INVALID_ARGUMENT for another executor than the CPU's own; IO. Nothing is left where it fails.
    pub fn pack(source: impl AsRef<Path>, out: impl AsRef<Path>, options: &Options) -> Result<Info> {
        let checkpoint = weights::open(source.as_ref(), options.limits.file_bytes)?;
        let config = checkpoint.config(options.role)?;
        options.limits.check(checkpoint.name(), &config, checkpoint.parameters())?;
        let made_for = made_for(options)?;
        let description = checkpoint.description().with_role(options.role);
        let watch = weights::Watch { progress: options.progress.as_ref(), cancel: options.cancel.as_ref() };
        weights::write_packed(&checkpoint, out.as_ref(), &description, made_for, watch, |params| {
            engine::prepare(Place::Cpu, options, &config.network, params).map(drop)
        })?;
        let packed = weights::open_to_draw(out.as_ref(), u64::MAX, false)?;
        Ok(Info::new(&packed, config, Place::Cpu, made_for.precision, options.executor))
    }
}

/// Whose weights are made with these options.
fn made_for(options: &Options) -> Result<PackedFor> {
    if !matches!(device::parse(&options.device)?, None | Some(Place::Cpu)) {
        let message = format!("{}, but weights are packed for the CPU alone", options.device);
        return Err(Error::argument("device", message));
    }
    if options.executor != ExecutorKind::Fast {
        return Err(Error::argument("executor", "reference, but weights are packed for the fast one alone"));
    }
    if options.memory == MemoryMode::Map {
        return Err(Error::argument(
            "memory",
            "map, which is for opening; files are packed with fast or low",
        ));
    }
    let precision = if options.precision == Precision::Auto { Precision::F32 } else { options.precision };
    let isa = options.isa.unwrap_or_else(cpu_features::isa);
    Ok(PackedFor { isa, precision, memory: options.memory })
}

/// The options to open a checkpoint with: of a packed one, those that it was packed with, as far as nothing else was asked for.
pub(super) fn options_for(checkpoint: &Checkpoint, options: &Options) -> Result<Options> {
    let Some(made_for) = checkpoint.packed_for() else { return Ok(options.clone()) };
    let other = |argument: &'static str, asked: &str| {
        let message = format!("{asked}, but {} is packed for {}", checkpoint.name(), made_for.words());
        Err(Error::argument(argument, message))
    };
    if !matches!(device::parse(&options.device)?, None | Some(Place::Cpu)) {
        return other("device", &options.device);
    }
    if options.executor != ExecutorKind::Fast {
        return other("executor", options.executor.name());
    }
    if options.precision != Precision::Auto && options.precision != made_for.precision {
        return other("precision", options.precision.name());
    }
    if options.memory == MemoryMode::Low && made_for.memory != MemoryMode::Low {
        return other("memory", options.memory.name());
    }
    if options.isa.is_some_and(|isa| isa != made_for.isa) {
        return other("isa", options.isa.map_or("", Named::name));
    }
    Ok(Options {
        device: Place::Cpu.id(),
        precision: made_for.precision,
        memory: made_for.memory,
        isa: Some(made_for.isa),
        ..options.clone()
    })
}
