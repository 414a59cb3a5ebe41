//! The CUDA executor on a machine without a GPU: its own kernels, on an emulator, below a driver on paper. What a GPU
//! alone can show is in `scripts/device-check.sh`.
#![cfg(all(feature = "cuda", target_os = "linux", target_arch = "x86_64"))]

use crate::common::{Golden, assert_close, golden, repository};
#[cfg(feature = "formats")]
use crate::golden::collection;
use crate::support::chain::{ODD, difference, run};
use crate::support::paper::{Count, Paper};
use onestep::exec::cpu::{Cpu, CpuDevice};
use onestep::exec::cuda::{Cuda, CudaDevice, Element};
use onestep::exec::reference::{Reference, ReferenceDevice};
use onestep::exec::{Clipped, Executor, Step};
use onestep::image::Format;
use onestep::model::Role;
use onestep::sampler::{Kind, Sampler};
use onestep::{Cancel, Code, CudaConvolutions, Error, Layout, Model, Options, Precision, Request, Session};
use std::sync::{Arc, Mutex};

/// Channels that the tensor cores' kernels take.
const EIGHTS: &[usize] = &[8, 16, 24, 32, 64, 72, 136];

/// Relative RMS of a few layers beside f32 on the CPU.
const ELEMENTS: [(Element, f64); 3] = [(Element::F32, 5e-6), (Element::Bf16, 1.5e-2), (Element::F16, 2e-3)];

fn options(paper: &Paper, precision: Precision) -> Options {
    let cuda_library_path = Some(paper.folder().to_path_buf());
    Options { device: "cuda:0".into(), precision, cuda_library_path, ..Options::default() }
}

fn on_cpu() -> Options {
    Options { device: "cpu".into(), ..Options::default() }
}

/// The floats of some seeds.
fn draw(session: &mut Session, seeds: &[u64]) -> Result<Vec<f32>, Error> {
    let request = Request { seeds: Some(seeds.to_vec()), ..Request::default() };
    draw_request(session, &request, seeds.len())
}

fn draw_request(session: &mut Session, request: &Request, batch: usize) -> Result<Vec<f32>, Error> {
    let layout = Layout::default();
    let mut bytes = vec![0; session.model().output_size(batch, &layout)? as usize];
    session.sample(request, &layout, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect())
}

#[test]
fn random_chains_give_the_reference_executors_images() {
    let paper = Paper::new();
    for (element, limit) in ELEMENTS {
        let device = Arc::new(CudaDevice::open(Some(paper.folder()), 0, element).unwrap());
        let mut worst = 0.0f64;
        for (widths, seeds) in [(ODD, 0..8), (EIGHTS, 20..32)] {
            for seed in seeds {
                let expected = run(&mut Reference, &ReferenceDevice::default(), widths, seed).unwrap();
                let mut cuda = Cuda::new(device.clone()).unwrap();
                let error = difference(&run(&mut cuda, &device, widths, seed).unwrap(), &expected);
                assert!(error < limit, "seed {seed}, {element:?}: relative RMS {error:e}");
                worst = worst.max(error);
            }
        }
        println!("{element:?}: worst relative RMS {worst:e}");
    }
}

