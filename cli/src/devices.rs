//! `onestep devices`.

use crate::report::print;
use onestep::Result;
use serde_json::json;

/// List the devices that this build can use on this machine
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  onestep devices\n  onestep devices --json | jq -r '.devices[].id'")]
pub struct Args {
    /// One JSON object on stdout; memory in bytes, null where unknown
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let devices = onestep::devices();
    if args.json {
        let known = |bytes: u64| (bytes > 0).then_some(bytes);
        let devices: Vec<_> = devices
            .iter()
            .map(|device| {
                json!({
                    "id": device.id,
                    "name": device.name,
                    "memory_total": known(device.memory_total),
                    "memory_free": known(device.memory_free),
                })
            })
            .collect();
        return print(json!({ "devices": devices }));
    }
    for device in &devices {
        let memory = match (device.memory_free, device.memory_total) {
            (_, 0) => String::new(),
            (0, total) => format!("{:.1} GiB", gibibytes(total)),
            (free, total) => format!("{:.1} of {:.1} GiB free", gibibytes(free), gibibytes(total)),
        };
        print(format!("{:<8}  {}  {memory}", device.id, device.name).trim_end())?;
    }
    Ok(())
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
