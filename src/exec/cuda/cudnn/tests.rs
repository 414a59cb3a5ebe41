//! Against a cuDNN of plain loops on host memory, `tests/cuda/cudnn.cpp`, whose engines and failures are chosen here.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use half::{bf16, f16};
use libloading::{Library, Symbol};

use super::*;
use crate::error::Code;
use crate::exec::cuda::kernels::Element;

const A: c_int = 3;
const FALLBACK: c_int = 2;
const TENSOR_CORE: u32 = 1;
const REDUCED: u32 = 1 << 2;
const NONDETERMINISTIC: u32 = 1 << 4;
const NOT_SUPPORTED: c_int = 3000;
const LIMIT: usize = 1 << 20;

/// A copy of the library to itself, so that no test sees another one's engines.
struct Fake {
    folder: tempfile::TempDir,
    library: Library,
}

impl Fake {
    fn new() -> Self {
        static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
        Self::of(COMPILED.get_or_init(|| compile(&[])))
    }

    fn of(compiled: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libcudnn.so.9");
        std::fs::write(&file, compiled).unwrap();
        // SAFETY: the library was built from this repository.
        let library = unsafe { Library::new(&file) }.unwrap();
        Self { folder, library }
    }

    /// One deterministic engine of each kind; a tensor core's comes first.
    fn usual() -> Self {
        let fake = Self::new();
        fake.engine(A, 1, TENSOR_CORE, 0, 0);
        fake.engine(FALLBACK, 2, 0, 0, 0);
        fake
    }

    fn open(&self) -> Result<Cudnn> {
        // SAFETY: the stand-in never follows its stream.
        unsafe { Cudnn::open(Some(self.folder.path()), "cuda:0", 0x77 as *mut c_void) }
    }

    fn engine(&self, mode: c_int, index: i64, notes: u32, status: c_int, workspace: i64) {
        // SAFETY: the type is the function's.
        unsafe {
            let call: Symbol<unsafe extern "C" fn(c_int, i64, u32, c_int, i64)> =
                self.library.get(b"fake_engine").unwrap();
            call(mode, index, notes, status, workspace);
        }
    }

    fn fail(&self, call: &str, status: c_int) {
        let name = CString::new(call).unwrap();
        // SAFETY: the type is the function's, which copies the name.
        unsafe {
            let call: Symbol<unsafe extern "C" fn(*const c_char, c_int)> =
                self.library.get(b"fake_fail").unwrap();
            call(name.as_ptr(), status);
        }
    }

    fn executed(&self, engine: i64) -> i32 {
        // SAFETY: the type is the function's.
        unsafe {
            let call: Symbol<unsafe extern "C" fn(i64) -> c_int> =
                self.library.get(b"fake_executed").unwrap();
            call(engine)
        }
    }

    fn live(&self) -> i32 {
        // SAFETY: the type is the function's.
        unsafe { self.library.get::<unsafe extern "C" fn() -> c_int>(b"fake_live").unwrap()() }
    }

    fn set_version(&self, version: usize) {
        // SAFETY: the type is the function's.
        unsafe { self.library.get::<unsafe extern "C" fn(usize)>(b"fake_version").unwrap()(version) }
    }
}

/// `tests/cuda/cudnn.cpp` as a shared library; `defines` are the compiler's.
fn compile(defines: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cudnn.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/cudnn.cpp");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]);
    compiler.args(defines).arg(source).arg("-o").arg(&file);
    assert!(compiler.status().expect("a C++ compiler").success());
    std::fs::read(file).unwrap()
}

/// Uniform in -1 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    fn value(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
}

/// Values in an element type at an address that is a multiple of 16.
struct Buffer {
    memory: Vec<u128>,
    element: Element,
    len: usize,
}