/// Scores that differ by much, more keys than a tile holds, heads of every width and wider than one block makes.
#[test]
fn attention_is_the_reference_executors() {
    use crate::support::chain::{Random, tensor};
    use onestep::exec::{AttentionWeights, ConvKind, ConvWeights, LinearWeights, NormWeights};
    fn attended<E: Executor>(
        exec: &mut E,
        device: &E::Device,
        c: usize,
        heads: usize,
        size: (usize, usize),
    ) -> Vec<f32> {
        let random = &mut Random(c as u64);
        let norm = |random: &mut Random| NormWeights {
            weight: tensor(random, &[c], 1.0),
            bias: tensor(random, &[c], 1.0),
            groups: 2,
            eps: 1e-5,
        };
        let linear = |random: &mut Random, scale| LinearWeights {
            weight: tensor(random, &[c, c], scale),
            bias: tensor(random, &[c], 1.0),
        };
        let conv = |random: &mut Random, kind, k, n| ConvWeights {
            kind,
            size,
            weight: tensor(random, &[n, k, 3, 3], 1.0),
            bias: tensor(random, &[n], 1.0),
        };
        let first = E::prepare_conv(device, &conv(random, ConvKind::In { center: false }, 1, c)).unwrap();
        let weights = AttentionWeights {
            norm: Some(norm(random)),
            qkv: [linear(random, 4.0), linear(random, 4.0), linear(random, 1.0)],
            out: linear(random, 1.0),
            heads,
            scale: 1.0,
        };
        let attention = E::prepare_attention(device, &weights).unwrap();
        let (last_norm, last) = (
            E::prepare_norm(device, &norm(random)).unwrap(),
            E::prepare_conv(device, &conv(random, ConvKind::Out, c, 1)).unwrap(),
        );
        let shape = [1, 1, size.0, size.1];
        let pixels = tensor(random, &shape, 1.0);
        let work = |exec: &mut E| {
            let x = exec.load(shape, &mut |out| pixels.values.read(0, out).unwrap())?;
            let x = exec.conv_in(&x, &first)?;
            let x = exec.attention(&x, &attention)?;
            exec.conv_out(&x, &last_norm, &last)
        };
        exec.plan(&mut |exec| work(exec).map(drop)).unwrap();
        let state = work(exec).unwrap();
        let mut out = vec![0; 4 * size.0 * size.1];
        exec.emit(&state, &Layout::default(), &mut out).unwrap();
        out.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()
    }
    let paper = Paper::new();
    for (element, limit) in ELEMENTS {
        let device = Arc::new(CudaDevice::open(Some(paper.folder()), 0, element).unwrap());
        for (c, heads, size) in [
            (16, 2, (10, 20)),
            (24, 3, (5, 13)),
            (40, 1, (9, 11)),
            (64, 1, (8, 8)),
            (128, 1, (3, 11)),
            (136, 1, (6, 12)),
            (264, 1, (5, 8)),
            (18, 2, (33, 33)),
        ] {
            let expected = attended(&mut Reference, &ReferenceDevice::default(), c, heads, size);
            let found = attended(&mut Cuda::new(device.clone()).unwrap(), &device, c, heads, size);
            let error = difference(&found, &expected);
            assert!(error < 2.0 * limit, "{element:?}, {c} channels, {heads} heads: relative RMS {error:e}");
        }
    }
}

/// Fewer multiprocessors ask for larger tiles; every tile sums in the same order.
#[test]
fn the_tile_changes_no_bit() {
    let paper = Paper::new();
    let images = [1, 6, 1000].map(|multiprocessors| {
        paper.set("multiprocessors", multiprocessors);
        let device = Arc::new(CudaDevice::open(Some(paper.folder()), 0, Element::Bf16).unwrap());
        (20..26)
            .map(|seed| run(&mut Cuda::new(device.clone()).unwrap(), &device, EIGHTS, seed).unwrap())
            .collect::<Vec<_>>()
    });
    assert!(images[0] == images[1] && images[1] == images[2]);
}

#[test]
fn networks_agree_with_diffusers() {
    let paper = Paper::new();
    for (precision, limit) in [(Precision::F32, 1e-4), (Precision::Bf16, 2e-2), (Precision::F16, 5e-3)] {
        for case in ["ddpm", "uncommon", "plain", "one_level", "resnet", "ddpmpp", "guided"] {
            let (case, options) = (golden(case), options(&paper, precision));
            let golden = Golden::read(&case);
            let model = Model::open(&case, &options).unwrap();
            assert_eq!((model.info().device.as_str(), model.info().precision), ("cuda:0", precision));
            let mut session = model.session(&options).unwrap();
            let t = golden.timesteps()[1];
            let (x, expected) = (golden.f32("x"), golden.f32(&format!("eps_{t}")));
            let mut out = vec![0.0; x.len()];
            session.predict(&x, &vec![t; golden.batch()], golden.labels().as_deref(), &mut out).unwrap();
            assert_close(&format!("{} {precision:?}", case.display()), &out, &expected, limit);
            assert!(precision == Precision::F32 || out != expected, "{precision:?} was not used");
        }
    }
}

