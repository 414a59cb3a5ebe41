//! Plans: what they hold, and what they refuse.

use super::*;
use crate::error::Code;
use crate::model::{Edm, Generator, Network, Preconditioning, Prediction, Schedule, Spacing, StudentOutput};

/// A teacher of DDPM's schedule; the network does not matter here.
pub(in crate::sampler) fn teacher() -> Config {
    Config {
        generator: Generator::Teacher { schedule: Schedule::default(), default_steps: 50 },
        network: Network::default(),
    }
}

/// A teacher of this schedule.
pub(in crate::sampler) fn of(schedule: Schedule) -> Config {
    Config { generator: Generator::Teacher { schedule, default_steps: 50 }, ..teacher() }
}

fn schedule(config: &mut Config) -> &mut Schedule {
    match &mut config.generator {
        Generator::Teacher { schedule, .. } => schedule,
        other => panic!("{other:?}"),
    }
}

/// The states after each step of a scalar from 0.75, with the golden script's predictions and noise.
pub(in crate::sampler) fn run(plan: &Plan) -> Vec<f64> {
    let mut x = 0.75;
    let mut before = x;
    let states = plan.steps.iter().enumerate().map(|(i, planned)| {
        let net = ((i * 37 + 11) % 64) as f64 / 32.0 - 1.0;
        let noise = match planned.third {
            Third::Nothing => 0.0,
            Third::Noise(_) => ((i * 29 + 5) % 64) as f64 / 32.0 - 1.0,
            Third::Before => before,
        };
        let said = ((i * 53 + 3) % 64) as f64 / 32.0 - 1.0;
        let spread = planned.spread.and_then(|step| step.spread);
        let noise = spread.map_or(noise, |(p, q)| noise * (f64::from(p) + f64::from(q) * said).exp());
        before = x;
        let step = planned.step;
        let clipped = step.clipped.map_or(0.0, |clipped| {
            let limit = f64::from(clipped.limit);
            f64::from(clipped.weight)
                * (f64::from(clipped.x) * x + f64::from(clipped.net) * net).clamp(-limit, limit)
        });
        x = f64::from(step.x) * x + f64::from(step.net) * net + f64::from(step.noise) * noise + clipped;
        x
    });
    states.collect()
}

fn plan(config: &Config, sampler: &Sampler) -> Plan {
    let mut plan = Plan::default();
    plan.fill(config, Some(sampler)).unwrap();
    plan
}

fn timesteps(plan: &Plan) -> Vec<i32> {
    plan.steps.iter().map(|planned| planned.timestep).collect()
}

#[test]
fn a_student_is_called_once_at_the_top() {
    let of = |schedule, output| Config { generator: Generator::Student { schedule, output }, ..teacher() };
    let student = of(Schedule::default(), StudentOutput::XMinus);
    let mut plan = Plan::default();
    plan.fill(&student, None).unwrap();
    let step = Step { x: 1.0, net: -1.0, ..Step::default() };
    assert_eq!(
        plan.steps,
        [Planned { timestep: 999, time: 999.0, step, third: Third::Nothing, spread: None }]
    );

    let alpha = f64::from(Schedule::default().alphas_cumprod().unwrap()[999]);
    let (image, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
    for (prediction, x, net) in [
        (Prediction::Sample, 0.0, 1.0),
        (Prediction::V, image, -noise),
        (Prediction::Flow, 1.0 / (image + noise), -noise / (image + noise)),
        (Prediction::Epsilon, 1.0 / image, -noise / image),
    ] {
        let student = of(Schedule { prediction, ..Schedule::default() }, StudentOutput::X0);
        plan.fill(&student, None).unwrap();
        assert_eq!(plan.steps[0].step, Step { x: x as f32, net: net as f32, ..Step::default() });
    }

    let error = plan.fill(&student, Some(&Sampler::default())).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { argument: "sampler", .. }), "{error}");
    assert!(plan.steps.is_empty());
}

#[test]
fn a_teacher_without_a_sampler_does_as_its_file_says() {
    let mut config = teacher();
    let mut found = Plan::default();
    found.fill(&config, None).unwrap();
    assert_eq!(found, plan(&config, &Sampler { steps: Some(50), ..Sampler::default() }));
    assert_eq!((found.steps.len(), found.steps[0].timestep), (50, 980));
    let trailing = Schedule { spacing: Spacing::Trailing, ..Schedule::default() };
    config.generator = Generator::Teacher { schedule: trailing.clone(), default_steps: 4 };
    found.fill(&config, None).unwrap();
    assert_eq!(timesteps(&found), [999, 749, 499, 249]);
    config.generator = Generator::Teacher { schedule: trailing, default_steps: 5000 };
    found.fill(&config, None).unwrap();
    assert_eq!(found.steps.len(), 1000);
}

