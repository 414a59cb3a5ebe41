//! Values to the words that panels read: a float, or two values rounded to bf16, the first one in the lower half.

use super::{CHUNK, Kernels};

impl Kernels {
    /// Writes the weights of one column, whose words are `stride` apart.
    #[inline(always)]
    pub fn pack_column(&self, values: &[f32], stride: usize, words: &mut [f32]) {
        let words = words.iter_mut().step_by(stride);
        if self.weight_values == 1 {
            return words.zip(values).for_each(|(word, &value)| *word = value);
        }
        let (pairs, rest) = values.as_chunks::<2>();
        let last = rest.iter().map(|&value| pair(value, 0.0));
        words
            .zip(pairs.iter().map(|&[low, high]| pair(low, high)).chain(last))
            .for_each(|(word, pair)| *word = pair);
    }

    /// Sets input `inner` of some columns side by side; the first of a word's inputs sets the others to 0.
    #[inline(always)]
    pub fn set_weights(&self, words: &mut [f32], values: &[f32], inner: usize) {
        let words = words.iter_mut().zip(values);
        match (self.weight_values, inner % 2) {
            (1, _) => words.for_each(|(word, &value)| *word = value),
            (_, 0) => words.for_each(|(word, &value)| *word = pair(value, 0.0)),
            _ => words.for_each(|(word, &value)| *word = f32::from_bits(word.to_bits() | bf16(value) << 16)),
        }
    }

    /// Values as words of a panel's row; there are [`Self::row_values`] for each word.
    #[inline(always)]
    pub fn row_words(&self, values: &[f32], words: &mut [f32]) {
        if self.row_values == 1 {
            match (values.first_chunk::<CHUNK>(), words.first_chunk_mut::<CHUNK>()) {
                (Some(values), Some(words)) => *words = *values,
                _ => words.copy_from_slice(values),
            }
        } else {
            let pairs = values.as_chunks::<2>().0;
            words.iter_mut().zip(pairs).for_each(|(word, &[low, high])| *word = pair(low, high));
        }
    }
}

/// The word of two values rounded to bf16.
#[inline(always)]
pub fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(bf16(low) | bf16(high) << 16)
}

/// The bits of a value rounded to the nearest bf16, or to the even one of two.
#[inline(always)]
fn bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    // A NaN must not be rounded to infinity.
    if value.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_the_nearest_bf16() {
        for bits in (0..=u32::MAX).step_by(9973) {
            let value = f32::from_bits(bits);
            let expected = half::bf16::from_f32(value);
            let found = half::bf16::from_bits(bf16(value) as u16);
            assert!(
                found == expected || found.is_nan() && expected.is_nan(),
                "{value:e}: {found} {expected}"
            );
        }
        assert_eq!(pair(1.0, -2.0).to_bits(), 0xC000_3F80);
    }
}
