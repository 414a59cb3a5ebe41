"""Makes evaluation/: what pytorch-fid and torch-fidelity find in images, and how they score features.

    pip install torch torchvision pytorch-fid torch-fidelity safetensors scikit-learn scipy
    python tests/golden/evaluation.py

Inception's weights and the features of sets are formulas (`values`), of which the Rust side has the twin, so that neither is kept.

images.safetensors: u8 images (h, w, 3), parts of scikit-learn's photographs, and of each (`NAME.tf`, `NAME.pytorch-fid`) the 2,048
features under a custom, and its 1,008 logits without the last bias (`NAME.logits`, of tf).
scores.json: FID, KID, Inception Score, precision and recall of two sets of features.
"""
import json
import pathlib
import zlib
from unittest import mock

import numpy
import torch
from pytorch_fid import fid_score, inception
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

here = pathlib.Path(__file__).parent / "evaluation"


def values(name, count):
    """Doubles in [-1, 1), a function of the name and the index: splitmix64."""
    x = numpy.arange(1, count + 1, dtype=numpy.uint64) + (numpy.uint64(zlib.crc32(name.encode())) << numpy.uint64(32))
    with numpy.errstate(over="ignore"):
        x = x * numpy.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        x = x ^ (x >> numpy.uint64(31))
    return (x >> numpy.uint64(40)).astype(numpy.float64) / 2**23 - 1


def weight(name, shape):
    """As a trained network's are: no layer makes its input much larger or smaller."""
    count = int(numpy.prod(shape))
    v = values(name, count)
    if name.endswith("conv.weight"):
        v = v * numpy.sqrt(6 * shape[0] / count)
    elif name == "fc.weight":
        v = v * 0.1
    elif name.endswith("running_var"):
        v = 1 + 0.5 * v
    elif name.endswith("bn.weight"):
        v = 1 + 0.1 * v
    else:
        v = 0.1 * v
    return torch.from_numpy(v.astype(numpy.float32)).reshape(shape)


def weights(module):
    return {name: torch.zeros_like(old) if name.endswith("num_batches_tracked") else weight(name, tuple(old.shape))
            for name, old in module.state_dict().items()}


def networks():
    """pytorch-fid's network, and torch-fidelity's, with the same weights."""
    with mock.patch.object(inception, "load_state_dict_from_url", lambda *a, **k: {}), \
            mock.patch.object(torch.nn.Module, "load_state_dict", lambda *a, **k: None):
        whole = inception.fid_inception_v3()
        with mock.patch("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: {}):
            other = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    state = weights(whole)
    whole.load_state_dict(state)
    with mock.patch.object(inception, "fid_inception_v3", lambda: whole):
        network = inception.InceptionV3()
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert not unexpected and all("num_batches" in name for name in missing), (missing, unexpected)
    return network.eval(), other.eval(), state


def images():
    china, flower = load_sample_images().images
    photograph = {
        "small": china[100:420:10, 200:520:10],
        "wide": flower[50:146:2, 100:500:5],
        "large": china[0:420, 0:40],
    }
    return {name: numpy.ascontiguousarray(image) for name, image in photograph.items()}


def sets():
    """Generated and reference features: correlated, of different means."""
    mix = values("mix", 24 * 24).reshape(24, 24)
    generated = values("generated", 1400 * 24).reshape(1400, 24) @ mix
    reference = 1.1 * values("reference", 1300 * 24).reshape(1300, 24) @ mix + 0.2
    return generated.astype(numpy.float32), reference.astype(numpy.float32)


def main():
    here.mkdir(exist_ok=True)
    network, other, _ = networks()
    found = {}
    with torch.no_grad():
        for name, image in images().items():
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
            features, logits = other(pixels)
            found[name] = torch.from_numpy(image)
            found[f"{name}.tf"] = features[0]
            found[f"{name}.logits"] = logits[0]
            found[f"{name}.pytorch-fid"] = network(pixels.float() / 255)[0][0, :, 0, 0]
            print(name, image.shape, features.std().item(), logits.std().item())
    save_file({name: value.contiguous() for name, value in found.items()}, here / "images.safetensors")

    generated, reference = (features.astype(numpy.float64) for features in sets())
    statistics = [(features.mean(axis=0), numpy.cov(features, rowvar=False)) for features in (generated, reference)]
    x, y = torch.from_numpy(generated), torch.from_numpy(reference)
    logits = torch.from_numpy(4 * values("logits", 1400 * 10).reshape(1400, 10)).float().double()
    scores = {
        "fid": fid_score.calculate_frechet_distance(*statistics[0], *statistics[1]),
        **kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=1000, rng_seed=2020, verbose=False),
        **isc_features_to_metric(logits, splits=10, shuffle=False),
        **prc_features_to_metric(x, y, prc_neighborhood=3, prc_batch_size=10000, save_cpu_ram=False, verbose=False),
    }
    (here / "scores.json").write_text(json.dumps({key: float(value) for key, value in scores.items()}, indent=2) + "\n")
    print(scores)


if __name__ == "__main__":
    main()