impl Buffer {
    fn new(element: Element, values: &[f32]) -> Self {
        let mut memory = vec![0; (values.len() * element.bytes()).div_ceil(16) + 1];
        match element {
            Element::F32 => bytemuck::cast_slice_mut(&mut memory)[..values.len()].copy_from_slice(values),
            Element::F16 => {
                let halves: &mut [u16] = bytemuck::cast_slice_mut(&mut memory);
                halves
                    .iter_mut()
                    .zip(values)
                    .for_each(|(half, value)| *half = f16::from_f32(*value).to_bits());
            }
            Element::Bf16 => {
                let halves: &mut [u16] = bytemuck::cast_slice_mut(&mut memory);
                halves
                    .iter_mut()
                    .zip(values)
                    .for_each(|(half, value)| *half = bf16::from_f32(*value).to_bits());
            }
        }
        Self { memory, element, len: values.len() }
    }

    fn random(element: Element, len: usize, random: &mut Random) -> Self {
        Self::new(element, &(0..len).map(|_| random.value()).collect::<Vec<f32>>())
    }

    fn address(&mut self) -> u64 {
        self.memory.as_mut_ptr() as u64
    }

    fn values(&self) -> Vec<f64> {
        let floats: &[f32] = bytemuck::cast_slice(&self.memory);
        let halves: &[u16] = bytemuck::cast_slice(&self.memory);
        let value = |i: usize| match self.element {
            Element::F32 => f64::from(floats[i]),
            Element::F16 => f16::from_bits(halves[i]).to_f64(),
            Element::Bf16 => bf16::from_bits(halves[i]).to_f64(),
        };
        (0..self.len).map(value).collect()
    }
}

/// All that a convolution reads and writes.
struct Case {
    shape: ConvShape,
    x: Buffer,
    w: Buffer,
    bias: Buffer,
    residual: Buffer,
    y: Buffer,
    workspace: Buffer,
}

impl Case {
    fn new(shape: ConvShape, random: &mut Random) -> Self {
        let (height, width) = shape.output();
        let outputs = shape.batch * height * width * shape.c_out;
        let (bias_element, bias_len) = match shape.bias {
            Bias::None => (Element::F32, 0),
            Bias::Shared(element) => (element, shape.c_out),
            Bias::PerImage { stride } => (Element::F32, shape.batch * stride),
        };
        let side = shape.taps.side();
        let inputs = shape.batch * shape.height * shape.width * shape.c_in;
        Self {
            shape,
            x: Buffer::random(shape.element, inputs, random),
            w: Buffer::random(shape.element, shape.c_out * side * side * shape.c_in, random),
            bias: Buffer::random(bias_element, bias_len, random),
            residual: Buffer::random(shape.element, outputs, random),
            y: Buffer::new(shape.element, &vec![f32::NAN; outputs]),
            workspace: Buffer::new(Element::F32, &[0.0; 64]),
        }
    }

    fn pointers(&mut self) -> Pointers {
        Pointers {
            x: self.x.address(),
            w: self.w.address(),
            bias: self.bias.address(),
            residual: self.residual.address(),
            y: self.y.address(),
            workspace: self.workspace.address(),
        }
    }

    fn run(&mut self, cudnn: &Cudnn, plan: &Plan) -> Result<()> {
        let pointers = self.pointers();
        // SAFETY: the addresses are of this case's buffers, made for this very shape, and the stand-in is done on return.
        unsafe { cudnn.run(plan, &pointers) }
    }

    /// `times` has one number a candidate, in milliseconds, or None for one that fails.
    fn tune(&mut self, cudnn: &mut Cudnn, limit: usize, times: &[Option<f32>]) -> Result<Arc<Plan>> {
        let (pointers, shape) = (self.pointers(), self.shape);
        let mut times = times.iter();
        let mut timer = |launch: &mut dyn FnMut() -> Result<()>| {
            launch()?;
            times.next().unwrap().ok_or_else(|| Error::Internal("no time".into()))
        };
        // SAFETY: as in `run`.
        unsafe { cudnn.tune(&shape, limit, 8, &pointers, &mut timer) }
    }

