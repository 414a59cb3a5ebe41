//! Tensor names of other ages and libraries, as diffusers calls them today, and what shape it gives them.

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

/// The shape that diffusers gives a tensor: a residual block's shortcut, a linear layer here, is a 1x1 convolution there.
pub fn shape(name: &str, shape: &[usize]) -> Vec<usize> {
    match shape {
        [c_out, c_in] if name.ends_with(".conv_shortcut.weight") => vec![*c_out, *c_in, 1, 1],
        _ => shape.to_vec(),
    }
}