#[test]
fn the_papers_timesteps_repeat_and_repeats_do_nothing() {
    let config = teacher();
    let sampler = Sampler { spacing: Some(Spacing::Quadratic), steps: Some(100), ..Sampler::default() };
    let found = plan(&config, &sampler);
    let entries = timesteps(&found);
    assert_eq!((entries.len(), entries[0], entries[99]), (100, 800, 0));
    let repeats: Vec<_> = (0..99).filter(|&i| entries[i] == entries[i + 1]).collect();
    assert_eq!(repeats.len(), 4);
    for i in repeats {
        assert_eq!(found.steps[i].step, Step { x: 1.0, ..Step::default() });
    }
    let explicit = Sampler { timesteps: Some(entries), steps: Some(3), ..Sampler::default() };
    assert_eq!(plan(&config, &explicit), found);
}

#[test]
fn streams_count_steps_from_one() {
    let stochastic = Sampler { steps: Some(4), eta: 1.0, ..Sampler::default() };
    let stream = |planned: &Planned| match planned.third {
        Third::Noise(stream) => Some(stream),
        _ => None,
    };
    let streams = |plan: &Plan| plan.steps.iter().map(stream).collect::<Vec<_>>();
    // The last step goes to alpha 1, where DDIM's sigma is 0; DDPM adds none at timestep 0.
    assert_eq!(streams(&plan(&teacher(), &stochastic)), [Some(1), Some(2), Some(3), None]);
    let ddpm = Sampler { kind: Some(Kind::Ddpm), eta: 9.0, ..stochastic.clone() };
    assert_eq!(streams(&plan(&teacher(), &ddpm)), [Some(1), Some(2), Some(3), None]);
    let explicit = Sampler { timesteps: Some(vec![900, 900, 5]), ..stochastic };
    assert_eq!(streams(&plan(&teacher(), &explicit)), [None, Some(2), None]);
    assert_eq!(streams(&plan(&teacher(), &Sampler { eta: 0.0, ..explicit })), [None; 3]);
}

#[test]
fn explicit_steps_go_from_entry_to_entry() {
    let config = teacher();
    let alphas_cumprod = config.generator.schedule().unwrap().alphas_cumprod().unwrap();
    let found = plan(&config, &Sampler { timesteps: Some(vec![999, 10]), ..Sampler::default() });
    let (a, next) = (f64::from(alphas_cumprod[999]), f64::from(alphas_cumprod[10]));
    assert_eq!(found.steps[0].step.x, (next.sqrt() / a.sqrt()) as f32);
    assert_eq!(found.steps[1].step.x, (1.0 / next.sqrt()) as f32);
    assert_eq!(found.steps[1].step.net, -((1.0 - next).sqrt() / next.sqrt()) as f32);
}

#[test]
fn a_plan_made_again_stays_where_it_is() {
    let config = teacher();
    let sampler = Sampler { steps: Some(100), ..Sampler::default() };
    let mut found = plan(&config, &sampler);
    let (steps, before) = (found.steps.as_ptr(), found.clone());
    found.fill(&config, Some(&sampler)).unwrap();
    assert_eq!((found.steps.as_ptr(), &found), (steps, &before));
}

#[test]
fn a_student_of_several_steps_has_its_own_timesteps() {
    let few = Generator::FewSteps { schedule: Schedule::default(), timesteps: vec![900, 300] };
    let config = Config { generator: few, ..teacher() };
    let own = plan(&config, &Sampler { timesteps: Some(vec![900, 300]), ..Sampler::default() });
    assert_eq!(plan(&config, &Sampler::default()), own);
    assert_eq!(plan(&config, &Sampler { steps: Some(2), ..Sampler::default() }), own);
    // Whoever asks for others gets them.
    assert_eq!(
        timesteps(&plan(&config, &Sampler { steps: Some(4), ..Sampler::default() })),
        [750, 500, 250, 0]
    );
    let leading = Sampler { spacing: Some(Spacing::Leading), steps: Some(2), ..Sampler::default() };
    assert_eq!(timesteps(&plan(&config, &leading)), [500, 0]);
    assert_eq!(timesteps(&plan(&config, &Sampler { timesteps: Some(vec![7]), ..leading })), [7]);
}

#[test]
fn a_way_can_be_gone_in_parts() {
    let all = vec![950, 700, 450, 200, 10];
    for kind in [None, Some(Kind::Ddim), Some(Kind::Ddpm)] {
        let sampler = Sampler { kind, timesteps: Some(all.clone()), ..Sampler::default() };
        let whole = plan(&teacher(), &sampler);
        let part = |range: std::ops::Range<usize>, until| Sampler {
            timesteps: Some(all[range].to_vec()),
            until,
            ..sampler.clone()
        };
        let parts = [part(0..2, Some(450)), part(2..4, Some(10)), part(4..5, None)];
        let steps: Vec<Step> = parts
            .iter()
            .flat_map(|sampler| plan(&teacher(), sampler).steps.into_iter().map(|planned| planned.step))
            .collect();
        assert_eq!(steps, whole.steps.iter().map(|planned| planned.step).collect::<Vec<_>>(), "{kind:?}");
    }
    for until in [450, 460, -1] {
        let sampler = Sampler { timesteps: Some(vec![900, 450]), until: Some(until), ..Sampler::default() };
        let error = Plan::default().fill(&teacher(), Some(&sampler)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("until: {until} is not from 0 to below 450, the last call's timestep")
        );
    }
}

