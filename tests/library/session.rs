//! What a caller of `Session` relies on.

use crate::common::{self, cpu, executors, golden};
use onestep::image::Format;
use onestep::model::{Role, Spacing};
use onestep::sampler::{Kind, Sampler};
use onestep::{
    Cancel, Code, Error, ExecutorKind, Layout, Model, Options, Phase, Precision, Request, Session,
};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

fn options(role: Role) -> Options {
    Options { role: Some(role), ..cpu() }
}

fn session(case: &str, options: &Options) -> Session {
    Model::open(golden(case), options).unwrap().session(options).unwrap()
}

fn request(seeds: &[u64]) -> Request {
    Request { seeds: Some(seeds.to_vec()), ..Request::default() }
}

fn draw(session: &mut Session, request: &Request) -> Result<Vec<u8>, Error> {
    let batch = request.seeds.as_ref().map_or(1, Vec::len);
    let layout = Layout::default();
    let mut out = vec![0; session.model().output_size(batch, &layout)? as usize];
    session.sample(request, &layout, &mut out)?;
    Ok(out)
}

#[test]
fn a_seed_draws_the_same_bytes_in_every_batch_and_with_every_thread_count() {
    let seeds: Vec<u64> = vec![7, 0, u64::MAX, 1 << 63, 3, 4, 5];
    let ddpm = Sampler { kind: Some(Kind::Ddpm), steps: Some(3), ..Sampler::default() };
    for (role, sampler, precision) in [
        (Role::Student, None, Precision::F32),
        (Role::Student, None, Precision::Bf16),
        (Role::Teacher, Some(ddpm), Precision::F32),
    ] {
        for case in ["ddpm", "uncommon", "plain"] {
            let mut together = Vec::new();
            for threads in [1, 2, 3] {
                let mut session = session(case, &Options { threads, precision, ..options(role) });
                let wanted = Request { sampler: sampler.clone(), ..request(&seeds) };
                let batch = draw(&mut session, &wanted).unwrap();
                let image_bytes = batch.len() / seeds.len();
                for (image, &seed) in batch.chunks_exact(image_bytes).zip(&seeds) {
                    let alone = Request { sampler: sampler.clone(), ..request(&[seed]) };
                    assert!(
                        draw(&mut session, &alone).unwrap() == image,
                        "{case}, {precision:?}, {threads} threads, seed {seed}"
                    );
                }
                together.push(batch);
            }
            assert!(
                together.iter().all(|batch| *batch == together[0]),
                "{case}, {precision:?}: threads differ"
            );
        }
    }
}

/// The hashes that every binding must give; `tests/c/golden.c` says of what. `.ci/run` sets ONESTEP_ISA.
#[cfg(feature = "embedded-model")]
#[test]
fn the_golden_hashes_of_all_hosts() {
    let hash = |bytes: &[u8]| {
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
    };
    let golden =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hosts.txt")).unwrap();
    let expected = |key| golden.lines().find_map(|line| Some(line.strip_prefix(key)?.trim())).unwrap();
    let model = Model::open_default(&cpu()).unwrap();
    let mut noise = vec![0.0_f32; 8 * 4 * 256];
    model.noise(&Vec::from_iter(0..8), &mut noise).unwrap();
    let noise: Vec<u8> = noise.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(hash(&noise), expected("noise"));

    if std::env::var("ONESTEP_ISA").as_deref() == Ok("portable") {
        let mut session = model.session(&cpu()).unwrap();
        let portraits = Request { labels: Some((0..8).collect()), ..request(&Vec::from_iter(0..8)) };
        for (key, premultiplied) in [("pixels", false), ("premultiplied", true)] {
            let layout = Layout { format: Format::Rgba8, premultiplied, ..Layout::default() };
            let mut pixels = vec![0; 8 * 256 * 4];
            session.sample(&portraits, &layout, &mut pixels).unwrap();
            assert_eq!(hash(&pixels), expected(key), "{key}");
        }
    }
}

#[test]
fn own_noise_stands_for_seeds() {
    let mut session = session("ddpm", &options(Role::Student));
    let seeds = [3, 9];
    let mut noise = vec![0.0; 2 * 3 * 8 * 8];
    session.model().noise(&seeds, &mut noise).unwrap();
    let from_noise = Request { noise: Some(noise), ..Request::default() };
    let mut out = vec![0; 4 * 2 * 3 * 8 * 8];
    session.sample(&from_noise, &Layout::default(), &mut out).unwrap();
    assert_eq!(out, draw(&mut session, &request(&seeds)).unwrap());
}

