//! Files made to take a reader's memory or time: refused, soon, with a message that names them. That they take no memory is
//! `cli/tests/command/hostile.rs`.

use crate::common::cpu;
use onestep::{Code, Model};
use std::path::Path;

fn refused(path: &Path) -> String {
    let error = Model::open(path, &cpu()).map(drop).unwrap_err();
    assert!(matches!(error.code(), Code::BadModel | Code::UnsupportedModel), "{error}");
    let message = error.to_string();
    assert!(
        message.len() < 600 && message.contains(path.file_name().unwrap().to_str().unwrap()),
        "{message}"
    );
    message
}

#[cfg(feature = "formats")]
#[test]
fn archives_and_tables_that_lead_nowhere() {
    for (file, said) in [
        ("soft_loop.h5", "layer a"),
        ("hard_loop.h5", "layer a"),
        ("external.h5", "layer a"),
        ("huge_shape.h5", "shape [2147483648, 2147483648] in a file of"),
        ("huge_contiguous.h5", "shape [1099511627776] in a file of"),
        ("many_chunks.h5", "shape [1099511627776] in a file of"),
        ("zeros.h5", "shape [2097152] in a file of"),
        ("deep_type.h5", "0 weights"),
        ("many_names.h5", "more than 10000 names"),
        ("twice.h5", "lead in circles"),
        ("bomb.pt", "bomb/data.pkl is compressed"),
    ] {
        let message = refused(&crate::common::repository().join("tests/golden/hostile").join(file));
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn headers_of_more_than_tensors_are_not_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let header = |json: String| {
        let bytes = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
        std::fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    let shape = "0,".repeat(1 << 20) + "0";
    let message = header(format!(r#"{{"a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,0]}}}}"#));
    assert!(message.contains("more than 8 dimensions"), "{message}");
    let one = |i: usize| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let message = header(format!("{{{}}}", (0..100_001).map(one).collect::<Vec<_>>().join(",")));
    assert!(message.contains("more than 100000 tensors"), "{message}");
    // Brackets and commas in a text are none.
    let text = "[0,0,0,0,0,0,0,0,0,0,0,{\\\"".repeat(50);
    let message = header(format!(r#"{{"__metadata__":{{"a":"{text}"}}}}"#));
    assert!(
        message.contains("config.json") || message.contains("no tensors") || message.contains("format"),
        "{message}"
    );
}
