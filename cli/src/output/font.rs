//! Digits of 5 by 7 pixels, for the labels of a grid.

/// Pixels across a digit, without the gap after it.
pub const WIDTH: usize = 5;
/// Pixels down a digit.
pub const HEIGHT: usize = 7;

/// Rows from the top, the leftmost pixel in bit 4.
const DIGITS: [[u8; HEIGHT]; 10] = [
    [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
    [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
    [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
    [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
    [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
    [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
    [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
    [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
    [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
];

/// Pixels across a number, before scaling.
pub fn number_width(number: i32) -> usize {
    let digits = number.unsigned_abs().to_string().len();
    digits * (WIDTH + 1) - 1
}

/// The inked pixels of a number (its sign apart) as (x, y), before scaling.
pub fn number_pixels(number: i32) -> impl Iterator<Item = (usize, usize)> {
    let digits: Vec<u8> = number.unsigned_abs().to_string().bytes().map(|byte| byte - b'0').collect();
    digits.into_iter().enumerate().flat_map(|(position, digit)| {
        let rows = DIGITS[usize::from(digit)].into_iter().enumerate();
        rows.flat_map(move |(y, row)| {
            let inked = (0..WIDTH).filter(move |x| row >> (WIDTH - 1 - x) & 1 == 1);
            inked.map(move |x| (position * (WIDTH + 1) + x, y))
        })
    })
}
