//! Which part of a PyTorch file is the state dict: training runs keep several, with other things beside them.

use super::keys::shown;
use super::pickle::{Id, Node, Pickle};
use crate::error::{Error, Result};

/// How deep a state dict may lie in its file.
const MAX_DEPTH: usize = 8;

/// What runs call a network's weights, those before that are of more use to who wants images.
const NAMES: [&str; 9] =
    ["ema", "state_dict", "model_state_dict", "model", "net", "network", "unet", "generator", "module"];

/// The items of a state dict.
pub type Items<'a> = &'a [(Id, Id)];

/// The state dict of a file, and what to say of the choice. `key` names the part, with a point between a name and the next
/// one, and a number for a place in a list; what is left of it is the beginning of the tensors' names.
pub fn state_dict<'a>(
    file: &str,
    pickle: &'a Pickle,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Items<'a>, String)> {
    match key {
        Some(key) => named(file, pickle, key),
        None => Ok((chosen(file, pickle, notes)?, String::new())),
    }
}

fn named<'a>(file: &str, pickle: &'a Pickle, key: &str) -> Result<(Items<'a>, String)> {
    let (mut id, mut rest) = (pickle.root, key);
    while !rest.is_empty() {
        let (word, later) = rest.split_once('.').unwrap_or((rest, ""));
        let next = match pickle.node(id) {
            Node::List(items) | Node::Tuple(items) => place(word, items.len()).map(|place| items[place]),
            Node::Dict(items) => {
                let found = |name: &str| items.iter().find(|(key, _)| pickle.text(*key) == Some(name));
                match (found(rest), found(word)) {
                    (Some((_, value)), _) => {
                        rest = "";
                        id = *value;
                        continue;
                    }
                    (None, Some((_, value))) => Some(*value),
                    (None, None) => None,
                }
            }
            _ => None,
        };
        match next {
            Some(next) => (id, rest) = (next, later),
            None => break,
        }
    }
    match pickle.node(id) {
        Node::Dict(items)
            if items.iter().any(|(key, _)| pickle.text(*key).is_some_and(|key| key.starts_with(rest))) =>
        {
            Ok((items, rest.to_owned()))
        }
        Node::Dict(_) | Node::List(_) | Node::Tuple(_) if !rest.is_empty() => {
            let there = parts(pickle, id);
            Err(Error::argument("key", format!("{file} has no part {}; it has {there}", shown(key))))
        }
        other => {
            let message = format!("{} of {file} is {}, no state dict", shown(key), other.kind());
            Err(Error::argument("key", message))
        }
    }
}

/// A place in a list, from its end if it is negative.
fn place(word: &str, len: usize) -> Option<usize> {
    let number: i64 = word.parse().ok()?;
    let place = if number < 0 { number.checked_add(len as i64)? } else { number };
    usize::try_from(place).ok().filter(|&place| place < len)
}

fn chosen<'a>(file: &str, pickle: &'a Pickle, notes: &mut Vec<String>) -> Result<Items<'a>> {
    let not = |what: String| Error::bad_model(file, format!("not a state dict: {what}"));
    let mut id = pickle.root;
    for _ in 0..MAX_DEPTH {
        match pickle.node(id) {
            Node::Dict(items) => {
                let mut candidates: Vec<(&str, Id)> = items
                    .iter()
                    .filter(|(_, value)| holds_tensors(pickle, *value, MAX_DEPTH))
                    .filter_map(|(key, value)| Some((pickle.text(*key)?, *value)))
                    .collect();
                candidates.sort_by_key(|(name, _)| rank(name));
                let Some(&(name, value)) = candidates.first() else {
                    if items.is_empty() || has_tensors(pickle, items) {
                        return Ok(items);
                    }
                    return Err(not(format!("no tensors in it, but {}", parts(pickle, id))));
                };
                if rank(name) == NAMES.len() && candidates.len() > 1 {
                    return Err(not(format!("which of its parts is it: {}? (--key)", parts(pickle, id))));
                }
                if candidates.len() > 1 {
                    let others: Vec<String> = candidates[1..].iter().map(|(name, _)| shown(name)).collect();
                    notes.push(format!(
                        "its part {} is read; {} left alone (--key)",
                        shown(name),
                        are(&others)
                    ));
                }
                id = value;
            }
            // The DDIM authors' runs: [model, optimiser, epoch, step, average of the weights].
            Node::List(items) | Node::Tuple(items) => {
                let last = items.last().filter(|last| holds_tensors(pickle, **last, MAX_DEPTH));
                id = *last.ok_or_else(|| {
                    not("a list whose last part holds no tensors; name another part (--key 0)".into())
                })?;
                notes.push(format!(
                    "the last of its {} parts is read, the average of the weights as the DDIM authors keep it (--key)",
                    items.len()
                ));
            }
            other => return Err(not(format!("its pickle holds {}", other.kind()))),
        }
    }
    Err(not(format!("tensors more than {MAX_DEPTH} parts deep")))
}

/// How soon a part of this name is taken.
fn rank(name: &str) -> usize {
    let lower = name.to_lowercase();
    match lower.contains("ema") {
        true => 0,
        false => NAMES.iter().position(|known| *known == lower).unwrap_or(NAMES.len()),
    }
}

fn has_tensors(pickle: &Pickle, items: &[(Id, Id)]) -> bool {
    items
        .iter()
        .any(|(key, value)| pickle.text(*key).is_some() && matches!(pickle.node(*value), Node::Tensor(_)))
}

/// Whether a state dict is found from here on.
fn holds_tensors(pickle: &Pickle, id: Id, depth: usize) -> bool {
    match pickle.node(id) {
        Node::Dict(items) if has_tensors(pickle, items) => true,
        // An optimiser's state is no network's.
        Node::Dict(items) if depth > 0 => items
            .iter()
            .filter(|(key, _)| pickle.text(*key).is_some_and(|key| NAMES.contains(&key) || rank(key) == 0))
            .any(|(_, value)| holds_tensors(pickle, *value, depth - 1)),
        _ => false,
    }
}

/// What is in a container.
fn parts(pickle: &Pickle, id: Id) -> String {
    let names: Vec<String> = match pickle.node(id) {
        Node::Dict(items) => items
            .iter()
            .take(12)
            .map(|(key, value)| {
                let name = pickle.text(*key).map_or("a key that is no text".into(), shown);
                format!("{name} ({})", pickle.node(*value).kind())
            })
            .collect(),
        Node::List(items) | Node::Tuple(items) => {
            vec![format!("parts 0 to {}", items.len().saturating_sub(1))]
        }
        other => vec![other.kind().to_owned()],
    };
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

fn are(names: &[String]) -> String {
    match names {
        [one] => format!("{one} is"),
        several => format!("{} are", several.join(", ")),
    }
}
