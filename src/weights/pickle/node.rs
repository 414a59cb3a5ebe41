//! What a pickle is made of.

use super::super::StoredType;
use std::rc::Rc;

/// A value's place in its [`super::Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(super) usize);

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// None.
    Null,
    /// True or False.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text; bytes become one where they are UTF-8.
    Text(Rc<str>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A dict or an OrderedDict, in its order.
    Dict(Vec<(Id, Id)>),
    /// One of the names that are known.
    Global(Global),
    /// Where a tensor's values are.
    Storage(Storage),
    /// A tensor, or a parameter.
    Tensor(Tensor),
    /// What a training run keeps beside its tensors, and nobody asks for.
    Other,
}

impl Node {
    /// What a message calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a name",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Other => "something else",
        }
    }
}

/// The names that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    /// collections.OrderedDict
    OrderedDict,
    /// torch._utils._rebuild_tensor_v2, and the one before it
    RebuildTensor,
    /// torch._utils._rebuild_parameter
    RebuildParameter,
    /// torch.FloatStorage and its like.
    Storage(Element),
    /// Something of which nothing is wanted.
    Other,
}

/// What a storage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Bytes a value.
    pub width: usize,
    /// Its type; none for whole numbers, which are no weights.
    pub dtype: Option<StoredType>,
}

/// Where a tensor's values are.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// What it holds.
    pub element: Element,
    /// Its name in the file.
    pub key: Rc<str>,
    /// Of a storage that is a part of that one: where it begins, and how many values it has.
    pub part: Option<(u64, u64)>,
}

/// A tensor over a storage, in values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Where its values are.
    pub storage: Storage,
    /// The first one.
    pub offset: u64,
    /// Its shape.
    pub shape: Vec<usize>,
    /// From one value to the next in each dimension.
    pub strides: Vec<usize>,
}
