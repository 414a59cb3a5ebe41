"""How good generated portraits are, judged by drawn ones: `python score.py DATA SAMPLES.npy ...` (NumPy, Pillow).

DATA holds the folders `train`, `test` and `test2` that examples/portraits.sh draws; SAMPLES.npy is what
`onestep sample MODEL --count 10000 --out SAMPLES.npy` writes: (10000, 4, 16, 16) in [-1, 1], RGBA.
- Frechet: the distance between Gaussians fitted to colours times alpha, and alpha, averaged to 8 x 8 (256 values from 0 to 16), of
  the samples and of `test`; `onestep eval --metrics pixel` finds the same. In the first line `test2` stands for the samples; the
  last number of the heading is 1 % of the trace of `test`'s covariance.
- crisp: the share of alpha within 0.05 of 0 or 1.
- of 1,000 images, how many are, at 8 bits a channel, one of the 100,000 that were learnt from; and the median of the root mean square
  differences from the nearest of those, colours times alpha, in parts of 255."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from frechet import frechet  # noqa: E402, beside both examples

LOOKED_UP = 1000


def folder(path: Path) -> numpy.ndarray:
    """(n, 16, 16, 4) bytes, in the order of the pictures' numbers."""

    def read(file: Path) -> numpy.ndarray:
        return numpy.asarray(Image.open(file).convert("RGBA"))

    with ThreadPoolExecutor() as threads:
        return numpy.stack(list(threads.map(read, sorted(path.glob("*/*.png"), key=lambda file: file.name))))


def array(path: str) -> numpy.ndarray:
    values = numpy.moveaxis(numpy.load(path), 1, 3).clip(-1, 1)
    return numpy.floor((values + 1) * 127.5 + 0.5).astype(numpy.uint8)


def premultiplied(images: numpy.ndarray) -> numpy.ndarray:
    """In [0, 1], as seen on black."""
    values = images.astype(numpy.float32) / 255
    values[..., :3] *= values[..., 3:]
    return values


def averaged(images: numpy.ndarray) -> numpy.ndarray:
    """(n, 256)"""
    cells = premultiplied(images).reshape(-1, 8, 2, 8, 2, 4).mean(axis=(2, 4))
    return 16 * cells.reshape(len(images), -1).astype(numpy.float64)


def main() -> None:
    data = Path(sys.argv[1])
    learnt, real = folder(data / "train"), folder(data / "test")
    known = {image.tobytes() for image in learnt}
    flat = premultiplied(learnt).reshape(len(learnt), -1)
    squares = (flat**2).sum(axis=1)
    features = averaged(real)

    def row(name: str, images: numpy.ndarray) -> None:
        alpha = images[..., 3].astype(numpy.float64) / 255
        crisp = ((alpha <= 0.05) | (alpha >= 0.95)).mean()
        few = images[:LOOKED_UP]
        copies = sum(image.tobytes() in known for image in few)
        seen = premultiplied(few).reshape(len(few), -1)
        nearest = (squares[:, None] - 2 * flat @ seen.T).min(axis=0) + (seen**2).sum(axis=1)
        distance = 255 * numpy.sqrt(numpy.median(nearest.clip(min=0)) / flat.shape[1])
        print(f"| {name} | {len(images)} | {frechet(averaged(images), features):.3f} | {crisp:.4f} | {copies} | {distance:.1f} |")

    trace = numpy.trace(numpy.cov(features, rowvar=False))
    print(f"| images | n | Frechet (1 % of the trace: {trace / 100:.3f}) | crisp | copies | nearest |\n|---|--:|--:|--:|--:|--:|")
    row("test2", folder(data / "test2"))
    for path in sys.argv[2:]:
        row(Path(path).stem, array(path))


if __name__ == "__main__":
    main()
