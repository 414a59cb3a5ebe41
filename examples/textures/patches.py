"""Patches of photographs that scikit-learn and scikit-image carry, as a folder of pictures: `python patches.py OUT`
(pip: scikit-learn, scikit-image, pillow).

Each photograph is halved once or more, and cut into patches of 32 x 32 that overlap by half; those that are nearly of one
colour are left out. China is daniel buechele's (CC BY 2.0), Chelsea Stefan van der Walt's (CC0), the coffee Rachel
Michetti's (CC0); the Hubble deep field is NASA's and ESA's (public domain), the stained tissue is that of the Center for
Microscopy And Molecular Imaging (no known copyright restrictions)."""

import pathlib
import sys

import numpy
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

SIDE, STRIDE = 32, 16

# How often each is halved: so that 32 pixels show a texture rather than one leaf.
PHOTOGRAPHS = {
    "china": (lambda: load_sample_image("china.jpg"), (1, 2)),
    "chelsea": (data.chelsea, (1,)),
    "coffee": (data.coffee, (1, 2)),
    "hubble": (data.hubble_deep_field, (1,)),
    "tissue": (data.immunohistochemistry, (0, 1)),
}


def halved(image: numpy.ndarray, times: int) -> numpy.ndarray:
    """(h, w, 3), each side divided by 2 to the `times`, by averaging."""
    for _ in range(times):
        h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        image = image[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3))
    return image


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, (load, sizes) in PHOTOGRAPHS.items():
        for times in sizes:
            image = halved(load()[:, :, :3].astype(numpy.float64), times)
            for top in range(0, image.shape[0] - SIDE + 1, STRIDE):
                for left in range(0, image.shape[1] - SIDE + 1, STRIDE):
                    patch = image[top : top + SIDE, left : left + SIDE]
                    if patch.std(axis=(0, 1)).mean() >= 12:
                        pixels = numpy.round(patch).astype(numpy.uint8)
                        Image.fromarray(pixels).save(out / f"{name}-{times}-{top:04}-{left:04}.png")


if __name__ == "__main__":
    main()