/// The larger collection's networks, where there is one (`ONESTEP_GOLDEN`): minutes on the emulator.
#[cfg(feature = "formats")]
#[test]
fn golden_originals_agree_with_their_code() {
    let paper = Paper::new();
    let options = options(&paper, Precision::F32);
    collection::each_of_edms(&options, 1e-4);
    collection::each_of_openais(&options, 1e-4);
}

/// Every sampler, with its noise from the device and its steps there, beside the CPU executor.
#[test]
fn samplers_agree_with_the_cpu() {
    let paper = Paper::new();
    let cuda = options(&paper, Precision::F32);
    let tiny = repository().join("tests/golden");
    let steps = |kind, steps| Sampler { kind, steps: Some(steps), ..Sampler::default() };
    for (case, sampler) in [
        ("diffusers/ddpm", steps(None, 4)),
        ("diffusers/ddpm", Sampler { eta: 0.5, ..steps(None, 3) }),
        ("diffusers/ddpm", steps(Some(Kind::Ddpm), 4)),
        ("diffusers/guided", steps(Some(Kind::Ddpm), 3)),
        ("edm/tiny", steps(Some(Kind::Euler), 3)),
        ("edm/tiny", steps(Some(Kind::Heun), 3)),
    ] {
        let [mut device, mut host] = [&cuda, &on_cpu()].map(|options| {
            Model::open(tiny.join(case), options).unwrap().session(&Options::default()).unwrap()
        });
        let seeds = Some(vec![3, 1 << 40, u64::MAX]);
        let request = Request { seeds, sampler: Some(sampler), ..Request::default() };
        let [found, expected] =
            [&mut device, &mut host].map(|session| draw_request(session, &request, 3).unwrap());
        assert!(difference(&found, &expected) < 1e-4, "{request:?}", request = request.sampler);
    }
}

/// Noise, steps and pixels have no tolerance: the bits are the host's.
#[test]
fn noise_steps_and_pixels_are_the_hosts_to_the_bit() {
    let paper = Paper::new();
    let device = Arc::new(CudaDevice::open(Some(paper.folder()), 0, Element::Bf16).unwrap());
    let mut cuda = Cuda::new(device).unwrap();
    let mut cpu = Cpu::new(Arc::new(CpuDevice::default()), 1, None).unwrap();
    let seeds = [0, 7, u64::MAX];
    let clipped = Some(Clipped { x: 1.7, net: -0.9, limit: 1.0, weight: 0.6 });
    for (shape, stream) in [([3, 3, 5, 7], 0), ([3, 1, 9, 11], 2), ([3, 4, 16, 16], 1000)] {
        for step in [
            Step { x: 0.31, net: -0.77, ..Step::default() },
            Step { x: 0.9, net: 0.1, noise: 0.4, clipped, ..Step::default() },
            Step { spread: Some((-2.5, 1.75)), ..Step::default() },
            // Beyond what a float holds, either way.
            Step { spread: Some((-30.0, 400.0)), ..Step::default() },
        ] {
            for format in 0..5 {
                let layout = Layout {
                    format: Format::from_i32(format).unwrap(),
                    flip_y: stream == 2,
                    unit_range: stream == 1000,
                    premultiplied: stream == 1000,
                    row_stride: 480,
                    columns: if stream == 2 { 2 } else { 0 },
                    ..Layout::default()
                };
                let found = bytes(&mut cuda, shape, &seeds, stream, &step, &layout);
                assert_eq!(
                    found,
                    bytes(&mut cpu, shape, &seeds, stream, &step, &layout),
                    "{shape:?} {layout:?}"
                );
            }
        }
    }
}

