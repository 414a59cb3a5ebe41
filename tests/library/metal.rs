//! The kernel for Metal, `src/exec/candle/norm.metal`, compiled as C++ and compared with plain f64 arithmetic: what can
//! be seen of it without an Apple GPU. `tests/metal` has the words of Metal's language, for a C++ compiler.

#![cfg(target_os = "linux")]

use half::f16;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const KERNEL: &str = include_str!("../../src/exec/candle/norm.metal");

/// A linear congruential generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }
    /// Uniform, of this mean and deviation.
    fn values(&mut self, count: usize, mean: f32, deviation: f32) -> Vec<f32> {
        let mut value = || (self.next() as f32 / (1u64 << 30) as f32 - 1.0) * 3f32.sqrt();
        (0..count).map(|_| mean + deviation * value()).collect()
    }
}

#[derive(Debug)]
struct Case {
    half: bool,
    images: usize,
    channels: usize,
    groups: usize,
    pixels: usize,
    eps: f32,
    scale_shift: bool,
    silu: bool,
    /// Threads of a threadgroup.
    width: usize,
    mean: f32,
    deviation: f32,
    seed: u64,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        random.next();
        let channels = 1 + random.next() as usize % 33;
        let divisors: Vec<usize> = (1..=channels).filter(|groups| channels.is_multiple_of(*groups)).collect();
        let groups = random.one_of(&divisors);
        let pixels = random.one_of(&[1, 2, 3, 9, 35, 49, 63, 64, 121, 225]);
        let threads = (channels / groups * pixels).div_ceil(random.one_of(&[1, 4, 16]));
        Self {
            half: random.next() & 8 == 0,
            images: random.one_of(&[1, 2, 3]),
            channels,
            groups,
            pixels,
            eps: random.one_of(&[1e-5, 1e-6]),
            scale_shift: random.next() & 8 == 0,
            silu: random.next() & 8 == 0,
            width: threads.next_power_of_two().clamp(32, 1024),
            mean: random.one_of(&[0.0, 0.5, -3.0]),
            deviation: random.one_of(&[0.1, 1.0, 20.0]),
            seed,
        }
    }

    /// Mean 1000, deviation 1: squares whose sum keeps nothing of the variance in f32.
    fn far_from_zero(half: bool) -> Self {
        let (mean, deviation, eps, seed) = (1000.0, 1.0, 1e-5, 5);
        let (images, channels, groups, pixels, width) = (2, 12, 3, 225, 64);
        let (scale_shift, silu) = (false, false);
        Self { half, images, channels, groups, pixels, eps, scale_shift, silu, width, mean, deviation, seed }
    }

    /// x, weight, bias and the time's row, as the type of storage has them.
    fn arrays(&self) -> [Vec<f32>; 4] {
        let mut random = Random(!self.seed);
        let rows = if self.scale_shift { 2 * self.images * self.channels } else { 0 };
        let arrays = [
            random.values(self.images * self.channels * self.pixels, self.mean, self.deviation),
            random.values(self.channels, 1.0, 0.3),
            random.values(self.channels, 0.0, 0.5),
            random.values(rows, 0.0, 0.5),
        ];
        let stored = |x: f32| if self.half { f16::from_f32(x).to_f32() } else { x };
        arrays.map(|array| array.into_iter().map(stored).collect())
    }

    /// What is to come out, in f64.
    fn expected(&self) -> Vec<f64> {
        let arrays = self.arrays().map(|array| array.into_iter().map(f64::from).collect::<Vec<_>>());
        let [x, weight, bias, time] = &arrays;
        let group = self.channels / self.groups * self.pixels;
        let mut y = Vec::new();
        for (place, values) in x.chunks(group).enumerate() {
            let mean = values.iter().sum::<f64>() / group as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / group as f64;
            for (i, value) in values.iter().enumerate() {
                let flat = (place * group + i) / self.pixels;
                let (image, channel) = (flat / self.channels, flat % self.channels);
                let normed = (value - mean) / (variance + f64::from(self.eps)).sqrt();
                let mut h = normed * weight[channel] + bias[channel];
                if self.scale_shift {
                    let row = &time[2 * self.channels * image..];
                    h = h * (1.0 + row[channel]) + row[self.channels + channel];
                }
                y.push(if self.silu { h / (1.0 + (-h).exp()) } else { h });
            }
        }
        y
    }

    /// What `tests/metal/norm.cpp` reads.
    fn input(&self, backwards: bool) -> Vec<u8> {
        let number = |x: usize| x as u32;
        let header = [
            u32::from(self.half),
            number(self.images),
            number(self.width),
            u32::from(backwards),
            number(self.channels),
            number(self.groups),
            number(self.pixels),
            self.eps.to_bits(),
            u32::from(self.scale_shift),
            u32::from(self.silu),
        ];
        let mut bytes = bytemuck::cast_slice(&header).to_vec();
        for value in self.arrays().concat() {
            if self.half {
                bytes.extend(f16::from_f32(value).to_ne_bytes());
            } else {
                bytes.extend(value.to_ne_bytes());
            }
        }
        bytes
    }
}

