//! The samplers against diffusers: tests/golden/schedules.json, made by the script beside it.

use super::{Kind, Plan, Sampler};
use crate::model::{Prediction, Schedule, Spacing, Variance};
use crate::names::Named;
use crate::sampler::plan::tests::{of, run, teacher};
use serde_json::Value;

#[test]
fn schedules_are_diffusers() {
    for case in rows("schedules") {
        let (start, end, n) = (number(&case["beta_start"]), number(&case["beta_end"]), whole(&case["n"]));
        let name = case["beta_schedule"].as_str().unwrap();
        let schedule = Schedule { betas: betas(name, start, end, n), ..Schedule::default() };
        let alphas_cumprod = schedule.alphas_cumprod().unwrap();
        // The cosine is libm's: its bits are not promised.
        if name != "squaredcos_cap_v2" {
            assert_eq!(hash(&schedule.betas, f32::to_le_bytes), case["betas"], "{name} {n}");
            assert_eq!(hash(&alphas_cumprod, f32::to_le_bytes), case["alphas_cumprod"], "{name} {n}");
        }
        for sample in case["samples"].as_array().unwrap() {
            let t = whole(&sample[0]);
            assert!((f64::from(schedule.betas[t]) / number(&sample[1]) - 1.0).abs() < 2e-7, "{name} {n} {t}");
            assert!((f64::from(alphas_cumprod[t]) / number(&sample[2]) - 1.0).abs() < 2e-6, "{name} {n} {t}");
        }
    }
}

#[test]
fn timesteps_are_diffusers_for_every_count() {
    for case in rows("timesteps") {
        let train = whole(&case["train"]);
        let schedule = Schedule { betas: vec![0.01; train], ..Schedule::default() };
        let config = of(schedule);
        let mut plan = Plan::default();
        let mut timesteps = |steps: usize| -> Vec<i32> {
            let sampler = sampler(&case["spacing"], steps);
            plan.fill(&config, Some(&sampler)).unwrap();
            plan.steps.iter().map(|planned| planned.timestep).collect()
        };
        for shown in case["shown"].as_array().unwrap() {
            let expected: Vec<i32> = serde_json::from_value(shown[1].clone()).unwrap();
            assert_eq!(timesteps(whole(&shown[0])), expected, "{case}");
        }
        let every: Vec<i32> = (1..=train).flat_map(&mut timesteps).collect();
        assert_eq!(hash(&every, i32::to_le_bytes), case["every"], "{} {train}", case["spacing"]);
    }
}

#[test]
fn steps_are_diffusers() {
    let mut worst = 0.0_f64;
    for case in &rows("trajectories") {
        let given = &case["config"];
        let text = |key, default| given.get(key).map_or(default, |value| value.as_str().unwrap());
        let flag = |key, default| given.get(key).map_or(default, |value| value.as_bool().unwrap());
        let schedule = Schedule {
            betas: betas(text("beta_schedule", "linear"), 1e-4, 0.02, 1000),
            prediction: match text("prediction_type", "epsilon") {
                "epsilon" => Prediction::Epsilon,
                "sample" => Prediction::Sample,
                _ => Prediction::V,
            },
            clip: flag("clip_sample", true)
                .then(|| given.get("clip_sample_range").map_or(1.0, number) as f32),
            set_alpha_to_one: flag("set_alpha_to_one", true),
            steps_offset: given.get("steps_offset").map_or(0, whole) as u32,
            spacing: Spacing::Leading,
            variance: Variance::named(text("variance_type", "fixed_small")).unwrap(),
            clip_noise: flag("use_clipped_model_output", false),
            ..Schedule::default()
        };
        let leading = Value::from("leading");
        let sampler = Sampler {
            kind: Some(if case["kind"] == "ddim" { Kind::Ddim } else { Kind::Ddpm }),
            eta: number(&case["eta"]) as f32,
            ..sampler(given.get("timestep_spacing").unwrap_or(&leading), whole(&case["steps"]))
        };
        let mut plan = Plan::default();
        plan.fill(&of(schedule), Some(&sampler)).unwrap();
        if let Some(expected) = case["timesteps"].as_array() {
            let found: Vec<i32> = plan.steps.iter().map(|planned| planned.timestep).collect();
            assert_eq!(found, expected.iter().map(|t| t.as_i64().unwrap() as i32).collect::<Vec<_>>());
        }
        worst = worst.max(compare(&plan, case));
        // In f32, diffusers cancels digits in 1 - a / a' of DDPM and of eta > 0.
        let last = *run(&plan).last().unwrap();
        assert!((last - number(&case["x_f32"])).abs() < 2e-3 * last.abs().max(1.0), "{last} {case}");
    }
    eprintln!("worst relative difference of a trajectory: {worst:e}");
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn the_papers_own_sampler_agrees() {
    let mut plan = Plan::default();
    plan.fill(&teacher(), Some(&sampler(&Value::from("quadratic"), 100))).unwrap();
    assert!(compare(&plan, &rows("paper")[0]) < 1e-5);
}

/// The largest difference between a plan's run and a golden one, relative to values above 1, absolute below.
fn compare(plan: &Plan, case: &Value) -> f64 {
    let every = whole(&case["every"]);
    let expected = case["x"].as_array().unwrap();
    let found: Vec<f64> = run(plan).into_iter().skip(every - 1).step_by(every).collect();
    assert_eq!(found.len(), expected.len(), "{case}");
    let difference = |(found, expected): (&f64, &Value)| {
        let expected = number(expected);
        (found - expected).abs() / expected.abs().max(1.0)
    };
    found.iter().zip(expected).map(difference).fold(0.0, f64::max)
}

fn betas(name: &str, start: f64, end: f64, n: usize) -> Vec<f32> {
    match name {
        "linear" => Schedule::linear(start, end, n),
        "scaled_linear" => Schedule::scaled_linear(start, end, n),
        _ => Schedule::squaredcos_cap_v2(n),
    }
    .unwrap()
}

fn sampler(spacing: &Value, steps: usize) -> Sampler {
    let spacing = match spacing.as_str().unwrap() {
        "leading" => Spacing::Leading,
        "trailing" => Spacing::Trailing,
        "linspace" => Spacing::Linspace,
        _ => Spacing::Quadratic,
    };
    Sampler { spacing: Some(spacing), steps: Some(steps as u32), ..Sampler::default() }
}

fn rows(part: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/schedules.json")).unwrap();
    golden[part].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// FNV-1a, 64 bits.
fn hash<T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; 4]) -> String {
    let hash = values.iter().flat_map(|&v| bytes(v)).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
