//! What this processor can do, detected once. `ONESTEP_ISA` chooses among that.
#![allow(unsafe_code)]

use crate::names::{Named, named};
use std::sync::OnceLock;

/// Instruction sets that the kernels are written for, weakest first on each architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, whatever the target's baseline makes of it.
    Portable,
    /// NEON, which every aarch64 processor has.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same and BF16, whose products of pairs are used for bf16 operands.
    Avx512Bf16,
}

named!(Isa {
    "portable" => Portable, "neon" => Neon, "avx2" => Avx2, "avx512" => Avx512, "avx512bf16" => Avx512Bf16,
});

impl Isa {
    /// Every level that this processor has, weakest first; `ONESTEP_ISA` does not matter here.
    pub fn available() -> impl Iterator<Item = Isa> {
        LEVELS.iter().copied().filter(|&isa| isa <= detected())
    }
}

/// The levels of this architecture, weakest first.
#[cfg(target_arch = "x86_64")]
const LEVELS: &[Isa] = &[Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];
#[cfg(target_arch = "aarch64")]
const LEVELS: &[Isa] = &[Isa::Portable, Isa::Neon];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const LEVELS: &[Isa] = &[Isa::Portable];

/// The level to use: the fastest of this processor, or what `ONESTEP_ISA` = `portable`, `neon`, `avx2`, `avx512` or
/// `avx512bf16` asks for. A level that the processor lacks, or an unknown word, changes nothing.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN
        .get_or_init(|| chosen(detected(), fastest(detected()), std::env::var("ONESTEP_ISA").ok().as_deref()))
}

/// The level chosen and, where that is another one, what the processor has: for `onestep devices`.
pub fn names() -> String {
    let (chosen, detected) = (isa(), detected());
    if chosen == detected {
        chosen.name().to_owned()
    } else {
        format!("{} (the processor has {})", chosen.name(), detected.name())
    }
}

/// Threads that this process may use: its affinity mask and its cgroup's share of processor time, at least 1.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}

/// As many threads as were asked for; 0 asks for all that this process may use.
pub fn threads(wanted: u32) -> usize {
    if wanted == 0 { available_threads() } else { wanted as usize }
}

/// Runs `f` compiled for `isa` (or the best level below it that this processor has), so that the compiler may
/// vectorise it with that level's registers. What `f` calls must be `#[inline(always)]` to profit.
#[inline]
pub fn vectorize<R>(isa: Isa, f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        match isa.min(detected()) {
            // SAFETY: `detected` found these features on this processor.
            Isa::Avx512 | Isa::Avx512Bf16 => return unsafe { avx512(f) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(f) },
            Isa::Portable | Isa::Neon => {}
        }
    }
    // NEON is in aarch64's baseline: all code is compiled for it.
    let _ = isa;
    f()
}

/// What the processor has, whatever the environment says.
pub(crate) fn detected() -> Isa {
    static DETECTED: OnceLock<Isa> = OnceLock::new();
    *DETECTED.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512, is_x86_feature_detected!("avx512bf16")) {
        (true, true, true) => Isa::Avx512Bf16,
        (true, true, false) => Isa::Avx512,
        (true, false, _) => Isa::Avx2,
        _ => Isa::Portable,
    }
}

/// Bytes of a core's second cache, between 256 KiB and 2 MiB. Results never depend on it.
pub(crate) fn second_cache() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| second_cache_found().unwrap_or(1 << 20).clamp(256 << 10, 2 << 20))
}

/// As CPUID describes the caches: Intel's by leaf 4, AMD's by one of the same form.
#[cfg(target_arch = "x86_64")]
fn second_cache_found() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const AMD: u32 = 0x8000_001D;
    let leaf = if vendor_is_amd() { AMD } else { 4 };
    if __cpuid(leaf & 0x8000_0000).eax < leaf {
        return None;
    }
    // Each describes one cache; the first of no kind is the end.
    let caches = (0..8).map(|index| __cpuid_count(leaf, index)).take_while(|cache| cache.eax & 31 != 0);
    let second = caches.into_iter().find(|cache| cache.eax >> 5 & 7 == 2)?;
    let [ways, partitions, line] = [second.ebx >> 22, second.ebx >> 12 & 1023, second.ebx & 4095];
    let sizes = [ways, partitions, line, second.ecx].map(|less_one| less_one as usize + 1);
    Some(sizes.iter().product())
}

#[cfg(not(target_arch = "x86_64"))]
fn second_cache_found() -> Option<usize> {
    None
}

#[cfg(target_arch = "x86_64")]
fn vendor_is_amd() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

/// Products of bf16 pairs pay on AMD's processors, where they are twice as fast as two of floats. On an Intel Xeon
/// (family 6, model 207) they were measured at half the speed.
#[cfg(target_arch = "x86_64")]
fn fastest(detected: Isa) -> Isa {
    if vendor_is_amd() { detected } else { detected.min(Isa::Avx512) }
}

#[cfg(not(target_arch = "x86_64"))]
fn fastest(detected: Isa) -> Isa {
    detected
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    LEVELS[LEVELS.len() - 1]
}

fn chosen(detected: Isa, fastest: Isa, wanted: Option<&str>) -> Isa {
    let wanted = LEVELS.iter().find(|isa| Some(isa.name()) == wanted);
    wanted.map_or(fastest, |&isa| if isa <= detected { isa } else { fastest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_environment_chooses_among_what_the_processor_has() {
        assert_eq!(chosen(Isa::Avx512, Isa::Avx512, Some("avx2")), Isa::Avx2);
        assert_eq!(chosen(Isa::Avx512, Isa::Avx512, Some("portable")), Isa::Portable);
        assert_eq!(chosen(Isa::Avx2, Isa::Avx2, Some("avx512")), Isa::Avx2);
        assert_eq!(chosen(Isa::Avx2, Isa::Avx2, Some("neon")), Isa::Avx2);
        assert_eq!(chosen(Isa::Avx2, Isa::Avx2, Some("quantum")), Isa::Avx2);
        assert_eq!(chosen(Isa::Avx512Bf16, Isa::Avx512, None), Isa::Avx512);
        assert_eq!(chosen(Isa::Avx512Bf16, Isa::Avx512, Some("avx512bf16")), Isa::Avx512Bf16);
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn neon_is_always_there_and_the_environment_lowers_it() {
        assert_eq!(detected(), Isa::Neon);
        assert_eq!(chosen(Isa::Neon, Isa::Neon, Some("portable")), Isa::Portable);
        assert_eq!(chosen(Isa::Neon, Isa::Neon, Some("avx2")), Isa::Neon);
        assert_eq!(chosen(Isa::Neon, Isa::Neon, None), Isa::Neon);
    }

    #[test]
    fn vectorize_runs_the_closure_once_at_every_level() {
        for isa in [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16] {
            let mut values = [1.0f32; 37];
            vectorize(isa, || values.iter_mut().for_each(|v| *v *= 2.0));
            assert_eq!(values, [2.0; 37]);
        }
        assert!(available_threads() >= 1);
        assert!(names().starts_with(isa().name()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_second_cache_is_as_large_as_the_kernel_says() {
        let said =
            std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size").unwrap_or_default();
        if let Some(kibibytes) = said.trim().strip_suffix('K').and_then(|size| size.parse::<usize>().ok())
            && cfg!(target_arch = "x86_64")
        {
            assert_eq!(second_cache(), (kibibytes << 10).clamp(256 << 10, 2 << 20));
        }
    }
}
