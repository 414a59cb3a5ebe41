//! Gradients from one height and width to another: back through strides, doubling and halving.

use super::super::{Act, Cpu};
use crate::error::Result;
use crate::exec::Resize;

/// The gradient of a strided convolution's outputs at the pixels over which its taps were centred, zeros between them.
pub fn spread(cpu: &mut Cpu, dy: &Act, (h, w): (usize, usize), symmetric: bool) -> Result<Act> {
    let [n, o, down, across] = dy.shape;
    let mut out = cpu.new_act([n, o, h, w])?;
    let values = dy.slot.values();
    // Padded on all sides, output k is centred over pixel 2k; padded right and bottom alone, over 2k + 1.
    let centre = |pixel: usize, count: usize| {
        let at = if symmetric { Some(pixel) } else { pixel.checked_sub(1) };
        at.filter(|at| at.is_multiple_of(2) && at / 2 < count).map(|at| at / 2)
    };
    cpu.pool.grid(out.slot.values_mut(), o, ((16 * 1024 / o).max(1), o), &mut [], |window, _| {
        for pixel in window.rows() {
            let (line, x) = (pixel / w, pixel % w);
            let (image, y) = (line / h, line % h);
            let to = window.row(pixel);
            match (centre(y, down), centre(x, across)) {
                (Some(y), Some(x)) => {
                    to.copy_from_slice(&values[((image * down + y) * across + x) * o..][..o]);
                }
                _ => to.fill(0.0),
            }
        }
    });
    Ok(out)
}

/// The gradient of what was resized, from that of the result.
pub fn unresized(cpu: &mut Cpu, dy: Act, resize: Option<Resize>) -> Result<Act> {
    match resize {
        None => Ok(dy),
        Some(Resize::Double) => gather(cpu, &dy),
        // A quarter of each average's gradient goes to each pixel.
        Some(Resize::Halve) => {
            let mut dx = cpu.resized(&dy, Resize::Double)?;
            dx.slot.values_mut().iter_mut().for_each(|value| *value *= 0.25);
            Ok(dx)
        }
    }
}

/// Sums of two by two pixels: the gradient of pixels that were doubled.
fn gather(cpu: &mut Cpu, x: &Act) -> Result<Act> {
    let [n, c, h, w] = x.shape;
    let (down, across) = (h / 2, w / 2);
    let mut out = cpu.new_act([n, c, down, across])?;
    let values = x.slot.values();
    cpu.pool.grid(out.slot.values_mut(), c, ((4 * 1024 / c).max(1), c), &mut [], |window, _| {
        for pixel in window.rows() {
            let (line, x) = (pixel / across, pixel % across);
            let (image, y) = (line / down, line % down);
            let corner =
                |dy: usize, dx: usize| &values[((image * h + 2 * y + dy) * w + 2 * x + dx) * c..][..c];
            let [a, b, d, e] = [corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1)];
            for (i, to) in window.row(pixel).iter_mut().enumerate() {
                *to = (a[i] + b[i]) + (d[i] + e[i]);
            }
        }
    });
    Ok(out)
}
