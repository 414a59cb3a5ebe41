//! Features that need no network: an image averaged to 8 x 8. Distances of them tell whether colours, shapes and their variety are
//! right, and nothing of what an eye would call detail. Nobody else's figures can be compared with them.

use super::source::Image;

/// Height and width of what an image is averaged to.
pub const SIDE: usize = 8;

/// Features of an image of so many channels.
pub fn features(channels: usize) -> usize {
    SIDE * SIDE * channels
}

/// What a feature of full brightness is: scikit-learn's digits, by which this project's own models are judged, go from 0 to 16.
const WHITE: f64 = 16.0;

/// Fills `out`, [`SIDE`] by [`SIDE`], channels last, with values from 0 to 16. Colours count as much as they are opaque: of
/// RGBA, they are multiplied with alpha.
pub fn fill(image: &Image, out: &mut [f32]) {
    let channels = image.channels;
    for (place, out) in out.chunks_exact_mut(channels).enumerate() {
        let mean = mean(image, (place / SIDE, place % SIDE), (SIDE, SIDE));
        out.iter_mut().zip(mean).for_each(|(out, value)| *out = (value / 255.0 * WHITE) as f32);
    }
}

/// The mean of what one of `cells`, down and across, covers of an image; colours are multiplied with alpha.
pub fn mean(image: &Image, (y, x): (usize, usize), cells: (usize, usize)) -> [f64; 4] {
    let Image { width, height, channels, ref pixels } = *image;
    let (mut sums, mut weights) = ([0.0; 4], 0.0);
    for (y, down) in covered(y, cells.0, height) {
        for (x, across) in covered(x, cells.1, width) {
            let pixel = &pixels[(y * width + x) * channels..][..channels];
            let weight = down * across;
            weights += weight;
            let alpha = if channels == 4 { f64::from(pixel[3]) / 255.0 } else { 1.0 };
            for (channel, &value) in pixel.iter().enumerate() {
                let opaque = if channel == 3 { 1.0 } else { alpha };
                sums[channel] += weight * f64::from(value) * opaque;
            }
        }
    }
    sums.map(|sum| sum / weights)
}

/// The pixels of a side that one of so many cells covers, and how much of each, in parts of a pixel as many as there are cells.
fn covered(cell: usize, cells: usize, side: usize) -> impl Iterator<Item = (usize, f64)> {
    let (first, last) = (cell * side, (cell + 1) * side);
    let part = move |pixel: usize| ((pixel + 1) * cells).min(last) - (pixel * cells).max(first);
    (first / cells..last.div_ceil(cells)).map(move |pixel| (pixel, part(pixel) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: f32 = 16.0 / 255.0;

    fn filled(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Vec<f32> {
        let mut out = vec![0.0; features(channels)];
        fill(&Image { width, height, channels, pixels }, &mut out);
        out
    }

    #[test]
    fn cells_are_means_of_what_they_cover() {
        let pixels: Vec<u8> = (0..16 * 16).map(|i| (i % 16 / 2 * 10 + i / 32 * 20) as u8).collect();
        for (i, value) in filled(16, 16, 1, pixels).into_iter().enumerate() {
            let expected = (i % 8 * 10 + i / 8 * 20) as f32 * SCALE;
            assert!((value - expected).abs() < 1e-5, "{i}: {value}");
        }
        // A pixel and a half a cell: half of the second belongs to the next one.
        let row: Vec<u8> = (0..12).map(|i| 10 * i as u8).collect();
        let found = filled(12, 1, 1, row);
        let first = (0.0 + 0.5 * 10.0) / 1.5 * SCALE;
        assert!((found[0] - first).abs() < 1e-6 && (found[56] - first).abs() < 1e-6, "{found:?}");
        // Fewer pixels than cells.
        assert_eq!(filled(1, 1, 1, vec![255]), [16.0; 64]);
    }

    #[test]
    fn what_is_transparent_has_no_colour() {
        let found = filled(2, 1, 4, vec![255, 255, 255, 0, 255, 0, 51, 255]);
        assert_eq!(found[..4], [0.0; 4]);
        let last = &found[28..32];
        assert_eq!((last[0], last[1], last[3]), (16.0, 0.0, 16.0));
        assert!((last[2] - 51.0 * SCALE).abs() < 1e-5);
    }
}
