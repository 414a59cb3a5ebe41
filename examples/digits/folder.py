"""scikit-learn's handwritten digits as a folder of pictures: `python folder.py OUT` (pip: scikit-learn, pillow).

Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI, CC BY 4.0): 1,797 images of 8 x 8, doubled to
16 x 16 by bilinear interpolation between pixel centres, one sub-folder a class."""

import pathlib
import sys

import numpy
from PIL import Image
from score import doubled, load_digits


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    digits = load_digits()
    for index, (image, label) in enumerate(zip(doubled(digits.images), digits.target)):
        folder = out / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numpy.round(image * (255 / 16)).astype(numpy.uint8)).save(folder / f"{index:04}.png")


if __name__ == "__main__":
    main()
