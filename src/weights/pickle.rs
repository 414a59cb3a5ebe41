//! Pickles, read as data: a stack machine that builds numbers, texts, containers and descriptions of tensors, and
//! knows the few names that PyTorch's files need. Nothing is ever imported or called; any other name is refused.
//!
//! Values lie in one list and refer to each other by number, so neither depth nor cycles cost stack, and memory grows
//! with the pickle's length alone: a text that is named again is the same text.

mod globals;
mod node;

pub use globals::to_state_dict;
pub use node::{Element, Global, Id, Node, Storage, Tensor};

use crate::error::{Error, Result, try_with_capacity};
use std::collections::HashMap;

/// How many values a pickle may have, on its stack and in its memory too: a network's has some ten a tensor, and as many again for
/// each state of an optimiser.
const MAX_VALUES: usize = 400_000;
/// Bytes of a text; longer ones are nobody's name, and are not kept.
const MAX_TEXT: usize = 1 << 14;

/// The values of one pickle.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    /// What it stands for.
    pub root: Id,
    /// Bytes that it took.
    pub len: usize,
}

impl Pickle {
    /// Reads the pickle that `bytes` begins with; `file` names it in errors.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self> {
        let mut machine =
            Machine { file, bytes, at: 0, nodes: vec![], stack: vec![], marks: vec![], memo: HashMap::new() };
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, root, len: machine.at })
    }

    /// The value.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0]
    }

    /// All values.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The value, if it is a text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Machine<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id> {
        loop {
            let at = self.at;
            if self.nodes.len().max(self.stack.len()).max(self.memo.len()).max(self.marks.len()) > MAX_VALUES
            {
                let message = format!("more than {MAX_VALUES} values, which no file of tensors has");
                return Err(self.bad(&message));
            }
            self.make_room()?;
            match self.take(1)?[0] {
                b'.' => return self.pop(),
                b'\x80' => _ = self.take(1)?,              // PROTO
                b'\x95' => _ = self.take(8)?,              // FRAME
                b'(' => self.marks.push(self.stack.len()), // MARK
                b'0' => _ = self.pop()?,                   // POP
                b'1' => _ = self.since_mark()?,            // POP_MARK
                b'2' => self.stack.push(self.top()?),      // DUP
                b'N' => self.push(Node::Null),             // NONE
                b'\x88' => self.push(Node::Bool(true)),    // NEWTRUE
                b'\x89' => self.push(Node::Bool(false)),   // NEWFALSE
                b'K' => self.integer(1)?,                  // BININT1
                b'M' => self.integer(2)?,                  // BININT2
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?); // BININT
                    self.push(Node::Int(value.into()));
                }
                b'\x8a' => self.long()?, // LONG1
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?); // BINFLOAT
                    self.push(Node::Float(value));
                }
                b'U' | b'C' | b'\x8c' => self.string(1)?, // SHORT_ BINSTRING, BINBYTES, BINUNICODE
                b'T' | b'B' | b'X' => self.string(4)?,    // BINSTRING, BINBYTES, BINUNICODE
                b'\x8d' | b'\x8e' => self.string(8)?,     // BINUNICODE8, BINBYTES8
                b')' => self.push(Node::Tuple(Vec::new())), // EMPTY_TUPLE
                b'\x85' => self.tuple(1)?,                // TUPLE1
                b'\x86' => self.tuple(2)?,                // TUPLE2
                b'\x87' => self.tuple(3)?,                // TUPLE3
                b't' => {
                    let items = self.since_mark()?; // TUPLE
                    self.push(Node::Tuple(items));
                }
                b']' => self.push(Node::List(Vec::new())), // EMPTY_LIST
                b'a' => {
                    let item = self.pop()?; // APPEND
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?; // APPENDS
                    self.append(items)?;
                }
                b'}' => self.push(Node::Dict(Vec::new())), // EMPTY_DICT
                b's' => {
                    let value = self.pop()?; // SETITEM
                    let key = self.pop()?;
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?; // SETITEMS
                    self.set(&items)?;
                }
                b'q' => {
                    let key = self.unsigned(1)?; // BINPUT
                    self.memo.insert(key as u32, self.top()?);
                }
                b'r' => {
                    let key = self.unsigned(4)?; // LONG_BINPUT
                    self.memo.insert(key as u32, self.top()?);
                }
                b'\x94' => _ = self.memo.insert(self.memo.len() as u32, self.top()?), // MEMOIZE
                b'h' => self.recall(1)?,                                              // BINGET
                b'j' => self.recall(4)?,                                              // LONG_BINGET
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?); // GLOBAL
                    let global = globals::named(self.file, &module, &name)?;
                    self.push(Node::Global(global));
                }
                b'\x93' => {
                    let (name, module) = (self.pop()?, self.pop()?); // STACK_GLOBAL
                    match (&self.nodes[module.0], &self.nodes[name.0]) {
                        (Node::Text(module), Node::Text(name)) => {
                            let global = globals::named(self.file, module, name)?;
                            self.push(Node::Global(global));
                        }
                        _ => return Err(self.bad("a name that is no text")),
                    }
                }
                b'R' | b'\x81' => self.reduce()?, // REDUCE, NEWOBJ
                b'b' => _ = self.pop()?,          // BUILD: attributes, of which none is wanted
                b'Q' => self.persistent()?,       // BINPERSID
                other => {
                    let message =
                        format!("pickle: byte {at} is {other:#04x}, no operation of PyTorch's files");
                    return Err(Error::bad_model(self.file, message));
                }
            }
        }
    }

    /// The few calls that files of tensors make.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Node::Global(function), Node::Tuple(arguments)) =
            (&self.nodes[function.0], &self.nodes[arguments.0])
        else {
            return Err(self.bad("a call of something that is no function"));
        };
        match (function, arguments.as_slice()) {
            (Global::Other, _) => self.push(Node::Other),
            (Global::OrderedDict, []) => self.push(Node::Dict(Vec::new())),
            (Global::RebuildParameter, [tensor, ..]) => self.stack.push(*tensor),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let (Node::Storage(storage), Node::Int(offset)) =
                    (&self.nodes[storage.0], &self.nodes[offset.0])
                else {
                    return Err(self.bad("a tensor without a storage"));
                };
                let (shape, strides) = (self.sizes(*shape)?, self.sizes(*strides)?);
                let offset = u64::try_from(*offset).map_err(|_| self.bad("a tensor that begins below 0"))?;
                if strides.len() != shape.len() {
                    return Err(self.bad("a tensor with more or fewer strides than dimensions"));
                }
                let tensor = Tensor { storage: storage.clone(), offset, shape, strides };
                self.push(Node::Tensor(tensor));
            }
            _ => return Err(self.bad(&format!("a call of {function:?} with {} arguments", arguments.len()))),
        }
        Ok(())
    }

    /// ("storage", type, key, device, length, ...)
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let (parts, part) = match &self.nodes[id.0] {
            Node::Tuple(parts) if parts.len() >= 5 => ([parts[0], parts[1], parts[2]], parts.get(5)),
            _ => return Err(self.bad("an outside reference that is no storage")),
        };
        // The older format's: (key of the part, its first value, how many it has), of a storage that is a part of another.
        let part = match part.map(|part| &self.nodes[part.0]) {
            None | Some(Node::Null) => None,
            Some(Node::Tuple(part)) => {
                let whole = |id: &Id| match self.nodes[id.0] {
                    Node::Int(value) => u64::try_from(value).ok(),
                    _ => None,
                };
                let [_, start, len] = part.as_slice() else {
                    return Err(self.bad("a part of a storage without a place"));
                };
                let place = whole(start).zip(whole(len));
                Some(place.ok_or_else(|| self.bad("a part of a storage without a place"))?)
            }
            Some(_) => return Err(self.bad("a part of a storage without a place")),
        };
        match parts.map(|part| &self.nodes[part.0]) {
            [Node::Text(kind), Node::Global(Global::Storage(element)), Node::Text(key)]
                if **kind == *"storage" =>
            {
                let storage = Storage { element: *element, key: key.clone(), part };
                self.push(Node::Storage(storage));
                Ok(())
            }
            _ => Err(self.bad("an outside reference that is no storage")),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let Node::Tuple(items) = &self.nodes[id.0] else { return Err(self.bad("a shape that is no tuple")) };
        if items.len() > 8 {
            return Err(self.bad("a tensor of more than 8 dimensions"));
        }
        let size = |item: &Id| match self.nodes[item.0] {
            Node::Int(size) => usize::try_from(size).map_err(|_| self.bad("a negative size")),
            _ => Err(self.bad("a size that is no whole number")),
        };
        items.iter().map(size).collect()
    }

    /// For what one operation puts anywhere.
    fn make_room(&mut self) -> Result<()> {
        let places = [
            self.nodes.try_reserve(1),
            self.stack.try_reserve(1),
            self.marks.try_reserve(1),
            self.memo.try_reserve(1),
        ];
        places.into_iter().find_map(Result::err).map_or(Ok(()), |_| Err(no_memory(self.nodes.len())))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.nodes[list.0] {
            Node::List(list) => {
                list.try_reserve(items.len()).map_err(|_| no_memory(list.len()))?;
                list.extend(items);
            }
            Node::Other => {}
            _ => return Err(self.bad("an append to something that is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let (pairs, []) = items.as_chunks::<2>() else { return Err(self.bad("a key without a value")) };
        let dict = self.top()?;
        match &mut self.nodes[dict.0] {
            Node::Dict(dict) => {
                dict.try_reserve(pairs.len()).map_err(|_| no_memory(dict.len()))?;
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            Node::Other => {}
            _ => return Err(self.bad("an item of something that is no dict")),
        }
        Ok(())
    }

    fn tuple(&mut self, len: usize) -> Result<()> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(len) {
            Some(start) if start >= floor => {
                let items = self.take_stack(start)?;
                self.push(Node::Tuple(items));
                Ok(())
            }
            _ => Err(self.bad("an empty stack")),
        }
    }

    fn recall(&mut self, width: usize) -> Result<()> {
        let key = self.unsigned(width)? as u32;
        let id = self.memo.get(&key).copied().ok_or_else(|| self.bad("a memory that was never made"))?;
        self.stack.push(id);
        Ok(())
    }

    fn integer(&mut self, width: usize) -> Result<()> {
        let value = self.unsigned(width)?;
        self.push(Node::Int(value as i64));
        Ok(())
    }

    /// Two's complement, little-endian.
    fn long(&mut self) -> Result<()> {
        let width = usize::from(self.take(1)?[0]);
        let bytes = self.take(width)?;
        if width > 8 {
            return Err(self.bad("an integer of more than 64 bits"));
        }
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut value = [fill; 8];
        value[..width].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(value)));
        Ok(())
    }

    fn string(&mut self, width: usize) -> Result<()> {
        let len = self.unsigned(width)?;
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        let text = match bytes.len() {
            0..=MAX_TEXT => Node::Text(String::from_utf8_lossy(bytes).into()),
            _ => Node::Other,
        };
        self.push(text);
        Ok(())
    }

    fn unsigned(&mut self, width: usize) -> Result<u64> {
        let mut value = [0; 8];
        value[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(value))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(256).position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| self.bad("a name without an end"))?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.bad("it ends in the middle"))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(Id(self.nodes.len()));
        self.nodes.push(node);
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| self.bad("an empty stack"))
    }

    /// Not from below the last mark.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => Err(self.bad("an empty stack")),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.bad("an end without a beginning"))?;
        self.take_stack(mark.min(self.stack.len()))
    }

    /// Takes what is on the stack from a height on.
    fn take_stack(&mut self, start: usize) -> Result<Vec<Id>> {
        let mut items = try_with_capacity(self.stack.len() - start, "a pickle's values")?;
        items.extend(self.stack.drain(start..));
        Ok(items)
    }

    fn bad(&self, what: &str) -> Error {
        Error::bad_model(self.file, format!("pickle: {what}, before byte {}", self.at))
    }
}

