//! The processor's floating-point mode: rounding, and what becomes of numbers near zero. Rust's arithmetic, and the bits that this
//! library promises, are those of the default mode; a host may have set another, as games do.
#![allow(unsafe_code)]

/// The default mode on this thread until it is dropped, which gives back the one that was found, its flags included.
pub struct FloatMode {
    found: Mode,
}

impl FloatMode {
    /// Sets the default mode.
    pub fn default_until_dropped() -> Self {
        let found = read();
        if found != DEFAULT {
            write(DEFAULT);
        }
        Self { found }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        write(self.found);
    }
}

#[cfg(target_arch = "x86_64")]
use x86_64::{DEFAULT, Mode, read, write};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    pub type Mode = u32;
    /// Round to nearest, keep denormals, no exception traps, no flag set.
    pub const DEFAULT: Mode = 0x1F80;

    pub fn read() -> Mode {
        let mut mode = 0;
        // SAFETY: writes MXCSR to the four bytes of `mode`.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
        mode
    }

    pub fn write(mode: Mode) {
        // SAFETY: reads MXCSR from the four bytes of `mode`, which `read` gave or which is the default.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags))
        };
    }
}

#[cfg(target_arch = "aarch64")]
use aarch64::{DEFAULT, Mode, read, write};

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    pub type Mode = u64;
    /// Round to nearest, keep denormals, no exception traps.
    pub const DEFAULT: Mode = 0;

    pub fn read() -> Mode {
        let mode;
        // SAFETY: reads FPCR.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
        mode
    }

    pub fn write(mode: Mode) {
        // SAFETY: writes FPCR, with what `read` gave or with the default.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use other::{DEFAULT, Mode, read, write};

/// Other processors' modes are left alone.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod other {
    pub type Mode = ();
    pub const DEFAULT: Mode = ();
    pub fn read() -> Mode {}
    pub fn write((): Mode) {}
}
