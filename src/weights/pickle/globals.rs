//! The names that pickles of tensors use.

use super::super::StoredType;
use super::super::keys::shown;
use super::{Element, Global};
use crate::error::{Error, Result};

/// Names of which files of training runs are full beside their tensors. What they make is [`Node::Other`].
const OTHERS: [(&str, &[&str]); 11] = [
    ("argparse", &["Namespace"]),
    ("builtins", &["dict", "list", "set"]),
    ("__builtin__", &["dict", "list", "set"]),
    ("_codecs", &["encode"]),
    ("collections", &["defaultdict"]),
    ("numpy", &["dtype"]),
    ("numpy.core.multiarray", &["scalar"]),
    ("numpy._core.multiarray", &["scalar"]),
    ("pathlib", &["Path", "PosixPath", "PurePosixPath"]),
    ("torch", &["Size", "device", "float16", "float32", "float64", "bfloat16"]),
    ("types", &["SimpleNamespace"]),
];

/// The only names that are ever looked up.
pub fn named(file: &str, module: &str, name: &str) -> Result<Global> {
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Ok(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
        ("torch", "FloatStorage") => Ok(floats(StoredType::F32)),
        ("torch", "DoubleStorage") => Ok(floats(StoredType::F64)),
        ("torch", "HalfStorage") => Ok(floats(StoredType::F16)),
        ("torch", "BFloat16Storage") => Ok(floats(StoredType::Bf16)),
        ("torch", "LongStorage") => Ok(whole_numbers(8)),
        ("torch", "IntStorage") => Ok(whole_numbers(4)),
        ("torch", "ShortStorage") => Ok(whole_numbers(2)),
        ("torch", "CharStorage" | "ByteStorage" | "BoolStorage") => Ok(whole_numbers(1)),
        _ if OTHERS.iter().any(|(of, names)| *of == module && names.contains(&name)) => Ok(Global::Other),
        _ => Err(Error::UnsupportedModel {
            file: file.to_owned(),
            key: "a name in its pickle".into(),
            found: format!("{}.{}", shown(module), shown(name)),
            supported: format!(
                "tensors in dicts and lists (a pickle is read, never executed). {}",
                to_state_dict(file)
            ),
        }),
    }
}

fn floats(dtype: StoredType) -> Global {
    Global::Storage(Element { width: dtype.size(), dtype: Some(dtype) })
}

fn whole_numbers(width: usize) -> Global {
    Global::Storage(Element { width, dtype: None })
}

/// How a program in a pickle becomes data. NVIDIA's `.pkl` are such, of EDM's networks and of many after it.
pub fn to_state_dict(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let (file, stem) = (shown(file), shown(stem));
    format!(
        "If it is a Python program, as NVIDIA's .pkl are, two lines of Python make a state dict of it, in a checkout of the code \
         that wrote it:\n  import pickle, torch\n  torch.save(pickle.load(open({file:?}, \"rb\"))[\"ema\"].state_dict(), \
         {:?})",
        format!("{stem}.pt")
    )
}
