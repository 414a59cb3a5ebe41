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

fn as_json(name: &str, model: &Model, memory: Memory) -> Value {
    let info = model.info();
    let (network, generator) = (&info.config.network, &info.config.generator);
    json!({
        "model": name,
        "architecture": info.architecture,
        "role": generator.role().name(),
        "generator": generator.kind(),
        "width": network.size.1,
        "height": network.size.0,
        "channels": network.channels,
        "classes": network.num_classes,
        "null_label": network.null_label(),
        "parameters": info.parameters,
        "weight_bytes": info.weight_bytes,
        "format": info.format,
        "provenance": info.provenance,
        "block_out_channels": network.block_out_channels,
        "layers_per_block": network.layers_per_block,
        "prediction": generator.schedule().map(|schedule| schedule.prediction.name()),
        "student_output": student_output(generator),
        "default_steps": generator.default_steps(),
        "timesteps": generator.timesteps(),
        "noise_levels": noise_levels(generator),
        "schedule": generator.schedule().map(|schedule| json!({
            "train_timesteps": schedule.betas.len(),
            "beta_first": schedule.betas.first().map(as_written),
            "beta_last": schedule.betas.last().map(as_written),
            "spacing": schedule.spacing.name(),
            "steps_offset": schedule.steps_offset,
            "set_alpha_to_one": schedule.set_alpha_to_one,
            "clip": schedule.clip,
            "variance": schedule.variance.name(),
        })),
        "device": info.device,
        "precision": info.precision.name(),
        "memory": memory_json(memory),
        "notes": info.notes,
    })
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
        if let Some(output) = student_output(generator) {
            line("output", output.into());
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

/// The shortest decimal that names the f32: 0.02, not 0.019999999552965164.
fn as_written(value: &f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(*value))
}

/// How a student's output is read; none for others.
fn student_output(generator: &Generator) -> Option<&'static str> {
    match generator {
        Generator::Student { output, .. } => Some(output.name()),
        _ => None,
    }
}

/// A consistency model's, and EDM's; none for others.
fn noise_levels(generator: &Generator) -> Option<Value> {
    if let Generator::Edm(model) = generator {
        return Some(json!({
            "sigma_max": model.sigma_max,
            "sigma_min": model.sigma_min,
            "sigma_data": model.sigma_data,
            "rho": model.rho,
        }));
    }
    let Generator::Consistency(model) = generator else { return None };
    Some(json!({
        "count": model.levels,
        "sigma_max": model.sigma_max,
        "sigma_min": model.sigma_min,
        "sigma_data": model.sigma_data,
        "rho": model.rho,
        "clip": model.clip,
    }))
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
