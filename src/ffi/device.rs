//! The machine's devices.

use super::error::onestep_error;
use super::guard::guard;
use super::library::out_value;
use super::types::{copy_text, onestep_device_info, write_struct};
use crate::error::Error;

/// How many devices this build can use on this machine; the CPU is always one of them.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_device_count(count: *mut u32, err: *mut onestep_error) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `count` is writable.
        *unsafe { out_value(count, "count") }? = crate::devices().len() as u32;
        Ok(())
    })
}

/// Device number `index`, from 0.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_device_get(
    index: u32,
    info: *mut onestep_device_info,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        let devices = crate::devices();
        let device = devices.get(index as usize).ok_or_else(|| {
            Error::argument("index", format!("{index}; this machine has devices 0 to {}", devices.len() - 1))
        })?;
        let mut value = onestep_device_info {
            struct_size: 0,
            kind: device.kind,
            index: device.index,
            flags: 0,
            memory_total: device.memory_total,
            memory_free: device.memory_free,
            id: [0; 32],
            name: [0; 128],
        };
        copy_text(&mut value.id, &device.id);
        copy_text(&mut value.name, &device.name);
        // SAFETY: the header says that `info` points to `struct_size` writable bytes.
        unsafe { write_struct(info, &value, "info") }
    })
}
