"""Inception's features on the CPU beside pytorch-fid: images a second and peak memory, each in a process of its own, in turns.

    pip install torch torchvision pytorch-fid torch-fidelity scikit-learn safetensors     (beside requirements.txt)
    cargo build --release -p onestep-cli
    python evaluation.py [--threads 2] [--images 512] [--rounds 3] [--isa avx2]

Both see the same PNG files of 32 x 32 (parts of scikit-learn's photographs) and the same random weights, which the script of the golden
arrays makes. pytorch-fid runs at its own batch of 50 and at 8, which is faster. --isa avx2 lowers both. Prints a table and, with
--json, a file."""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from lowered import AVX2

root = pathlib.Path(__file__).resolve().parents[2]


def make(folder: pathlib.Path, count: int) -> None:
    """The images, and the weights."""
    sys.path.insert(0, str(root / "tests/golden"))
    import evaluation
    import torch
    from PIL import Image
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    (folder / "images").mkdir()
    for i in range(count):
        photograph = (china, flower)[i % 2]
        y, x = 7 * i % (photograph.shape[0] - 32), 13 * i % (photograph.shape[1] - 32)
        Image.fromarray(photograph[y : y + 32, x : x + 32]).save(folder / "images" / f"{i:05}.png")
    torch.save(evaluation.networks()[2], folder / "inception.pth")


def worker(folder: pathlib.Path, batch: int, threads: int) -> None:
    """pytorch-fid's own loop over the images."""
    from unittest import mock

    import torch
    from pytorch_fid import fid_score, inception

    torch.set_num_threads(threads)
    state = torch.load(folder / "inception.pth")
    with mock.patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
        network = inception.InceptionV3().eval()
    files = sorted((folder / "images").glob("*.png"))
    fid_score.get_activations(files[:batch], network, batch, 2048, "cpu", 0)
    start = time.perf_counter()
    fid_score.get_activations(files, network, batch, 2048, "cpu", 0)
    speed = len(files) / (time.perf_counter() - start)
    print(json.dumps({"images_per_second": speed, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def theirs(folder: pathlib.Path, batch: int, threads: int) -> dict:
    command = [sys.executable, __file__, "--worker", str(folder), "--batch", str(batch), "--threads", str(threads)]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(output.splitlines()[-1])


def ours(folder: pathlib.Path, threads: int, command: str) -> dict:
    """The whole command: weights read and packed, PNGs decoded, features written, and the score."""
    with tempfile.TemporaryDirectory() as out:
        arguments = ["eval", "--images", str(folder / "images"), "--inception", str(folder / "inception.pth")]
        arguments += ["--metrics", "is", "--protocol", "pytorch-fid", "--threads", str(threads), "--quiet", "--out", out]
        process = subprocess.Popen([command, *arguments])
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, status
        report = pathlib.Path(out, "report.md").read_text()
        speed = next(line for line in report.splitlines() if "images a second" in line)
    return {"images_per_second": float(speed.split()[0]), "peak": usage.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--isa", choices=["avx2"])
    parser.add_argument("--command", default=str(root / "target/release/onestep"))
    parser.add_argument("--json")
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, arguments.batch, arguments.threads)
    if arguments.make:
        return make(arguments.make, arguments.images)
    if arguments.isa:
        os.environ.update(AVX2)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        # In a process of its own: what one starts counts its parent's memory as its own until it is another program.
        subprocess.run([sys.executable, __file__, "--make", place, "--images", str(arguments.images)], check=True)
        runs = {
            "pytorch-fid, batch 50": lambda: theirs(folder, 50, arguments.threads),
            "pytorch-fid, batch 8": lambda: theirs(folder, 8, arguments.threads),
            "onestep eval": lambda: ours(folder, arguments.threads, arguments.command),
        }
        found = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                found[name].append(run())
    print("| | images/s | peak memory, MiB |\n|---|--:|--:|")
    for name, results in found.items():
        speed = statistics.median(result["images_per_second"] for result in results)
        peak = statistics.median(result["peak"] for result in results)
        print(f"| {name} | {speed:.1f} | {peak / 2**20:.0f} |")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