#[test]
fn a_student_is_noise_minus_prediction() {
    let mut session = session("ddpm", &options(Role::Student));
    let drawn = common::floats(&draw(&mut session, &request(&[5])).unwrap());
    let mut x = vec![0.0; drawn.len()];
    session.model().noise(&[5], &mut x).unwrap();
    let mut eps = vec![0.0; drawn.len()];
    session.predict(&x, &[999], None, &mut eps).unwrap();
    let by_hand: Vec<f32> = x.iter().zip(&eps).map(|(x, eps)| x - eps).collect();
    assert_eq!(drawn, by_hand);
}

#[test]
fn executors_agree_on_every_sampler() {
    let samplers = [
        Sampler::default(),
        Sampler { steps: Some(7), spacing: Some(Spacing::Trailing), eta: 0.7, ..Sampler::default() },
        Sampler { steps: Some(9), spacing: Some(Spacing::Quadratic), ..Sampler::default() },
        Sampler { steps: Some(5), spacing: Some(Spacing::Linspace), eta: 1.0, ..Sampler::default() },
        Sampler { timesteps: Some(vec![999, 600, 600, 3, 0]), ..Sampler::default() },
        Sampler { kind: Some(Kind::Ddpm), steps: Some(20), ..Sampler::default() },
    ];
    for case in ["ddpm", "uncommon", "one_level"] {
        for sampler in &samplers {
            let drawn: Vec<Vec<f32>> = executors()
                .into_iter()
                .map(|executor| {
                    let mut session = session(case, &Options { executor, ..options(Role::Teacher) });
                    let labels = session.model().info().config.network.num_classes.map(|_| vec![0, 2]);
                    let wanted = Request { sampler: Some(sampler.clone()), labels, ..request(&[1, 2]) };
                    common::floats(&draw(&mut session, &wanted).unwrap())
                })
                .collect();
            for other in &drawn[1..] {
                common::assert_close(&format!("{case} {sampler:?}"), &drawn[0], other, 2e-5);
            }
        }
    }
}

#[test]
fn senseless_requests_name_the_argument() {
    let teacher = options(Role::Teacher);
    let student = options(Role::Student);
    let eta = |eta| Some(Sampler { eta, ..Sampler::default() });
    let cases: Vec<(&str, &Options, Request, &str)> = vec![
        ("ddpm", &student, Request::default(), "seeds"),
        ("ddpm", &student, request(&[]), "batch"),
        ("ddpm", &student, Request { labels: Some(vec![1]), ..request(&[1]) }, "labels"),
        ("one_level", &student, request(&[1]), "labels"),
        ("one_level", &student, Request { labels: Some(vec![3]), ..request(&[1]) }, "labels"),
        ("one_level", &student, Request { labels: Some(vec![-1]), ..request(&[1]) }, "labels"),
        ("one_level", &student, Request { labels: Some(vec![0, 1]), ..request(&[1]) }, "labels"),
        ("ddpm", &student, Request { noise: Some(vec![0.0; 191]), ..Request::default() }, "noise"),
        ("ddpm", &student, Request { noise: Some(vec![]), ..Request::default() }, "noise"),
        ("ddpm", &student, Request { noise: Some(vec![f32::NAN; 192]), ..Request::default() }, "noise"),
        ("ddpm", &student, Request { noise: Some(vec![0.0; 192]), ..request(&[1, 2]) }, "seeds"),
        ("ddpm", &student, Request { sampler: eta(0.0), ..request(&[1]) }, "sampler"),
        ("ddpm", &teacher, Request { sampler: eta(2.0), ..request(&[1]) }, "eta"),
        ("ddpm", &teacher, Request { sampler: eta(f32::NAN), ..request(&[1]) }, "eta"),
        (
            "ddpm",
            &teacher,
            Request { sampler: eta(0.5), noise: Some(vec![0.0; 192]), ..Request::default() },
            "seeds",
        ),
    ];
    for (case, options, wanted, argument) in cases {
        let error = draw(&mut session(case, options), &wanted).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.to_string().contains(argument), "{error}: expected a word of {argument}");
    }
}

