//! Tensor names of other ages and libraries, as diffusers calls them today.

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