    /// Plain loops in f64.
    fn expected(&self) -> Vec<f64> {
        let shape = &self.shape;
        let (x, w, bias, residual) =
            (self.x.values(), self.w.values(), self.bias.values(), self.residual.values());
        let (height, width) = shape.output();
        let side = shape.taps.side();
        let mut y = Vec::new();
        for image in 0..shape.batch {
            for row in 0..height {
                for column in 0..width {
                    for k in 0..shape.c_out {
                        let mut sum = 0.0;
                        for r in 0..side {
                            for s in 0..side {
                                let i = (row * shape.stride + r).wrapping_sub(shape.pad_before);
                                let j = (column * shape.stride + s).wrapping_sub(shape.pad_before);
                                if i >= shape.height || j >= shape.width {
                                    continue;
                                }
                                for c in 0..shape.c_in {
                                    let pixel = (image * shape.height + i) * shape.width + j;
                                    let tap = (k * side + r) * side + s;
                                    sum += x[pixel * shape.c_in + c] * w[tap * shape.c_in + c];
                                }
                            }
                        }
                        sum += match shape.bias {
                            Bias::None => 0.0,
                            Bias::Shared(_) => bias[k],
                            Bias::PerImage { stride } => bias[image * stride + k],
                        };
                        if shape.residual {
                            sum += residual[y.len()];
                        }
                        y.push(sum * f64::from(shape.scale));
                    }
                }
            }
        }
        y
    }
}

fn small(element: Element) -> ConvShape {
    ConvShape {
        batch: 2,
        height: 3,
        width: 3,
        c_in: 4,
        c_out: 8,
        taps: Taps::Three,
        stride: 1,
        pad_before: 1,
        pad_after: 1,
        element,
        bias: Bias::PerImage { stride: 12 },
        residual: true,
        scale: 0.5,
    }
}

#[test]
fn random_convolutions_match_plain_loops() {
    let fake = Fake::usual();
    let mut cudnn = fake.open().unwrap();
    let mut random = Random(7);
    for round in 0..36 {
        let element = [Element::F32, Element::F16, Element::Bf16][round % 3];
        let c_out = 1 + random.below(9);
        let taps = if random.below(3) == 0 { Taps::One } else { Taps::Three };
        let bias = match random.below(4) {
            0 => Bias::None,
            1 => Bias::Shared(Element::F32),
            2 => Bias::Shared(element),
            _ => Bias::PerImage { stride: (c_out + random.below(9)).next_multiple_of(4) },
        };
        let three = usize::from(taps == Taps::Three);
        let shape = ConvShape {
            batch: 1 + random.below(3),
            height: 2 + random.below(6),
            width: 2 + random.below(6),
            c_in: 1 + random.below(9),
            c_out,
            taps,
            stride: 1 + random.below(2),
            pad_before: three * random.below(2),
            pad_after: three,
            element,
            bias,
            residual: random.below(2) == 0,
            scale: [1.0, std::f32::consts::FRAC_1_SQRT_2, -3.0][random.below(3)],
        };
        let mut case = Case::new(shape, &mut random);
        let plan = cudnn.plan(&shape, LIMIT).unwrap();
        case.run(&cudnn, &plan).unwrap();
        let tolerance = [2e-6, 1e-3, 8e-3][round % 3];
        let expected = case.expected();
        for (found, expected) in case.y.values().iter().zip(&expected) {
            // Sums of up to 81 products of numbers below 1 lose digits where they cancel.
            assert!(
                (found - expected).abs() <= tolerance * expected.abs().max(4.0),
                "{shape}: {found}, {expected}"
            );
        }
        assert_eq!(plan.engine(), if element == Element::F32 { 2 } else { 1 }, "{shape}");
    }
    drop(cudnn);
    assert_eq!(fake.live(), 0);
}

#[test]
fn the_stream_is_the_callers() {
    let fake = Fake::usual();
    let _cudnn = fake.open().unwrap();
    // SAFETY: the type is the function's.
    let stream =
        unsafe { fake.library.get::<unsafe extern "C" fn() -> *mut c_void>(b"fake_stream").unwrap()() };
    assert_eq!(stream as usize, 0x77);
}

