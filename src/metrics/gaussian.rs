//! Mean and covariance of features, and the Fréchet distance between two such Gaussians: FID, where the features are Inception's
//! (Heusel et al. 2017).

use super::features::Features;
use super::npy::{Array, write_npz};
use crate::error::{Error, Result, try_zeroed};
use crate::threads::share;
use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut};
use std::path::Path;

/// Images whose features are in memory at a time.
const BLOCK: usize = 1024;
/// Features of any network that is used for this, and more.
pub const MOST: usize = 1 << 12;

/// A normal distribution: what is kept of a set of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// Of how many images; files of others do not say.
    pub count: Option<u64>,
    /// The means.
    pub mean: Vec<f64>,
    /// The covariances, row-major, of n - 1.
    pub covariance: Vec<f64>,
}

impl Gaussian {
    /// Of all features, in two passes, by so many threads; the bits do not depend on how many.
    ///
    /// # Errors
    /// INVALID_ARGUMENT (`count`) for fewer than two images; IO; OUT_OF_MEMORY; those of `watch`, which hears how many rows of two
    /// passes are done.
    pub fn of(
        features: &Features,
        threads: usize,
        watch: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let (n, d) = (features.len(), features.width());
        if n < 2 {
            return Err(Error::argument("count", format!("{n} given; a covariance needs 2 images at least")));
        }
        let mut rows = try_zeroed(BLOCK.min(n) * d, "features")?;
        let mut mean = try_zeroed(d, "a mean")?;
        for first in (0..n).step_by(BLOCK) {
            let rows = &mut rows[..BLOCK.min(n - first) * d];
            features.read(first, rows)?;
            for row in rows.chunks_exact(d) {
                mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
            }
            watch(first, 2 * n)?;
        }
        mean.iter_mut().for_each(|mean: &mut f64| *mean /= n as f64);
        let mut covariance = try_zeroed(d * d, "a covariance")?;
        let mut centred = try_zeroed(rows.len(), "features")?;
        for first in (0..n).step_by(BLOCK) {
            let len = BLOCK.min(n - first) * d;
            let (rows, centred) = (&mut rows[..len], &mut centred[..len]);
            features.read(first, rows)?;
            for (row, centred) in rows.chunks_exact(d).zip(centred.chunks_exact_mut(d)) {
                for ((centred, &value), mean) in centred.iter_mut().zip(row).zip(&mean) {
                    *centred = f64::from(value) - mean;
                }
            }
            add_products(&mut covariance, centred, d, threads);
            watch(n + first, 2 * n)?;
        }
        covariance.iter_mut().for_each(|value| *value /= (n - 1) as f64);
        Ok(Self { count: Some(n as u64), mean, covariance })
    }

    /// Reads `mu` and `sigma` of a `.npz` file.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file without them, of other shapes, or of values that are no finite numbers.
    pub fn read(path: &Path) -> Result<Self> {
        let array = |name: &str| {
            Array::open(path, name)?.ok_or_else(|| {
                let message = format!("no array {name}; statistics have mu and sigma");
                Error::bad_model(path.display().to_string(), message)
            })
        };
        let mean = array("mu")?;
        let d = match mean.shape[..] {
            [d] if (1..=MOST).contains(&d) => d,
            _ => return Err(mean.bad(format!("mu has shape {:?}, one of 1 to {MOST} expected", mean.shape))),
        };
        let covariance = array("sigma")?;
        if covariance.shape != [d, d] {
            let message = format!("sigma has shape {:?}, [{d}, {d}] expected", covariance.shape);
            return Err(covariance.bad(message));
        }
        let count = Array::open(path, "count")?.filter(|count| count.shape.is_empty());
        let count = count.map(Array::doubles).transpose()?.map(|count| count[0] as u64);
        let (mean, covariance) = (mean.doubles()?, covariance.doubles()?);
        if let Some(value) = mean.iter().chain(&covariance).find(|value| !value.is_finite()) {
            return Err(Error::bad_model(path.display().to_string(), format!("a value is {value}")));
        }
        Ok(Self { count, mean, covariance })
    }

    /// The same, of a `.npz` file that may have none.
    ///
    /// # Errors
    /// As [`Self::read`], but for a file without `mu`.
    pub fn read_if_there(path: &Path) -> Result<Option<Self>> {
        if Array::open(path, "mu")?.is_none() {
            return Ok(None);
        }
        Self::read(path).map(Some)
    }

    /// Writes `mu` and `sigma`, as pytorch-fid and others read them, and `count`.
    ///
    /// # Errors
    /// IO.
    pub fn write(&self, path: &Path) -> Result<()> {
        let square = [self.mean.len(); 2];
        let count = self.count.map(|count| [count as f64]);
        let mut arrays =
            vec![("mu", &square[..1], &self.mean[..]), ("sigma", &square[..], &self.covariance[..])];
        if let Some(count) = &count {
            arrays.push(("count", &[], count));
        }
        write_npz(path, &arrays)
    }

    /// A matrix F with F F^T the covariance: its eigenvectors times the roots of their values. Values that cannot be told from
    /// zero are left out: their roots, a hundred million times larger, could be.
    fn factor(&self) -> DMatrix<f64> {
        let d = self.mean.len();
        let eigen = DMatrix::from_row_slice(d, d, &self.covariance).symmetric_eigen();
        let least = eigen.eigenvalues.max().max(0.0) * d as f64 * f64::EPSILON;
        let kept: Vec<usize> = (0..d).filter(|&i| eigen.eigenvalues[i] > least).collect();
        let mut factor = eigen.eigenvectors.select_columns(&kept);
        for (mut column, &i) in factor.column_iter_mut().zip(&kept) {
            column *= eigen.eigenvalues[i].sqrt();
        }
        factor
    }
}

/// Adds the products of rows, X^T X, by columns; each sum is in the order of the rows.
fn add_products(to: &mut [f64], rows: &[f64], d: usize, threads: usize) {
    // A row of X is a column of this view.
    let transposed = DMatrixView::from_slice(rows, d, rows.len() / d);
    let x = transposed.transpose();
    let columns = d.div_ceil(threads.max(1));
    share(to.chunks_mut(columns * d).enumerate().collect(), threads, |(part, to)| {
        let width = to.len() / d;
        let mut to = DMatrixViewMut::from_slice(to, d, width);
        to.gemm(1.0, &transposed, &x.columns(part * columns, width), 1.0);
    });
}

/// |m - n|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), the squared Wasserstein distance of two Gaussians. The last trace is the sum of
/// the singular values of F^T G, where F F^T = A and G G^T = B, which singular covariances leave as exact as others.
///
/// # Errors
/// INVALID_ARGUMENT (`reference`) for distributions of different features.
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    let d = a.mean.len();
    if b.mean.len() != d {
        let message = format!("statistics of {} features, {d} expected", b.mean.len());
        return Err(Error::argument("reference", message));
    }
    let means: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |gaussian: &Gaussian| gaussian.covariance.iter().step_by(d + 1).sum::<f64>();
    let product = a.factor().tr_mul(&b.factor());
    let both = if product.is_empty() { 0.0 } else { product.singular_values().sum() };
    Ok((means + trace(a) + trace(b) - 2.0 * both).max(0.0))
}
