//! Tensor names of other ages and libraries, as diffusers calls them today, and what shape it gives them.

use super::keys::shown;
use super::plain::Tensors;
use super::stored::Stored;

/// diffusers' attention of before 0.15, in its present names.
const ATTENTION: [(&str, &str); 4] =
    [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];

/// The present name of a diffusers tensor.
pub fn diffusers(name: &str) -> String {
    if !name.contains(".attentions.") {
        return name.to_owned();
    }
    let renamed = ATTENTION.iter().find(|(old, _)| name.contains(old));
    renamed.map_or_else(|| name.to_owned(), |(old, new)| name.replace(old, new))
}

/// The shape that diffusers gives a tensor: a residual block's shortcut is a 1x1 convolution there, and attention has linear
/// layers, which other libraries' files may have the other way round.
pub fn shape(name: &str, shape: &[usize]) -> Vec<usize> {
    match shape {
        [c_out, c_in] if name.ends_with(".conv_shortcut.weight") => vec![*c_out, *c_in, 1, 1],
        [c_out, c_in, 1, 1] if name.contains(".attentions.") => vec![*c_out, *c_in],
        _ => shape.to_vec(),
    }
}

/// The tensors without what stands before all names of a network, of which `anchor` is one: wrappers put `module.` there
/// (DataParallel) or `_orig_mod.` (torch.compile), and files of several networks a word for each. Of what is `usual` nothing is said.
pub fn unwrapped(tensors: Tensors, anchor: &str, usual: &str, notes: &mut Vec<String>) -> Tensors {
    let Some(prefix) = prefix(tensors.keys(), anchor).filter(|prefix| !prefix.is_empty()) else {
        return tensors;
    };
    let all = tensors.len();
    let inside = |(name, stored): (String, Stored)| {
        let short = name.strip_prefix(&prefix)?.to_owned();
        Some((short, stored.called(name)))
    };
    let tensors: Tensors = tensors.into_iter().filter_map(inside).collect();
    if prefix == usual && tensors.len() == all {
        return tensors;
    }
    let mut note = format!("the names of its tensors begin with {}", shown(&prefix));
    if tensors.len() < all {
        note.push_str(&format!("; {} others are left alone (--key)", all - tensors.len()));
    }
    notes.push(note);
    tensors
}

/// What stands before `anchor`: of an average of the weights, if there are several networks; else the shortest.
fn prefix<'a>(names: impl Iterator<Item = &'a String>, anchor: &str) -> Option<String> {
    let prefixes = names.filter_map(|name| {
        let prefix = name.strip_suffix(anchor)?;
        (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
    });
    let rank = |prefix: &&str| (!prefix.is_empty() && !prefix.to_lowercase().contains("ema"), prefix.len());
    prefixes.min_by_key(rank).map(str::to_owned)
}

/// Whether a name is this one, whatever a wrapper put before it.
#[cfg(feature = "formats")]
pub fn is(name: &str, anchor: &str) -> bool {
    name.strip_suffix(anchor).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::super::StoredType;
    use super::*;

    #[test]
    fn shapes_are_those_of_diffusers() {
        assert_eq!(shape("down_blocks.1.attentions.0.to_out.0.weight", &[8, 8, 1, 1]), [8, 8]);
        assert_eq!(shape("up_blocks.1.resnets.0.conv_shortcut.weight", &[8, 4]), [8, 4, 1, 1]);
        assert_eq!(shape("conv_in.weight", &[8, 3, 1, 1]), [8, 3, 1, 1]);
    }

    #[test]
    fn what_wrappers_put_before_names_is_taken_away() {
        let read = |names: &[&str]| {
            let stored = || Stored::new(0, StoredType::F32, vec![1], 0);
            let mut notes = Vec::new();
            let tensors = names.iter().map(|name| ((*name).to_owned(), stored())).collect();
            let tensors = unwrapped(tensors, "conv.weight", "", &mut notes);
            (tensors.into_keys().collect::<Vec<_>>(), notes.join(" "))
        };
        let (names, notes) = read(&["module._orig_mod.conv.weight", "module._orig_mod.b"]);
        assert_eq!(
            (names, notes.contains("module._orig_mod.")),
            (vec!["b".into(), "conv.weight".into()], true)
        );
        let (names, notes) = read(&["model.conv.weight", "model_ema.conv.weight", "model_ema.b"]);
        assert_eq!((names, notes.contains("1 others")), (vec!["b".into(), "conv.weight".into()], true));
        for plain in [&["conv.weight", "model_ema.conv.weight"][..], &["anotherconv.weight"], &[]] {
            let (names, notes) = read(plain);
            assert_eq!((names.len(), notes), (plain.len(), String::new()));
        }
    }
}