fn bytes<E: Executor>(
    exec: &mut E,
    shape: [usize; 4],
    seeds: &[u64],
    stream: u32,
    step: &Step,
    layout: &Layout,
) -> Vec<u8> {
    let work = |exec: &mut E| {
        let mut states = [stream, stream + 1, stream + 2]
            .map(|stream| exec.noise(shape, seeds, (stream, if stream == 2 { 0.3 } else { 1.0 })).map(Some));
        let [x, net, fresh] = states.each_mut().map(|state| state.as_mut().unwrap().take().unwrap());
        exec.combine(x, &net, (step.noise != 0.0).then_some(&fresh), step)
    };
    exec.plan(&mut |exec| work(exec).map(drop)).unwrap();
    let state = work(exec).unwrap();
    let mut out = vec![0xAA; layout.output_size(shape).unwrap() as usize + 3];
    exec.emit(&state, layout, &mut out).unwrap();
    out
}

/// The same network through cuDNN's interface: a cuDNN on paper that computes what the library describes to it.
#[test]
fn cudnn_convolves_the_same() {
    let paper = Paper::new().with_cudnn();
    for case in ["ddpm", "uncommon", "plain"] {
        let [own, cudnn] = [CudaConvolutions::Own, CudaConvolutions::Cudnn].map(|cuda_convolutions| {
            let options = Options { cuda_convolutions, ..options(&paper, Precision::Bf16) };
            let case = golden(case);
            let golden = Golden::read(&case);
            let mut session = Model::open(&case, &options).unwrap().session(&options).unwrap();
            let x = golden.f32("x");
            let before = paper.convolutions();
            let drawn = [0, 1].map(|_| {
                let mut out = vec![0.0; x.len()];
                let labels = golden.labels();
                session.predict(&x, &vec![500; golden.batch()], labels.as_deref(), &mut out).unwrap();
                out
            });
            assert!(drawn[0] == drawn[1], "{case:?}");
            (drawn, paper.convolutions() - before)
        });
        assert!(difference(&cudnn.0[0], &own.0[0]) < 1e-2, "{case}");
        // Widths that are no eights are not cuDNN's.
        assert!(own.1 == 0 && (cudnn.1 > 0) == (case != "plain"), "{case}: {} convolutions", cudnn.1);
    }
    assert_eq!(paper.count(Count::BytesHeld), 0);
}

#[test]
fn consistency_models_agree_with_diffusers_and_the_cpu() {
    let paper = Paper::new();
    for case in crate::common::cases("consistency") {
        let golden = Golden::read(&case);
        let options = options(&paper, Precision::F32);
        let model = Model::open(&case, &options).unwrap();
        let mut session = model.session(&options).unwrap();
        let (n, labels) = (golden.batch(), golden.labels());
        let request = Request { noise: Some(golden.f32("x")), labels: labels.clone(), ..Request::default() };
        let drawn = draw_request(&mut session, &request, n).unwrap();
        assert!(difference(&drawn, &golden.f32("onestep")) < 1e-4, "{}", case.display());
        let sampler = Some(Sampler { steps: Some(3), ..Sampler::default() });
        let seeds = Some((0..n as u64).collect());
        let request = Request { seeds, labels, sampler, ..Request::default() };
        let mut host = Model::open(&case, &on_cpu()).unwrap().session(&on_cpu()).unwrap();
        let [gpu, cpu] = [&mut session, &mut host].map(|it| draw_request(it, &request, n).unwrap());
        assert!(difference(&gpu, &cpu) < 1e-4, "{}", case.display());
    }
}