#[test]
fn engines_that_spoil_the_numerics_are_refused() {
    let fake = Fake::new();
    fake.engine(A, 1, NONDETERMINISTIC, 0, 0);
    fake.engine(A, 2, REDUCED | TENSOR_CORE, 0, 0);
    fake.engine(A, 3, TENSOR_CORE, 0, 0);
    fake.engine(A, 4, 1 << 1, 0, 0);
    fake.engine(FALLBACK, 5, 1 << 5, 0, 0);
    let mut cudnn = fake.open().unwrap();
    assert_eq!(cudnn.plan(&small(Element::Bf16), LIMIT).unwrap().engine(), 3);
    assert_eq!(cudnn.plan(&small(Element::F32), LIMIT).unwrap().engine(), 5);
}

#[test]
fn what_does_not_compile_is_passed_over() {
    let fake = Fake::new();
    fake.engine(A, 1, 0, NOT_SUPPORTED, 0);
    fake.engine(A, 2, 0, 0, LIMIT as i64 + 1);
    let mut cudnn = fake.open().unwrap();
    let error = cudnn.plan(&small(Element::F16), LIMIT).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.code(), Code::DeviceFailed);
    for part in [
        "cuda:0",
        "3x3 of 2 x 3 x 3 x 4 to 8 channels",
        "9.12.0",
        "0 refused for their numerics, 1 for their workspace, 1 failed",
        "cudnnBackendFinalize answered FAKE_NOT_SUPPORTED: asked to fail while compiling (3000)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fake.engine(FALLBACK, 3, 0, 0, 0);
    assert_eq!(cudnn.plan(&small(Element::F16), LIMIT).unwrap().engine(), 3);
}

#[test]
fn a_heuristic_that_fails_leaves_the_other() {
    let fake = Fake::usual();
    fake.fail("heuristics", NOT_SUPPORTED);
    let mut cudnn = fake.open().unwrap();
    let text = cudnn.plan(&small(Element::F16), LIMIT).unwrap_err().to_string();
    assert!(text.contains("2 failed") && text.contains("asked to fail in heuristics"), "{text}");
    fake.fail("heuristics", 0);
    cudnn.plan(&small(Element::F16), LIMIT).unwrap();
}

#[test]
fn the_fastest_candidate_is_kept() {
    let fake = Fake::new();
    for engine in 1..=4 {
        fake.engine(A, engine, 0, 0, 16 * engine);
    }
    let mut cudnn = fake.open().unwrap();
    let mut case = Case::new(small(Element::F32), &mut Random(3));
    assert_eq!(cudnn.plan(&case.shape, LIMIT).unwrap().engine(), 1);
    let plan = case.tune(&mut cudnn, LIMIT, &[Some(3.0), Some(2.0), None, Some(4.0)]).unwrap();
    assert_eq!((plan.engine(), plan.workspace()), (2, 32));
    assert_eq!([1, 2, 3, 4].map(|engine| fake.executed(engine)), [1; 4]);
    // Kept: nothing is timed again, and an untuned plan is no longer given.
    assert_eq!(case.tune(&mut cudnn, LIMIT, &[]).unwrap().engine(), 2);
    assert_eq!(cudnn.plan(&case.shape, LIMIT).unwrap().engine(), 2);
    // Under a limit that it does not fit, another one is made.
    assert_eq!(cudnn.plan(&case.shape, 16).unwrap().engine(), 1);
    assert!(cudnn.plan(&case.shape, 15).is_err());
}

#[test]
fn tuning_ends_in_the_timers_error_where_nothing_runs() {
    let fake = Fake::usual();
    let mut cudnn = fake.open().unwrap();
    let mut case = Case::new(small(Element::Bf16), &mut Random(4));
    assert_eq!(
        case.tune(&mut cudnn, LIMIT, &[None, None]).unwrap_err().to_string(),
        "internal error: no time"
    );
    let error = case.tune(&mut cudnn, LIMIT, &[Some(f32::NAN), Some(f32::NAN)]);
    assert_eq!(error.unwrap_err().code(), Code::Internal);
}

