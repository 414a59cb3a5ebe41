//! Kernel Inception Distance (Binkowski et al. 2018): the squared maximum mean discrepancy under the kernel (x.y / d + 1)^3, without
//! bias, over random subsets.

use super::Estimate;
use super::features::Features;
use crate::error::{Error, Result, try_zeroed};
use nalgebra::DMatrix;
use rand_mt::Mt;

/// Subsets that are drawn.
pub const SUBSETS: usize = 100;
/// Images of a subset.
pub const SUBSET: usize = 1000;
/// Seed of the subsets: torch-fidelity's, so that the same features have the same figure.
const SEED: u32 = 2020;

/// Over [`SUBSETS`] subsets of [`SUBSET`] images.
///
/// # Errors
/// INVALID_ARGUMENT (`count`) where a set has fewer images than a subset; IO; OUT_OF_MEMORY; those of `watch`.
pub fn kernel_distance(
    generated: &Features,
    reference: &Features,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Estimate> {
    let least = generated.len().min(reference.len());
    if least < SUBSET {
        return Err(Error::argument("count", format!("kid: {least} images; subsets of {SUBSET} are drawn")));
    }
    let mut random = Mt::new(SEED);
    let mut distances = Vec::new();
    for subset in 0..SUBSETS {
        let [x, y] = [generated, reference].map(|features| {
            let rows = choice(&mut random, features.len(), SUBSET);
            matrix(features, &rows)
        });
        distances.push(discrepancy(&x?, &y?));
        watch(subset + 1, SUBSETS)?;
    }
    Ok(Estimate::of(&distances))
}

/// Columns of features.
fn matrix(features: &Features, rows: &[usize]) -> Result<DMatrix<f64>> {
    let d = features.width();
    let mut row = vec![0.0; d];
    let mut values = try_zeroed(rows.len() * d, "features")?;
    for (&number, values) in rows.iter().zip(values.chunks_exact_mut(d)) {
        features.read(number, &mut row)?;
        values.iter_mut().zip(&row).for_each(|(value, &x)| *value = f64::from(x));
    }
    Ok(DMatrix::from_vec(d, rows.len(), values))
}

/// The unbiased estimate of the squared discrepancy; a column is an image.
fn discrepancy(x: &DMatrix<f64>, y: &DMatrix<f64>) -> f64 {
    let (d, m) = (x.nrows() as f64, x.ncols() as f64);
    let kernel = |value: f64| (value / d + 1.0).powi(3);
    let others = |x: &DMatrix<f64>| {
        let products = x.tr_mul(x);
        let same: f64 = products.diagonal().iter().map(|&value| kernel(value)).sum();
        products.iter().map(|&value| kernel(value)).sum::<f64>() - same
    };
    let across: f64 = x.tr_mul(y).iter().map(|&value| kernel(value)).sum();
    (others(x) + others(y)) / (m * (m - 1.0)) - 2.0 * across / (m * m)
}

/// `size` of the numbers below `n`, as NumPy's `RandomState.choice` draws them without replacement: the first of a permutation.
fn choice(random: &mut Mt, n: usize, size: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        all.swap(i, below(random, i));
    }
    all.truncate(size);
    all
}

/// A number up to `most`, as NumPy's generator draws it: masked, until it is none too large.
fn below(random: &mut Mt, most: usize) -> usize {
    let mask = u32::MAX >> (most as u32).leading_zeros();
    loop {
        let value = random.next_u32() & mask;
        if value as usize <= most {
            return value as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.random.RandomState(2020)`: `choice(10, 4, replace=False)`, then `choice(1000, 3, replace=False)`.
    #[test]
    fn subsets_are_numpys() {
        let mut random = Mt::new(2020);
        assert_eq!(choice(&mut random, 10, 4), [2, 4, 9, 1]);
        assert_eq!(choice(&mut random, 1000, 3), [358, 763, 430]);
    }

    #[test]
    fn equal_subsets_are_at_a_distance_below_zero() {
        // Without bias the estimate of zero scatters around it: of a set and itself, what its diagonal adds is missing.
        let x = DMatrix::from_fn(3, 20, |i, j| (i * 20 + j) as f64 % 7.0);
        assert!(discrepancy(&x, &x) < 0.0);
        let far = x.map(|value| value + 30.0);
        assert!(discrepancy(&x, &far) > 1000.0);
    }
}
