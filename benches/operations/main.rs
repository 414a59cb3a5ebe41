//! Where the time of one network call goes: every operation's milliseconds, its share, and its rate beside the
//! peak of this machine's multiply-adds, measured in the same run.
//!
//! ```sh
//! cargo bench --bench operations -- [cifar10|celeba64|lsun256] [BATCH] [THREADS] [f32|bf16]
//! ```
//!
//! Rates count each convolution's multiplications as if all were done; Winograd's algorithms do fewer, so they
//! may exceed the peak.

mod networks;
mod peak;
mod profiled;

use onestep::Result;
use onestep::exec::Executor;
use onestep::exec::cpu::{Cpu, CpuDevice, Operands, Packing};
use onestep::model::UNet;
use profiled::Profiled;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let name = arguments.first().map_or("cifar10", String::as_str);
    let number =
        |at: usize, default: usize| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (batch, threads) = (number(1, 1), number(2, 2));
    let Some(network) = networks::by_name(name) else {
        eprintln!("no network {name}: cifar10, celeba64, lsun256");
        std::process::exit(2);
    };

    let operands = match arguments.get(3).map_or("f32", String::as_str) {
        "bf16" => Operands::Bf16,
        _ => Operands::F32,
    };

    let device = Arc::new(CpuDevice::new(operands, Packing::Fast, threads));
    let isa = device.isa_name();
    let unet = UNet::<Profiled<Cpu>>::new(&network, &networks::Random, &device)?;
    let mut exec = Profiled::new(Cpu::new(device.clone(), threads, None)?, Cpu::new(device, 1, None)?);
    let shape = [batch, network.channels, network.size.0, network.size.1];
    let times = vec![999.0; batch];
    let forward = |exec: &mut Profiled<Cpu>| {
        let x = exec.load(shape, &mut |out| networks::fill(7, out))?;
        unet.forward(exec, &x, &times, None, &mut || Ok(())).map(drop)
    };
    exec.plan(&mut |exec| forward(exec))?;
    forward(&mut exec)?;

    let mut runs: Vec<(f64, profiled::Times)> = Vec::new();
    let begin = Instant::now();
    while runs.len() < 5 || begin.elapsed().as_secs_f64() < 10.0 {
        exec.reset();
        let start = Instant::now();
        forward(&mut exec)?;
        runs.push((start.elapsed().as_secs_f64(), exec.times().clone()));
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (total, times) = &runs[runs.len() / 2];

    let peak = peak::gflops(isa, threads);
    println!("{name}, batch {batch}, {threads} threads, {operands:?}, {isa}: median of {} calls", runs.len());
    println!("{:.2} ms an image; peak of multiply-adds {peak:.0} GFLOP/s\n", total * 1e3 / batch as f64);
    println!("| operation | calls | ms an image | share | GFLOP/s | of peak |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (operation, time) in times {
        let rate = time.flop * batch as f64 / time.seconds * 1e-9;
        let row = (time.seconds * 1e3 / batch as f64, time.seconds / total * 100.0);
        print!("| {operation} | {} | {:.2} | {:.1} % |", time.calls, row.0, row.1);
        if time.flop > 0.0 {
            println!(" {rate:.0} | {:.2} |", rate / peak);
        } else {
            println!(" | |");
        }
    }
    Ok(())
}
