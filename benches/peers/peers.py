"""Measures onestep beside ONNX Runtime, OpenVINO and PyTorch on one machine, in one run, with the same weights.

Exits with 1 where onestep's output is not what PyTorch computes; speed decides nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BATCHES = {"cifar10": [1, 4, 16], "celeba64": [1], "lsun256": [1], "imagenet64": [1]}
PARTS = ("agreement", "speed", "scaling", "cold")


def arguments(backends: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=BATCHES, default=list(BATCHES), metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, metavar="N", help="of every network; default: its own")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--isa", choices=["avx2"], help="less than the processor has, for all")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="of measuring, a setting (20)")
    names = " ".join(backends)
    parser.add_argument("--only", nargs="+", choices=backends, default=backends, metavar="BACKEND", help=names)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--library", type=Path, default=REPOSITORY / "target/release/libonestep.so", metavar="PATH")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target/peers", metavar="FOLDER", help="of networks")
    parser.add_argument("--with", dest="earlier", type=Path, metavar="FILE", help="add to an earlier run's JSON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG")
    return parser.parse_args()


def settings(args: argparse.Namespace, name: str) -> Iterator:
    """Each (network, batch) asked for."""
    import networks
    from backends import Setting

    network = networks.NETWORKS[name]
    folder = networks.ensure(network, args.work.resolve())
    for batch in args.batches or BATCHES[name]:
        yield Setting(folder, network.side, batch, args.threads, args.library.resolve())


def measure(args: argparse.Namespace, results: dict) -> None:
    """Adds everything asked for to `results`, whose parts are dictionaries by network or "network/batch"."""
    import networks
    from agreement import agreement
    from cold import cold
    from neighbours import Neighbours
    from speed import scaling, speed

    for name in args.networks:
        for index, setting in enumerate(settings(args, name)):
            key = f"{name}/{setting.batch}"
            if index == 0:
                results["flops"][name] = networks.flops(setting.folder, setting.side)
                if "agreement" in args.parts:
                    progress(f"{name}: agreement")
                    results["agreement"].setdefault(name, {}).update(agreement(args.only, setting))
            if "speed" in args.parts:
                progress(f"{key}: speed")
                with Neighbours() as neighbours:
                    results["speed"].setdefault(key, {}).update(speed(args.only, setting, args.seconds))
                results["others"][key] = neighbours.share
            if "scaling" in args.parts and key == "cifar10/16":
                progress(f"{key}: one thread, two threads")
                results["scaling"].setdefault(key, {}).update(scaling(args.only, setting, args.seconds))
        if "cold" in args.parts:
            progress(f"{name}: fresh processes")
            results["cold"].setdefault(name, {}).update(cold(args.only, setting, args.work))


def progress(text: str) -> None:
    """What is being done, beside the results."""
    print(text, file=sys.stderr, flush=True)


def start(args: argparse.Namespace) -> dict:
    """Results to begin with: none, or those of an earlier run on the same machine."""
    import onestep
    from machine import describe

    about = {"threads": args.threads, **describe(onestep.Library(args.library.resolve()).build_info())}
    results = {part: {} for part in ("flops", "others", *PARTS)}
    if args.earlier:
        results |= json.loads(args.earlier.read_text())
        results["machine"].setdefault("seen", "all")
        for key in ("processor", "seen", "cores", "threads"):
            if results["machine"][key] != about[key]:
                sys.exit(f"{args.earlier}: {key} is {results['machine'][key]}, here {about[key]}")
    return results | {"machine": about}


def main() -> int:
    """Runs what the command line asks for."""
    from backends import BACKENDS
    from lowered import start_lowered

    logging.disable(logging.WARNING)
    args = arguments(list(BACKENDS))
    if args.isa:
        start_lowered(args.work)
    results = start(args)
    measure(args, results)

    from agreement import violations
    from bars import bars
    from report import report

    for line in report(results):
        print(line)
    print("\n## Bars\n")
    for bar in bars(results):
        print(f"    {bar}")
    wrong = [f"{name}: {text}" for name, found in results["agreement"].items() for text in violations(found)]
    for line in wrong:
        print(f"WRONG {line}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.plot:
        from plot import plot

        plot(results, args.plot)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
