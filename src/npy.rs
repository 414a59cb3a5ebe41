//! The header of NumPy's arrays: a magic number, a version, a length, and a Python dictionary of three entries.

use std::io::Read;

/// Bytes of a dictionary at most; NumPy writes 118.
const MOST: usize = 4096;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type of the values, as `<f4`.
    pub descr: String,
    /// Whether the first axis is inmost.
    pub fortran_order: bool,
    /// The shape.
    pub shape: Vec<usize>,
}

/// Reads a header's dictionary, and how many bytes it took with what is in front of it.
///
/// # Errors
/// Why it is none.
pub fn read(from: &mut dyn Read) -> Result<(String, u64), String> {
    let none = || "no NumPy array (.npy, version 1 to 3)".to_owned();
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(|_| none())?;
    let wide = match (&start[..6], start[6]) {
        (b"\x93NUMPY", 1) => 2,
        (b"\x93NUMPY", 2 | 3) => 4,
        _ => return Err(none()),
    };
    let mut length = [0; 4];
    from.read_exact(&mut length[..wide]).map_err(|e| e.to_string())?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST {
        return Err(format!("a header of {length} bytes, at most {MOST} are read"));
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text).map_err(|e| e.to_string())?;
    Ok((String::from_utf8_lossy(&text).into_owned(), (8 + wide + length) as u64))
}

/// Understands a dictionary such as `{'descr': '<f8', 'fortran_order': False, 'shape': (2048, 2048), }`.
///
/// # Errors
/// What is missing from it.
pub fn parse(text: &str) -> Result<Header, String> {
    let after = |key: &str| {
        let quoted = [format!("'{key}':"), format!("\"{key}\":")];
        let place = quoted.iter().find_map(|quoted| Some(text.find(quoted)? + quoted.len()));
        place
            .map(|place| text[place..].trim_start())
            .ok_or_else(|| format!("no {key} in the header {text:?}"))
    };
    let descr = after("descr")?;
    let quoted = descr.split(['\'', '"']).nth(1);
    let descr = quoted.ok_or_else(|| format!("descr is no type in the header {text:?}"))?.to_owned();
    let sides = after("shape")?;
    let sides = sides.strip_prefix('(').and_then(|sides| Some(&sides[..sides.find(')')?]));
    let sides = sides.ok_or_else(|| format!("no shape in the header {text:?}"))?;
    let side = |side: &str| side.parse().map_err(|_| format!("no shape: ({sides})"));
    let shape = sides
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(side)
        .collect::<Result<_, _>>()?;
    Ok(Header { descr, fortran_order: !after("fortran_order")?.starts_with("False"), shape })
}

/// A header of version 1.0, padded so that the values, of type `descr` and in C's order, begin at a multiple of 64 bytes.
pub fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    const PREFIX: usize = 10;
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    // A tuple of one has a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let sides = sides.join(", ");
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}{comma}), }}");
    let padding = (64 - (PREFIX + text.len() + 1) % 64) % 64;
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}