#[test]
fn an_image_is_its_seeds_alone() {
    let paper = Paper::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let options = Options { role: Some(Role::Student), ..options(&paper, precision) };
        let model = Model::open(golden("ddpm"), &options).unwrap();
        let mut session = model.session(&options).unwrap();
        let all = draw(&mut session, &[5, 6, 7, 8, 9]).unwrap();
        let image = all.len() / 5;
        for (i, seed) in (5..10).enumerate() {
            assert!(
                draw(&mut session, &[seed]).unwrap() == all[i * image..][..image],
                "seed {seed} {precision:?}"
            );
        }
        // x_T by hand is the seed's, whichever comes first.
        for seeds in [&[8, 9][..], &[5]] {
            let mut noise = vec![0.0; seeds.len() * image];
            model.noise(seeds, &mut noise).unwrap();
            let request = Request { noise: Some(noise), ..Request::default() };
            let given = draw_request(&mut session, &request, seeds.len()).unwrap();
            assert!(given == draw(&mut session, seeds).unwrap());
            assert!(given == all[(seeds[0] as usize - 5) * image..][..given.len()]);
        }
    }
}

#[test]
fn a_batch_size_has_one_graph_and_calls_allocate_nothing() {
    let paper = Paper::new();
    let options = Options { role: Some(Role::Student), ..options(&paper, Precision::Bf16) };
    let model = Model::open(golden("ddpm"), &options).unwrap();
    let mut session = model.session(&options).unwrap();
    let opened = paper.count(Count::Graphs);
    let first = [draw(&mut session, &[1, 2]).unwrap(), draw(&mut session, &[1]).unwrap()];
    let counts = || {
        [Count::Allocations, Count::BytesHeld, Count::Handles, Count::Graphs].map(|what| paper.count(what))
    };
    let (before, launched) = (counts(), paper.count(Count::GraphLaunches));
    for _ in 0..20 {
        assert!(
            draw(&mut session, &[1, 2]).unwrap() == first[0] && draw(&mut session, &[1]).unwrap() == first[1]
        );
    }
    assert_eq!(counts(), before);
    assert_eq!(paper.count(Count::GraphLaunches), launched + 40);
    // Noise, network (one graph), step, pixels: a student's call launches three kernels of its own.
    let (kernels, graphs) = (paper.count(Count::Launches), before[3]);
    draw(&mut session, &[3, 4]).unwrap();
    assert!(graphs == opened + 2 && paper.count(Count::Launches) - kernels > 20);
}

/// Of a student, of DDIM, of a learned variance, and of Heun's two places.
#[test]
fn a_prepared_sessions_first_call_makes_no_graph_and_allocates_nothing() {
    let paper = Paper::new();
    for (role, case) in [
        (Some(Role::Student), golden("ddpm")),
        (Some(Role::Teacher), golden("ddpm")),
        (None, golden("guided")),
        (None, repository().join("tests/golden/edm/tiny")),
    ] {
        let options = Options { role, ..options(&paper, Precision::F32) };
        let model = Model::open(&case, &options).unwrap();
        let labels = model.info().config.network.num_classes.map(|_| vec![1, 0]);
        let request = Request { seeds: Some(vec![1, 2]), labels, ..Request::default() };
        let expected = draw_request(&mut model.session(&options).unwrap(), &request, 2).unwrap();
        let mut session = model.session(&options).unwrap();
        session.prepare(2).unwrap();
        let counts = || {
            [Count::Allocations, Count::BytesHeld, Count::Handles, Count::Graphs]
                .map(|what| paper.count(what))
        };
        let before = counts();
        assert!(draw_request(&mut session, &request, 2).unwrap() == expected, "{case:?}");
        assert_eq!(counts(), before, "{case:?}");
    }
}

