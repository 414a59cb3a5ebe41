"""How good generated digits are, judged by the real ones alone: `python score.py SAMPLES.npy ...` (scikit-learn).

SAMPLES.npy is what `onestep sample MODEL --count N --out SAMPLES.npy` writes: (N, 1, 16, 16) in [-1, 1], image i of
class i % 10. Two numbers, both over 8 x 8 averages with values from 0 to 16:
- accuracy: how often a support vector machine, trained on the real digits only, finds the class that was asked for;
- Frechet: the Frechet distance between Gaussians fitted to the 64 values, of the samples and of the real digits."""

import sys
from pathlib import Path

import numpy
from sklearn.datasets import load_digits
from sklearn.svm import SVC

sys.path.insert(0, str(Path(__file__).parents[1]))
from frechet import frechet  # noqa: E402, beside both examples


def doubled(images: numpy.ndarray) -> numpy.ndarray:
    """(n, h, w) to (n, 2h, 2w), bilinear between pixel centres; beyond the edge, the edge."""
    for axis in (1, 2):
        images = numpy.moveaxis(images, axis, 0)
        before = numpy.concatenate([images[:1], images[:-1]])
        after = numpy.concatenate([images[1:], images[-1:]])
        pairs = numpy.stack([0.75 * images + 0.25 * before, 0.75 * images + 0.25 * after], axis=1)
        images = numpy.moveaxis(pairs.reshape(-1, *images.shape[1:]), 0, axis)
    return images


def averaged(images: numpy.ndarray) -> numpy.ndarray:
    """(n, 16, 16) to (n, 64)."""
    return images.reshape(len(images), 8, 2, 8, 2).mean(axis=(2, 4)).reshape(len(images), 64)


def main() -> None:
    digits = load_digits()
    real = averaged(doubled(digits.images))
    judge = SVC(gamma=0.001).fit(real, digits.target)
    print("| samples | n | accuracy | Frechet |\n|---|--:|--:|--:|")
    for path in sys.argv[1:]:
        samples = averaged((numpy.load(path)[:, 0].clip(-1, 1) + 1) * 8)
        accuracy = (judge.predict(samples) == numpy.arange(len(samples)) % 10).mean()
        print(f"| {path} | {len(samples)} | {accuracy:.4f} | {frechet(samples, real):.3f} |")


if __name__ == "__main__":
    main()