/// A compiled kernel.
struct Program {
    folder: TempDir,
}

impl Program {
    /// None where there is no C++ compiler: the README asks for a C compiler alone.
    fn compile(kernel: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("norm.metal"), kernel).unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metal");
        let mut compiler = Command::new("c++");
        compiler.args(["-std=c++20", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        // Metal's attributes.
        compiler.arg("-Wno-attributes");
        compiler.args(std::env::var("ONESTEP_C_FLAGS").unwrap_or_default().split_whitespace());
        compiler.arg("-I").arg(&tests).arg("-I").arg(folder.path());
        compiler.arg(tests.join("norm.cpp")).arg("-o").arg(folder.path().join("norm"));
        let Ok(status) = compiler.status() else {
            println!("no C++ compiler");
            return None;
        };
        assert!(status.success(), "norm.metal is no C++");
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn output(&self, case: &Case, backwards: bool) -> Result<Vec<u8>, String> {
        let (input, output) = (self.path("input"), self.path("output"));
        std::fs::write(&input, case.input(backwards)).unwrap();
        let run = Command::new(self.path("norm")).args([&input, &output]).output().unwrap();
        if !run.status.success() {
            return Err(format!("{}: {}", run.status, String::from_utf8_lossy(&run.stderr)));
        }
        Ok(std::fs::read(output).unwrap())
    }

    /// The largest error as a part of what is allowed.
    fn error(&self, case: &Case) -> Result<f64, String> {
        let bytes = self.output(case, false)?;
        if self.output(case, true)? != bytes {
            return Err("the order of the threads decides".into());
        }
        let found: Vec<f64> = if case.half {
            bytes.as_chunks().0.iter().map(|b| f16::from_ne_bytes(*b).to_f64()).collect()
        } else {
            bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b).into()).collect()
        };
        let expected = case.expected();
        assert_eq!(found.len(), expected.len());
        // The rounding to the type of storage, and f32's errors before it.
        let rounding = if case.half { 2f64.powi(-11) } else { 2f64.powi(-24) };
        let errors = found.iter().zip(&expected).map(|(found, expected)| {
            let error = (found - expected).abs() / (rounding * expected.abs() + 2e-6);
            if error.is_nan() { f64::INFINITY } else { error }
        });
        Ok(errors.fold(0.0, f64::max))
    }

    fn check(&self, case: &Case) -> Result<f64, String> {
        let error = self.error(case)?;
        if error <= 1.0 { Ok(error) } else { Err(format!("{error:.1} times the allowed error")) }
    }
}

fn cases() -> Vec<Case> {
    let far = [false, true].map(Case::far_from_zero);
    far.into_iter().chain((0..40).map(Case::random)).collect()
}

#[test]
fn the_norm_is_what_f64_gives() {
    let Some(program) = Program::compile(KERNEL) else { return };
    for case in cases() {
        let error = program.check(&case).unwrap_or_else(|error| panic!("{error}: {case:?}"));
        println!("{error:.2} of what is allowed: {case:?}");
    }
}

/// The test above is worth what it notices.
#[test]
fn mistakes_are_noticed() {
    let barrier = "    threadgroup_barrier(mem_flags::mem_threadgroup);\n";
    let without = |which: usize| {
        let (start, _) = KERNEL.match_indices(barrier).nth(which).expect("three barriers");
        [&KERNEL[..start], &KERNEL[start + barrier.len()..]].concat()
    };
    let with = |right: &str, wrong: &str| {
        assert!(KERNEL.contains(right), "{right}");
        KERNEL.replace(right, wrong)
    };
    let mistakes = [
        without(0),
        without(1),
        without(2),
        with("const float center = sum_of_all", "const float center = 0 * sum_of_all"),
        with(" - center - lack", " - center"),
        with("uint i = lane;", "uint i = lane + 1;"),
        with("1.0f + float(time", "float(time"),
        with("ulong(image) * 2", "ulong(image)"),
        with("first_channel + i", "first_channel * 0 + i"),
        with("+ shape.eps", ""),
    ];
    for wrong in mistakes {
        let Some(program) = Program::compile(&wrong) else { return };
        let noticed = cases().iter().find_map(|case| program.check(case).err());
        println!("{}", noticed.unwrap_or_else(|| panic!("nobody notices:\n{wrong}")));
    }
}