/// Of something that had so many elements already.
fn no_memory(len: usize) -> Error {
    Error::OutOfMemory { what: "a pickle's values", bytes: 2 * (len * size_of::<Node>()) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use std::rc::Rc;

    fn read(bytes: &[u8]) -> Result<Pickle> {
        Pickle::read("test", bytes)
    }

    #[test]
    fn plain_values_are_read() {
        // pickle.dumps((None, True, 7, -3, 1 << 40, 2.5, "text", [1, 2], {"a": 1}), protocol) of Python, by protocol
        let two = b"\x80\x02(N\x88K\x07J\xfd\xff\xff\xff\x8a\x06\x00\x00\x00\x00\x00\x01G@\x04\x00\x00\x00\x00\x00\x00\
            X\x04\x00\x00\x00textq\x00]q\x01(K\x01K\x02e}q\x02X\x01\x00\x00\x00aq\x03K\x01stq\x04.";
        let four = b"\x80\x04\x95\x38\x00\x00\x00\x00\x00\x00\x00(N\x88K\x07J\xfd\xff\xff\xff\x8a\x06\x00\x00\x00\x00\
            \x00\x01G@\x04\x00\x00\x00\x00\x00\x00\x8c\x04text\x94]\x94(K\x01K\x02e}\x94\x8c\x01a\x94K\x01st\x94.";
        for bytes in [&two[..], &four[..]] {
            let pickle = read(bytes).unwrap();
            assert_eq!(pickle.len, bytes.len());
            let Node::Tuple(items) = pickle.node(pickle.root) else { panic!() };
            let plain: Vec<&Node> = items[..7].iter().map(|id| pickle.node(*id)).collect();
            let text = Node::Text("text".into());
            let expected = [
                &Node::Null,
                &Node::Bool(true),
                &Node::Int(7),
                &Node::Int(-3),
                &Node::Int(1 << 40),
                &Node::Float(2.5),
                &text,
            ];
            assert_eq!(plain, expected);
            assert!(matches!(pickle.node(items[7]), Node::List(list) if list.len() == 2));
            let Node::Dict(dict) = pickle.node(items[8]) else { panic!() };
            assert_eq!((pickle.text(dict[0].0), pickle.node(dict[0].1)), (Some("a"), &Node::Int(1)));
        }
    }

    #[test]
    fn nothing_is_ever_called() {
        for bytes in [
            &b"cos\nsystem\n(X\x04\x00\x00\x00exittR."[..],
            b"\x8c\x02os\x8c\x06system\x93)R.",
            b"cbuiltins\neval\n)R.",
            b"ctorch\nload\n)R.",
        ] {
            let error = read(bytes).unwrap_err();
            assert!(
                error.code() == Code::UnsupportedModel && error.to_string().contains("never executed"),
                "{error}"
            );
        }
        assert_eq!(read(b"ios\nsystem\n.").unwrap_err().code(), Code::BadModel);
        assert_eq!(read(b"K\x01)R.").unwrap_err().code(), Code::BadModel);
    }

    #[test]
    fn depth_cycles_and_sharing_cost_nothing_but_their_length() {
        let nested = [vec![b']'; 300_000], vec![b'a'; 299_999], vec![b'.']].concat();
        let endless = [vec![b'N'], vec![b'\x85'; 1 << 20]].concat();
        assert!(read(&endless).unwrap_err().to_string().contains("more than 400000 values"));
        for (first, again) in [(&b"N"[..], &b"2"[..]), (b"", b"("), (b"N", b"2q\x00r\x00\x00\x00\x00")] {
            assert!(read(&[first, &again.repeat(1 << 19)].concat()).is_err());
        }
        drop(read(&nested).unwrap());
        // A list that holds itself, and tuples that each hold the one before twice.
        drop(read(b"]q\x00h\x00a.").unwrap());
        let doubling = [&b")"[..], &b"2\x86".repeat(100_000), b"."].concat();
        drop(read(&doubling).unwrap());
    }

    #[test]
    fn a_text_that_is_named_again_is_the_same() {
        let storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x03\x00\x00\x00keyq\x00X\x03\x00\x00\x00cpuK\x01tq\x01Q0";
        let again = b"h\x01Q0".repeat(1000);
        let pickle = read(&[&storage[..], &again, b"h\x00."].concat()).unwrap();
        let Node::Text(key) = pickle.node(pickle.root) else { panic!() };
        assert_eq!(Rc::strong_count(key), 1002);
    }

    #[test]
    fn broken_pickles_are_errors() {
        for bytes in [
            &b""[..],
            b".",
            b"K",
            b"e.",
            b"(a.",
            b"u.",
            b"}(K\x01u.",
            b"h\x07.",
            b"0.",
            b"2.",
            b"\x87.",
            b"(\x85.",
            b"(K\x01(0.",
            b"X\xff\xff\xff\xffx.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"\x8a\xff.",
            b"\x8a\x09123456789.",
            b"cos",
            b"N)b",
            b"NQ.",
            b"K\x01K\x02s.",
            b"\xfe.",
            b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
            b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR.",
        ] {
            assert_eq!(read(bytes).map(drop).unwrap_err().code(), Code::BadModel, "{bytes:?}");
        }
    }
}