#[test]
fn a_short_buffer_is_left_alone() {
    let mut session = session("ddpm", &options(Role::Student));
    let mut out = vec![7; 4 * 192 - 1];
    let error = session.sample(&request(&[1]), &Layout::default(), &mut out).unwrap_err();
    assert_eq!(error.code(), Code::BufferTooSmall);
    assert!(out.iter().all(|&byte| byte == 7));
}

#[test]
fn cancelling_is_sticky_and_leaves_the_session_usable() {
    for executor in executors() {
        let mut session = session("ddpm", &Options { executor, ..options(Role::Teacher) });
        let expected = draw(&mut session, &request(&[1])).unwrap();
        let cancel = Cancel::new();
        cancel.trigger();
        let wanted = Request { cancel: Some(cancel.clone()), ..request(&[1]) };
        for _ in 0..2 {
            assert_eq!(draw(&mut session, &wanted).unwrap_err().code(), Code::Cancelled);
        }
        cancel.reset();
        assert_eq!(draw(&mut session, &wanted).unwrap(), expected);

        // In the middle, from another thread's point of view: the callback triggers the token.
        let in_the_middle = cancel.clone();
        let progress: onestep::Progress = Arc::new(move |_, done, total| {
            if done == total / 2 {
                in_the_middle.trigger();
            }
            ControlFlow::Continue(())
        });
        let halfway = Request { cancel: Some(cancel), progress: Some(progress), ..request(&[1]) };
        assert_eq!(draw(&mut session, &halfway).unwrap_err().code(), Code::Cancelled);
        assert_eq!(draw(&mut session, &request(&[1])).unwrap(), expected);
    }
}

#[test]
fn a_prepared_session_draws_what_any_draws() {
    for executor in executors() {
        for case in ["ddpm", "guided"] {
            let options = Options { executor, ..options(Role::Teacher) };
            let labels = Model::open(golden(case), &options).unwrap().info().config.network.num_classes;
            let labels = labels.map(|_| vec![0, 1]);
            let sampler = Some(Sampler { kind: Some(Kind::Ddpm), steps: Some(2), ..Sampler::default() });
            let wanted = Request { labels, sampler, ..request(&[1, 2]) };
            let expected = draw(&mut session(case, &options), &wanted).unwrap();
            let mut session = session(case, &options);
            for batch in [2, 5, 1] {
                session.prepare(batch).unwrap();
                assert_eq!(draw(&mut session, &wanted).unwrap(), expected, "{case}, {executor:?}");
            }
        }
    }
    for kind in ["edm", "consistency"] {
        for case in common::cases(kind) {
            let mut session = Model::open(&case, &cpu()).unwrap().session(&cpu()).unwrap();
            session.prepare(3).unwrap();
        }
    }
}

#[test]
fn preparing_is_refused_heard_and_cancelled_as_a_call_is() {
    let mut options = options(Role::Student);
    options.limits.batch = 4;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    options.progress = Some(Arc::new(move |phase, done, total| {
        sink.lock().unwrap().push((phase, done, total));
        ControlFlow::Continue(())
    }));
    let cancel = Cancel::new();
    options.cancel = Some(cancel.clone());
    let mut session = session("ddpm", &options);
    for batch in [0, 5, usize::MAX] {
        let error = session.prepare(batch).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(
            error.to_string(),
            format!("batch: {batch} images; 1 to 4 (limits.batch) can be asked for")
        );
    }
    seen.lock().unwrap().clear();
    session.prepare(4).unwrap();
    check_progress(&seen.lock().unwrap(), Phase::Sample);
    cancel.trigger();
    assert_eq!(session.prepare(4).unwrap_err().code(), Code::Cancelled);
    cancel.reset();
    session.prepare(4).unwrap();
    draw(&mut session, &request(&[1, 2, 3, 4])).unwrap();
}

#[test]
fn progress_counts_from_nothing_to_all() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let progress: onestep::Progress = Arc::new(move |phase, done, total| {
        sink.lock().unwrap().push((phase, done, total));
        ControlFlow::Continue(())
    });
    let opening = Options { progress: Some(progress.clone()), ..options(Role::Teacher) };
    let model = Model::open(golden("ddpm"), &opening).unwrap();
    check_progress(&std::mem::take(&mut *seen.lock().unwrap()), Phase::Prepare);
    let mut session = model.session(&options(Role::Teacher)).unwrap();
    draw(&mut session, &Request { progress: Some(progress), ..request(&[1]) }).unwrap();
    check_progress(&seen.lock().unwrap(), Phase::Sample);
}