/// The paper driver refuses to destroy a graph that a stream may be running.
#[test]
fn graphs_that_were_not_used_for_long_are_dropped() {
    let paper = Paper::new();
    let options = Options { role: Some(Role::Student), ..options(&paper, Precision::Bf16) };
    let model = Model::open(golden("ddpm"), &options).unwrap();
    let mut session = model.session(&options).unwrap();
    // The plan for the largest batch first, since another plan forgets all graphs.
    let largest = draw(&mut session, &[7; 10]).unwrap();
    let handles = paper.count(Count::Handles);
    for batch in 1..10 {
        assert!(draw(&mut session, &vec![7; batch]).unwrap() == largest[..largest.len() / 10 * batch]);
    }
    assert_eq!(paper.count(Count::Handles), handles + 7);
}

#[test]
fn everything_is_given_back() {
    let paper = Paper::new();
    let options = options(&paper, Precision::Bf16);
    let request = |steps| Request {
        seeds: Some(vec![1, 2, 3]),
        sampler: Some(Sampler { kind: Some(Kind::Ddpm), steps: Some(steps), ..Sampler::default() }),
        ..Request::default()
    };
    let model = Model::open(golden("ddpm"), &options).unwrap();
    let mut sessions = [0, 1].map(|_| model.session(&options).unwrap());
    drop(model);
    for session in &mut sessions {
        draw_request(session, &request(6), 3).unwrap();
    }
    assert!(paper.count(Count::BytesHeld) > 0);
    drop(sessions);
    assert_eq!((paper.count(Count::BytesHeld), paper.count(Count::Handles)), (0, 0));
}

#[test]
fn sessions_run_side_by_side() {
    let paper = Paper::new();
    let options = Options { role: Some(Role::Student), ..options(&paper, Precision::Bf16) };
    let model = Model::open(golden("ddpm"), &options).unwrap();
    let expected = draw(&mut model.session(&options).unwrap(), &[1, 2]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut session = model.session(&options).unwrap();
                for _ in 0..3 {
                    assert!(draw(&mut session, &[1, 2]).unwrap() == expected);
                }
            });
        }
    });
}

#[test]
fn a_cancelled_call_leaves_the_session_usable() {
    let paper = Paper::new();
    let cancel = Cancel::new();
    let options = Options { cancel: Some(cancel.clone()), ..options(&paper, Precision::Bf16) };
    let model = Model::open(golden("ddpm"), &options).unwrap();
    let mut session = model.session(&options).unwrap();
    let sampler = Some(Sampler { steps: Some(3), ..Sampler::default() });
    let request = Request { seeds: Some(vec![1]), sampler, ..Request::default() };
    let expected = draw_request(&mut session, &request, 1).unwrap();
    for after in [0, 3, 11, 17] {
        let seen = Arc::new(Mutex::new(0));
        let (token, count) = (cancel.clone(), seen.clone());
        let progress: onestep::Progress = Arc::new(move |_, _, _| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count > after {
                token.trigger();
            }
            std::ops::ControlFlow::Continue(())
        });
        let cancelled = Request { progress: Some(progress), ..request.clone() };
        assert_eq!(draw_request(&mut session, &cancelled, 1).unwrap_err().code(), Code::Cancelled);
        cancel.reset();
        assert!(draw_request(&mut session, &request, 1).unwrap() == expected);
    }
}

