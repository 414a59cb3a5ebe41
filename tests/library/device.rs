//! What a CUDA device itself must show: `scripts/device-check.sh` runs these on a machine that has one, and
//! `tests/library/cuda.rs` shows the same without.
#![cfg(feature = "cuda")]

use crate::common::{Golden, assert_close, cpu, diffusers_cases};
use onestep::image::Format;
use onestep::{Layout, Model, Options, Precision, Request, Session};

const PRECISIONS: [(Precision, f64); 3] =
    [(Precision::F32, 1e-4), (Precision::Bf16, 2e-2), (Precision::F16, 5e-3)];

fn on_device(precision: Precision) -> Options {
    Options { device: "cuda:0".into(), precision, ..Options::default() }
}

fn draw(session: &mut Session, seeds: Vec<u64>, format: Format) -> Vec<u8> {
    let labels = session.model().info().config.network.num_classes;
    let labels = labels.map(|classes| seeds.iter().map(|&seed| (seed % classes as u64) as i32).collect());
    let layout = Layout { format, ..Layout::default() };
    let mut out = vec![0; session.model().output_size(seeds.len(), &layout).unwrap() as usize];
    session.sample(&Request { seeds: Some(seeds), labels, ..Request::default() }, &layout, &mut out).unwrap();
    out
}

#[test]
#[ignore = "needs a CUDA device"]
fn networks_agree_with_diffusers() {
    for case in diffusers_cases() {
        let golden = Golden::read(&case);
        for (precision, limit) in PRECISIONS {
            let options = on_device(precision);
            let mut session = Model::open(&case, &options).unwrap().session(&options).unwrap();
            for t in golden.timesteps() {
                let (x, expected) = (golden.f32("x"), golden.f32(&format!("eps_{t}")));
                let mut out = vec![0.0; x.len()];
                session.predict(&x, &vec![t; golden.batch()], golden.labels().as_deref(), &mut out).unwrap();
                assert_close(&format!("{} {precision:?} eps_{t}", case.display()), &out, &expected, limit);
            }
        }
    }
}

/// The noise of a device that draws it, seen through networks that are fed it: the CPU's pictures, and its own from noise
/// that the host made.
#[test]
#[ignore = "needs a CUDA device"]
fn a_seed_means_the_same_noise() {
    let options = on_device(Precision::F32);
    let model = Model::open_default(&options).unwrap();
    let image: usize = model.info().config.network.image().iter().product();
    let mut session = model.session(&options).unwrap();
    let seeds: Vec<u64> = (0..64).map(|i| i * 0x0123_4567_89ab_cdef).collect();
    let mut noise = vec![0.0; image * seeds.len()];
    model.noise(&seeds, &mut noise).unwrap();
    let labels: Option<Vec<i32>> = Some(seeds.iter().map(|seed| (seed % 8) as i32).collect());
    let request = Request { noise: Some(noise), labels, ..Request::default() };
    let mut given = vec![0; 4 * image * seeds.len()];
    session.sample(&request, &Layout::default(), &mut given).unwrap();
    assert!(draw(&mut session, seeds.clone(), Format::F32Nchw) == given);

    let on_cpu = Model::open_default(&cpu()).unwrap();
    let expected = draw(&mut on_cpu.session(&cpu()).unwrap(), seeds, Format::F32Nchw);
    let floats =
        |bytes: &[u8]| -> Vec<f32> { bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect() };
    assert_close("beside the CPU", &floats(&given), &floats(&expected), 1e-4);
}

#[test]
#[ignore = "needs a CUDA device"]
fn an_image_is_its_seeds_alone() {
    for (precision, _) in PRECISIONS {
        let options = on_device(precision);
        let mut session = Model::open_default(&options).unwrap().session(&options).unwrap();
        // Enough for the largest tile, and one for the smallest.
        let all = draw(&mut session, (0..600).collect(), Format::Rgb8);
        let image = all.len() / 600;
        for seed in [0, 1, 299, 599] {
            let alone = draw(&mut session, vec![seed], Format::Rgb8);
            assert!(alone == all[seed as usize * image..][..image], "{precision:?}, seed {seed}");
        }
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn ten_thousand_calls_hold_no_more_memory() {
    let options = on_device(Precision::Bf16);
    let mut session = Model::open_default(&options).unwrap().session(&options).unwrap();
    let free =
        || onestep::devices().into_iter().find(|device| device.id == "cuda:0").unwrap().memory_free as i64;
    let calls = std::env::var("ONESTEP_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(10_000);
    let first = draw(&mut session, vec![1, 2, 3], Format::Rgb8);
    // The driver grows its own pools at first.
    (0..calls / 100).for_each(|_| drop(draw(&mut session, vec![1, 2, 3], Format::Rgb8)));
    let (device, host) = (free(), resident());
    for call in 0..calls {
        assert!(draw(&mut session, vec![1, 2, 3], Format::Rgb8) == first, "call {call}");
    }
    let lost = device - free();
    println!(
        "after {calls} calls: {lost} bytes of the device, {} of the host",
        resident() as i64 - host as i64
    );
    assert!(lost <= 4 << 20, "{lost} bytes of the device");
    assert!(resident() < host + (8 << 20), "{} bytes of the host, {host} before", resident());
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
