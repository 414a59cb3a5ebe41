//! `onestep info`.

use crate::args::{Machine, ModelPath};
use crate::report::print;
use onestep::model::{Generator, Network};
use onestep::{Memory, Model, Named, Result};
use serde_json::{Value, json};

/// Say what a model is, and what memory it takes
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  onestep info\n  onestep info teacher.safetensors --json | jq .parameters"
)]
pub struct Args {
    #[command(flatten)]
    model: ModelPath,
    /// One JSON object on stdout; sizes in bytes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let model = args.model.open_silently(&args.machine.options())?;
    let memory = model.estimate_memory(1)?;
    if args.json {
        print(as_json(&args.model.name(), &model, memory))
    } else {
        print(as_text(&args.model.name(), &model, memory))
    }
}

/// The library's own description, with what the command knows beside it.
fn as_json(name: &str, model: &Model, memory: Memory) -> Value {
    let mut json = model.info().to_json();
    json["model"] = name.into();
    json["memory"] = memory_json(memory);
    json
}

fn as_text(name: &str, model: &Model, memory: Memory) -> String {
    let info = model.info();
    let (network, generator) = (&info.config.network, &info.config.generator);
    let mut text = String::new();
    let mut line = |key: &str, value: String| text.push_str(&format!("{key:<14}{value}\n"));
    line("model", name.into());
    line("role", format!("{} ({})", generator.role().name(), info.architecture));
    line(
        "image",
        format!("{} x {}, {}", network.size.1, network.size.0, plural(network.channels, "channel")),
    );
    line("classes", classes(network));
    line(
        "network",
        format!(
            "{:?} channels, {} a level",
            network.block_out_channels,
            plural(network.layers_per_block, "block")
        ),
    );
    line("parameters", format!("{} ({:.2} M)", info.parameters, info.parameters as f64 / 1e6));
    line("weights", mebibytes(info.weight_bytes));
    line("format", info.format.into());
    if let Some(provenance) = &info.provenance {
        line("from", provenance_text(provenance));
    }
    if let Some(schedule) = generator.schedule() {
        line("prediction", schedule.prediction.name().into());
        if let Some(output) = generator.student_output() {
            line("output", output.name().into());
        }
        let betas = [schedule.betas.first(), schedule.betas.last()].map(|beta| beta.copied().unwrap_or(0.0));
        line("schedule", format!("{} timesteps, beta {} to {}", schedule.betas.len(), betas[0], betas[1]));
    }
    let clip = |bound: Option<f32>| bound.map_or("no".into(), |bound| format!("x_0 to [-{bound}, {bound}]"));
    match generator {
        Generator::Teacher { schedule, default_steps } => {
            let steps = match default_steps {
                1 => "one network call, or more (--steps)".into(),
                steps => format!("{steps} steps, {} spacing", schedule.spacing.name()),
            };
            line("sampling", steps);
            line("clip", clip(schedule.clip));
        }
        Generator::FewSteps { schedule, timesteps } => {
            line("sampling", format!("{} steps, at timesteps {timesteps:?}", timesteps.len()));
            line("clip", clip(schedule.clip));
        }
        Generator::Student { .. } => line("sampling", "one network call".into()),
        Generator::Edm(model) => {
            line("noise", format!("sigma {} to {}, rho {}", model.sigma_max, model.sigma_min, model.rho));
            line(
                "sampling",
                match model.default_steps {
                    1 => "one network call, or more (--steps)".into(),
                    steps => format!("{steps} steps of Heun's method"),
                },
            );
        }
        Generator::Consistency(model) => {
            let (most, least) = (model.sigma_max, model.sigma_min);
            line("noise", format!("{} levels, sigma {most} to {least}, rho {}", model.levels, model.rho));
            line("sampling", "one network call, or more (--steps)".into());
            line("clip", clip(model.clip));
        }
    }
    line("device", format!("{}, {}", info.device, info.precision.name()));
    line(
        "memory",
        format!(
            "{} weights + {} scratch for one image; {} at most while opening",
            mebibytes(memory.weights),
            mebibytes(memory.scratch),
            mebibytes(memory.host_peak)
        ),
    );
    for note in &info.notes {
        line("note", note.clone());
    }
    text.truncate(text.trim_end().len());
    text
}

/// Where weights come from: what an import wrote down, or whatever else stands there.
fn provenance_text(provenance: &Value) -> String {
    let text = match provenance.get("source").and_then(Value::as_str) {
        Some(source) => {
            let sums = provenance["sha256"].as_object().into_iter().flatten();
            let sums = sums.filter_map(|(file, sum)| Some(format!("{file} {}", sum.as_str()?)));
            let said = provenance["said"].as_str().map(str::to_owned);
            let format = provenance["format"].as_str().unwrap_or("unknown format");
            let parts = [format!("{source} ({format})")].into_iter().chain(said).chain(sums);
            parts.collect::<Vec<_>>().join("; ")
        }
        None => provenance.as_str().map_or_else(|| provenance.to_string(), str::to_owned),
    };
    let plain: String = text.chars().filter(|c| !c.is_control()).take(600).collect();
    plain
}

/// The three figures of a memory estimate, in bytes.
pub fn memory_json(memory: Memory) -> Value {
    json!({ "weights": memory.weights, "scratch": memory.scratch, "host_peak": memory.host_peak })
}

/// Bytes for people.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn classes(network: &Network) -> String {
    match (network.num_classes, network.null_label()) {
        (None, _) => "none (unconditional)".into(),
        (Some(classes), None) => classes.to_string(),
        (Some(classes), Some(_)) => format!("{classes}, and none (--guidance, --label none)"),
    }
}