#[test]
fn what_is_missing_is_said() {
    let open = |paper: &Paper, device: &str| {
        let options = Options { device: device.into(), ..options(paper, Precision::Auto) };
        Model::open(golden("ddpm"), &options).map(drop).unwrap_err()
    };
    let refused = |setting: &str, value: i64, device: &str, words: &str| {
        let paper = Paper::new();
        paper.set(setting, value);
        let error = open(&paper, device);
        assert!(error.code() == Code::DeviceUnavailable && error.to_string().contains(words), "{error}");
    };
    refused("version", 11040, "cuda:0", "version 11.4; 11.7 (driver 515) or later is needed");
    refused("init", 100, "cuda:0", "finds no device");
    refused("init", 803, "cuda:0", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)");
    refused("devices", 2, "cuda:2", "device cuda:2: there are 2 CUDA devices");
    refused("major", 7, "cuda:0", "Paper GPU 0 is of compute capability 7.0; 8.0 or later is needed");
    let paper = Paper::new();
    let cudnn = Options { cuda_convolutions: CudaConvolutions::Cudnn, ..options(&paper, Precision::Auto) };
    let error = Model::open(golden("ddpm"), &cudnn).map(drop).unwrap_err();
    let words = "device cuda:0: cuDNN 9 could not be loaded from libcudnn.so.9";
    assert!(error.code() == Code::DeviceUnavailable && error.to_string().contains(words), "{error}");
    // Kernels that the driver's compiler refuses: with its reason.
    let paper = Paper::new();
    paper.set("refuses_code", 1);
    let error = open(&paper, "cuda:0");
    let words = "device cuda:0 failed: cuModuleLoadDataEx line 7: not on paper: ";
    assert!(error.code() == Code::DeviceFailed && error.to_string().starts_with(words), "{error}");
    // A driver that has not all functions.
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("empty.c");
    std::fs::write(&source, "int cuInit(unsigned flags) { return (int)flags; }").unwrap();
    let library = folder.path().join("libcuda.so.1");
    let built = std::process::Command::new("cc").arg("-shared").arg(&source).arg("-o").arg(&library).status();
    assert!(built.unwrap().success());
    let options = Options {
        device: "cuda:0".into(),
        cuda_library_path: Some(folder.path().to_path_buf()),
        ..Options::default()
    };
    let error = Model::open(golden("ddpm"), &options).map(drop).unwrap_err();
    let words = "libcuda.so.1 has no function cuDriverGetVersion: the driver is older than CUDA 11.7";
    assert!(error.code() == Code::DeviceUnavailable && error.to_string().contains(words), "{error}");
}

#[test]
fn memory_that_is_not_there_is_out_of_memory() {
    let paper = Paper::new();
    paper.set("memory", 100_000);
    let options = Options { role: Some(Role::Student), ..options(&paper, Precision::Bf16) };
    let error = Model::open(golden("ddpm"), &options).map(drop).unwrap_err();
    assert!(
        error.code() == Code::OutOfMemory && error.to_string().contains("weights on the device"),
        "{error}"
    );
    assert_eq!(paper.count(Count::BytesHeld), 0);

    paper.set("memory", 8 << 30);
    let model = Model::open(golden("ddpm"), &options).unwrap();
    let mut session = model.session(&options).unwrap();
    let expected = draw(&mut session, &[1]).unwrap();
    paper.set("memory", paper.count(Count::BytesHeld) + (1 << 16));
    let error = draw(&mut session, &[0; 64]).unwrap_err();
    assert!(error.code() == Code::OutOfMemory && error.to_string().contains("scratch memory"), "{error}");
    // The session goes on with what there is memory for, and with more once there is more.
    assert!(draw(&mut session, &[1]).unwrap() == expected);
    paper.set("memory", 8 << 30);
    draw(&mut session, &[0; 4]).unwrap();
    assert!(draw(&mut session, &[1]).unwrap() == expected);
}