fn check_progress(seen: &[(Phase, u32, u32)], phase: Phase) {
    let done: Vec<u32> = seen.iter().map(|(_, done, _)| *done).collect();
    assert!(seen.iter().all(|(p, _, total)| *p == phase && *total == seen[0].2), "{seen:?}");
    assert_eq!(done[0], 0);
    assert!(done.windows(2).all(|pair| pair[0] <= pair[1]), "{done:?}");
    if phase == Phase::Sample {
        assert_eq!(*done.last().unwrap(), seen[0].2);
    }
}

#[test]
fn progress_can_cancel_opening() {
    let progress: onestep::Progress = Arc::new(|_, _, _| ControlFlow::Break(()));
    let options = Options { progress: Some(progress), ..cpu() };
    assert_eq!(Model::open(golden("ddpm"), &options).map(drop).unwrap_err().code(), Code::Cancelled);
}

#[test]
fn sessions_run_side_by_side_over_one_model() {
    let model = Model::open(golden("ddpm"), &options(Role::Student)).unwrap();
    let expected = draw(&mut model.session(&cpu()).unwrap(), &request(&[1, 2])).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = model.session(&Options { threads: 2, ..cpu() }).unwrap();
                for _ in 0..10 {
                    assert_eq!(draw(&mut session, &request(&[1, 2])).unwrap(), expected);
                }
            });
        }
    });
}

#[test]
fn a_session_outlives_its_model() {
    let mut session = session("ddpm", &options(Role::Student));
    draw(&mut session, &request(&[1])).unwrap();
}

#[test]
fn what_is_not_built_is_said() {
    for (options, words) in [
        (Options { device: "metal".into(), ..Options::default() }, "Metal"),
        (Options { precision: Precision::F16, ..cpu() }, "half precision"),
        (
            Options { precision: Precision::Bf16, executor: ExecutorKind::Reference, ..cpu() },
            "bf16 in the reference executor",
        ),
        #[cfg(not(feature = "candle"))]
        (
            Options { precision: Precision::F16, executor: ExecutorKind::Reference, ..cpu() },
            "half precision in the reference executor",
        ),
    ] {
        let error = Model::open(golden("ddpm"), &options).map(drop).unwrap_err();
        assert!(error.code() == Code::NotBuilt && error.to_string().contains(words), "{error}");
    }
    for device in ["gpu", "cpu:0:1", "cuda:x", "CPU"] {
        let options = Options { device: device.into(), ..Options::default() };
        assert_eq!(
            Model::open(golden("ddpm"), &options).map(drop).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}

#[cfg(feature = "cuda")]
#[test]
fn a_device_that_is_not_there_is_unavailable() {
    let options = Options { device: "cuda:9999".into(), ..Options::default() };
    let error = Model::open(golden("ddpm"), &options).map(drop).unwrap_err();
    assert!(error.code() == Code::DeviceUnavailable, "{error}");
    assert!(error.to_string().starts_with("device cuda:9999: "), "{error}");
}

#[test]
fn memory_estimates_grow_with_the_batch() {
    let model = Model::open(golden("ddpm"), &options(Role::Student)).unwrap();
    assert_eq!(model.info().executor, ExecutorKind::Fast);
    let (one, eight) = (model.estimate_memory(1).unwrap(), model.estimate_memory(8).unwrap());
    assert_eq!(one.weights, eight.weights);
    assert!(one.scratch > 0 && eight.scratch > 2 * one.scratch, "{one:?} {eight:?}");
    assert_eq!(model.estimate_memory(0).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn eight_bit_images_are_the_floats_rounded() {
    let mut session = session("ddpm", &options(Role::Student));
    let floats = common::floats(&draw(&mut session, &request(&[4])).unwrap());
    let layout = Layout { format: Format::Rgb8, ..Layout::default() };
    let mut pixels = vec![0; 192];
    session.sample(&request(&[4]), &layout, &mut pixels).unwrap();
    for (i, &pixel) in pixels.iter().enumerate() {
        let value = floats[(i % 3) * 64 + i / 3].clamp(-1.0, 1.0);
        assert!((f32::from(pixel) - (value + 1.0) * 127.5).abs() <= 0.5 + 1e-4);
    }
}