#[test]
fn failures_of_a_run_name_the_call_and_the_shape() {
    let fake = Fake::usual();
    let mut cudnn = fake.open().unwrap();
    let mut case = Case::new(small(Element::F32), &mut Random(5));
    let plan = cudnn.plan(&case.shape, LIMIT).unwrap();
    fake.fail("execute", 5000);
    let error = case.run(&cudnn, &plan).unwrap_err();
    assert_eq!(error.code(), Code::DeviceFailed);
    let text = error.to_string();
    assert!(
        text.contains("cudnnBackendExecute answered FAKE_FAILURE: asked to fail in execute (5000)"),
        "{text}"
    );
    assert!(text.contains("bias per image, residual, times 0.5"), "{text}");
    fake.fail("execute", 4004);
    assert_eq!(case.run(&cudnn, &plan).unwrap_err().code(), Code::OutOfMemory);
    fake.fail("execute", 0);
    case.run(&cudnn, &plan).unwrap();
}

#[test]
fn plans_outlive_their_maker_and_nothing_leaks() {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>() {}
    both::<Plan>();
    send::<Cudnn>();
    let fake = Fake::usual();
    let mut cudnn = fake.open().unwrap();
    let plan = cudnn.plan(&small(Element::F32), LIMIT).unwrap();
    drop(cudnn);
    assert!(fake.live() > 0);
    std::thread::spawn(move || drop(plan)).join().unwrap();
    assert_eq!(fake.live(), 0);
}

#[test]
fn libraries_that_will_not_do_are_named() {
    let refused = |path: PathBuf, parts: &[&str]| {
        // SAFETY: no stream is given.
        let error = unsafe { Cudnn::open(Some(&path), "cuda:3", std::ptr::null_mut()) }.unwrap_err();
        assert_eq!(error.code(), Code::DeviceUnavailable);
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    refused("/nowhere/libcudnn.so.9".into(), &["cuda:3", "/nowhere/libcudnn.so.9", "No such file"]);
    let incomplete = Fake::of(&compile(&["-DWITHOUT_EXECUTE"]));
    refused(incomplete.folder.path().into(), &["libcudnn.so.9 has no cudnnBackendExecute"]);
    let old = Fake::usual();
    old.set_version(8907);
    refused(old.folder.path().join("libcudnn.so.9"), &["is cuDNN 8.9.7, 9.0 or later is needed"]);
    let absent = Fake::usual();
    absent.fail("create", 1001);
    let error = absent.open().unwrap_err();
    assert_eq!(error.code(), Code::DeviceFailed);
    assert!(error.to_string().contains("cuDNN 9.12.0: cudnnCreate answered"), "{error}");
    assert_eq!(absent.live(), 0);
}

#[test]
fn the_stand_in_rounds_as_half_does() {
    // The comparison with plain loops would not see an error of one in the last place.
    let fake = Fake::usual();
    let mut cudnn = fake.open().unwrap();
    let mut random = Random(9);
    for element in [Element::F16, Element::Bf16] {
        let shape = ConvShape {
            height: 8,
            c_in: 1,
            c_out: 1,
            taps: Taps::One,
            pad_before: 0,
            pad_after: 0,
            bias: Bias::None,
            residual: false,
            scale: 1e-4,
            ..small(element)
        };
        let mut case = Case::new(shape, &mut random);
        case.w = Buffer::new(element, &[0.37]);
        let plan = cudnn.plan(&shape, LIMIT).unwrap();
        case.run(&cudnn, &plan).unwrap();
        let w = case.w.values()[0] as f32;
        let exact: Vec<f32> = case.x.values().iter().map(|x| *x as f32 * w * shape.scale).collect();
        assert_eq!(case.y.values(), Buffer::new(element, &exact).values());
    }
}
