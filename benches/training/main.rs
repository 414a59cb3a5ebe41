//! Images a second of training: forward, backward, clipping, Adam and the moving average, on one batch again and again.
//! `benches/peers/training.py` runs it beside PyTorch.
//!
//! ```sh
//! cargo bench --features train --bench training -- MODEL [BATCH] [THREADS] [SECONDS]
//! ```
//!
//! MODEL is a native file or a diffusers folder. Prints JSON: the median step's images a second, bytes of activations,
//! and the process's peak memory.

use onestep::train::{Adam, AdamOptions, Batch, Learner, average, clip_factor, norm};
use onestep::{Result, noise, weights};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(path) = arguments.first() else {
        eprintln!("MODEL [BATCH] [THREADS] [SECONDS]");
        std::process::exit(2);
    };
    let number =
        |at: usize, default: usize| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (batch, threads, seconds) = (number(1, 16), number(2, 2), number(3, 10));

    let checkpoint = weights::open(Path::new(path), u64::MAX)?;
    let network = checkpoint.config(None)?.network;
    let mut learner = Learner::new(&network, &checkpoint, threads)?;
    let mut adam = Adam::new(AdamOptions::default(), learner.values().len())?;
    let mut ema = learner.values().to_vec();
    let mut x = vec![0.0; batch * learner.image_len()];
    noise::fill(1, 0, &mut x);
    let mut target = vec![0.0; x.len()];
    noise::fill(2, 0, &mut target);
    let timesteps: Vec<f32> = (0..batch).map(|i| (i * 131 % 1000) as f32).collect();
    let labels: Option<Vec<i32>> =
        network.num_classes.map(|classes| (0..batch as i32).map(|i| i % classes as i32).collect());

    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 4 || begin.elapsed().as_secs() < seconds as u64 {
        let start = Instant::now();
        learner.gradients().0.fill(0.0);
        let of = Batch { x: &x, times: &timesteps, labels: labels.as_deref(), dropout: None };
        learner.accumulate(of, |net, gradient| {
            let factor = 2.0 / target.len() as f32;
            for ((gradient, net), target) in gradient.iter_mut().zip(net).zip(&target) {
                *gradient = factor * (net - target);
            }
        })?;
        let (gradients, parameters) = learner.gradients();
        let factor = clip_factor(norm(gradients), Some(1.0)) as f32;
        adam.step(parameters, gradients, factor, 1e-4);
        average(&mut ema, parameters, 0.999);
        times.push(start.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{{\"images_per_second\": {:.2}, \"ms_per_step\": {:.2}, \"scratch_bytes\": {}, \"peak_bytes\": {}}}",
        batch as f64 / median,
        1e3 * median,
        learner.scratch_bytes(),
        peak_bytes()
    );
    Ok(())
}

/// Peak resident memory of this process; 0 where the system does not say.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .map_or(0, |kib: u64| kib * 1024)
}