#[test]
fn mistakes_are_named() {
    let refuse = |config: &Config, sampler: Sampler| {
        let mut plan = Plan::default();
        let error = plan.fill(config, Some(&sampler)).unwrap_err();
        assert_eq!((error.code(), plan.steps.len()), (Code::InvalidArgument, 0));
        error.to_string()
    };
    let config = teacher();
    for eta in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert!(refuse(&config, Sampler { eta, ..Sampler::default() }).starts_with("eta: "));
    }
    for steps in [0, 1001, u32::MAX] {
        let message = refuse(&config, Sampler { steps: Some(steps), ..Sampler::default() });
        assert_eq!(message, format!("steps: {steps} is not one of 1 to 1000 (train_timesteps)"));
    }
    let explicit = |entries: &[i32]| {
        refuse(&config, Sampler { timesteps: Some(entries.to_vec()), ..Sampler::default() })
    };
    assert_eq!(explicit(&[]), "timesteps: empty, at least one is needed");
    assert_eq!(explicit(&[9, 10]), "timesteps: timesteps[1] = 10 follows 9: they must not ascend");
    assert_eq!(explicit(&[1000, 5]), "timesteps: timesteps[0] = 1000 is not one of 0 to 999");
    assert_eq!(explicit(&[7, 7, -1]), "timesteps: timesteps[2] = -1 is not one of 0 to 999");

    let mut offset = teacher();
    schedule(&mut offset).steps_offset = 1;
    let message = refuse(&offset, Sampler { steps: Some(1000), ..Sampler::default() });
    assert!(message.contains("steps_offset 1 begin at timestep 1000"), "{message}");
    schedule(&mut offset).steps_offset = u32::MAX;
    refuse(&offset, Sampler::default());

    let mut blind = teacher();
    schedule(&mut blind).betas[999] = 1.0;
    let message = refuse(&blind, Sampler { timesteps: Some(vec![999, 500]), ..Sampler::default() });
    assert!(message.contains("timestep 999 (alphas_cumprod 0)"), "{message}");
    schedule(&mut blind).betas.clear();
    assert!(refuse(&blind, Sampler::default()).starts_with("schedule: "));
}

#[test]
fn zero_terminal_snr_works_where_the_prediction_does() {
    let mut config = teacher();
    schedule(&mut config).betas[999] = 1.0;
    schedule(&mut config).prediction = Prediction::V;
    let found = plan(&config, &Sampler { timesteps: Some(vec![999, 500]), ..Sampler::default() });
    assert!(found.steps[0].step.x.is_finite());
}

/// Of data that is normal with standard deviation 0.6 the denoised image is known, and so is where the way from any noise ends:
/// Euler's method comes nearer in inverse proportion to the steps, Heun's to their square.
#[test]
fn edm_goes_where_the_equation_says() {
    let data = 0.6_f64;
    let vp = Preconditioning::Vp { beta_d: 19.9, beta_min: 0.1, timesteps: 1000 };
    for preconditioning in [Preconditioning::Edm, vp] {
        let model = Edm { preconditioning, ..Edm::default() };
        let config = Config { generator: Generator::Edm(model.clone()), ..teacher() };
        let noise = 0.7;
        let expected = noise * model.sigma_max * data / data.hypot(model.sigma_max);
        let error = |kind, steps: usize| {
            let plan = plan(&config, &Sampler { kind, steps: Some(steps as u32), ..Sampler::default() });
            let mut y = f64::from(plan.start) * noise;
            let mut before = y;
            for planned in &plan.steps {
                let sigma = model.sigma(planned.timestep as usize, steps);
                assert_eq!(planned.time, model.time(sigma));
                let x = y / model.c_in(sigma);
                let denoised = data * data / (data * data + sigma * sigma) * x;
                let net = (denoised - model.c_skip(sigma) * x) / model.c_out(sigma);
                let third = if planned.third == Third::Before { before } else { 0.0 };
                let step = planned.step;
                before = y;
                y = f64::from(step.x) * y + f64::from(step.net) * net + f64::from(step.noise) * third;
            }
            (plan.steps.len(), (y - expected).abs())
        };
        let ((calls, coarse), (_, fine)) = (error(Some(Kind::Euler), 40), error(Some(Kind::Euler), 80));
        assert!(calls == 40 && (1.7..2.3).contains(&(coarse / fine)), "{coarse} and {fine}");
        let ((calls, coarse), (_, fine)) = (error(None, 20), error(Some(Kind::Heun), 40));
        assert!(calls == 39 && (3.2..5.0).contains(&(coarse / fine)) && fine < 5e-3, "{coarse} and {fine}");
    }
}