#[test]
fn a_device_that_fails_is_named_with_its_own_words() {
    const LAUNCH_FAILED: i64 = 719;
    let paper = Paper::new();
    let options = Options { role: Some(Role::Student), ..options(&paper, Precision::Bf16) };
    let model = Model::open(golden("ddpm"), &options).unwrap();
    for function in [
        "cuGraphLaunch",
        "cuStreamSynchronize",
        "cuMemcpyDtoHAsync_v2",
        "cuLaunchKernel",
        "cuGraphCreate",
        "cuGraphAddKernelNode",
        "cuGraphInstantiateWithFlags",
    ] {
        let mut session = model.session(&options).unwrap();
        paper.fail(function, 0, LAUNCH_FAILED);
        let error = draw(&mut session, &[1]).unwrap_err();
        let words = "device cuda:0 failed: cu";
        assert!(
            error.code() == Code::DeviceFailed && error.to_string().starts_with(words),
            "{function}: {error}"
        );
        assert!(
            error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure"),
            "{error}"
        );
        paper.fail(function, 0, 0);
    }
    // Whatever call fails first, there is an error and no more than that.
    for function in
        ["cuMemAlloc_v2", "cuMemHostAlloc", "cuEventCreate", "cuEventSynchronize", "cuMemcpyHtoDAsync_v2"]
    {
        for after in 0..12 {
            let mut session = model.session(&options).unwrap();
            paper.fail(function, after, LAUNCH_FAILED);
            let drawn = draw(&mut session, &[1]);
            assert!(
                drawn.is_ok() || drawn.is_err_and(|error| error.code() == Code::DeviceFailed),
                "{function}"
            );
            drop(session);
            paper.fail(function, 0, 0);
        }
    }
    drop(model);
    assert_eq!((paper.count(Count::BytesHeld), paper.count(Count::Handles)), (0, 0));
}

/// A device that computes something else is found before it draws.
#[test]
fn a_device_whose_answers_are_wrong_is_refused() {
    for (broken, words) in
        [(1, "its answers are not the CPU's: relative RMS"), (2, "the noise of a seed is not the CPU's")]
    {
        let paper = Paper::new();
        paper.set("broken", broken);
        for precision in [Precision::Bf16, Precision::F16] {
            let error = Model::open(golden("ddpm"), &options(&paper, precision)).map(drop).unwrap_err();
            let words = format!("device cuda:0 failed: {words}");
            assert!(error.code() == Code::DeviceFailed && error.to_string().starts_with(&words), "{error}");
        }
        let auto = Options { device: "auto".into(), ..options(&paper, Precision::Auto) };
        assert_eq!(Model::open(golden("ddpm"), &auto).unwrap().info().device, "cpu");
        assert_eq!((paper.count(Count::BytesHeld), paper.count(Count::Handles)), (0, 0));
    }
}

#[test]
fn auto_takes_the_device_and_else_the_cpu_and_says_why() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let sink = |_, message: &str| SAID.lock().unwrap().push(message.to_owned());
    onestep::log::set(Some((onestep::log::Level::Info, Box::new(sink))));
    let device = |paper: &Paper| {
        let options = Options { device: "auto".into(), ..options(paper, Precision::Auto) };
        Model::open(golden("ddpm"), &options).unwrap().info().device.clone()
    };
    let said = |words: &str| {
        let said = SAID.lock().unwrap();
        assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:#?}");
    };
    let paper = Paper::new();
    assert_eq!(device(&paper), "cuda:0");
    let old = Paper::new();
    old.set("version", 11040);
    assert_eq!(device(&old), "cpu");
    said("device auto is the CPU: CUDA's driver is of version 11.4");
    paper.set("memory", 4096);
    assert_eq!(device(&paper), "cpu");
    said("device auto leaves cuda:0 aside: out of memory");
    onestep::log::set(None);
}

/// Without a compiler for CUDA, the sources' sum tells whether the committed PTX is theirs (`scripts/ptx.sh`).
#[test]
fn the_code_for_gpus_is_that_of_the_sources() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exec/cuda/kernels");
    let script = "cat *.cu *.cuh | sha256sum | cut -d' ' -f1";
    let sum = std::process::Command::new("sh").current_dir(&folder).args(["-c", script]).output().unwrap();
    let first =
        format!("// Made by scripts/ptx.sh of sources {}", String::from_utf8(sum.stdout).unwrap().trim());
    for element in ["f32", "bf16", "f16"] {
        let code = std::fs::read_to_string(folder.join(format!("{element}.ptx"))).unwrap();
        assert_eq!(code.lines().next(), Some(&*first), "{element}.ptx is stale: run scripts/ptx.sh");
        assert!(code.contains(".version 7.0\n.target sm_80\n"));
    }
}
