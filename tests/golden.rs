//! Outputs of independent implementations (`tests/golden/*.py` made them), through the Rust interface.

mod common;

use common::{Golden, assert_close};
use onestep::{ExecutorKind, Model, Options};

/// The bar: relative root mean square.
const TOLERANCE: f64 = 2e-5;

fn executors() -> Vec<ExecutorKind> {
    let mut executors = vec![];
    if cfg!(feature = "candle") {
        executors.push(ExecutorKind::Reference);
    }
    executors
}

#[test]
fn raw_predictions_agree_with_diffusers() {
    for case in common::diffusers_cases() {
        let golden = Golden::read(&case);
        for executor in executors() {
            let options = Options { executor, ..Options::default() };
            let model = Model::open(&case, &options).unwrap();
            let mut session = model.session(&options).unwrap();
            for t in [0, 500, 999] {
                let (x, expected) = (golden.f32("x"), golden.f32(&format!("eps_{t}")));
                let mut out = vec![0.0; x.len()];
                let labels = golden.labels();
                session.predict(&x, &vec![t; golden.batch()], labels.as_deref(), &mut out).unwrap();
                assert_close(&format!("{} eps_{t} {executor:?}", case.display()), &out, &expected, TOLERANCE);
            }
        }
    }
}
