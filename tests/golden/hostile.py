"""Makes hostile/: HDF5 files that lead a reader astray and take no care of its memory, and an archive that grows when unpacked.

    pip install h5py numpy
    python tests/golden/hostile.py

The Rust side is tests/library/hostile.rs and cli/tests/command/hostile.rs.
"""
import pathlib
import shutil
import zipfile

import h5py
import numpy as np

here = pathlib.Path(__file__).parent / "hostile"


def file(name, **options):
    f = h5py.File(here / f"{name}.h5", "w", **options)
    f.attrs["layer_names"] = np.array([b"a"])
    return f


def weights(group, *names):
    group.attrs["weight_names"] = np.array([name.encode() for name in names])


def main():
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    with file("soft_loop") as f:
        f["a"] = h5py.SoftLink("/b")
        f["b"] = h5py.SoftLink("/a")
    with file("hard_loop") as f:
        a = f.create_group("a")
        a["a"] = a
        weights(a, "/".join(["a"] * 4000) + "/w")
    with file("external") as f:
        f["a"] = h5py.ExternalLink("/etc/hostname", "/")
    with file("huge_shape") as f:
        a = f.create_group("a")
        a.create_dataset("w", (2**31, 2**31), "<f4", chunks=(1024, 1024))
        weights(a, "w")
    with file("huge_contiguous") as f:
        a = f.create_group("a")
        a.create_dataset("w", (2**40,), "<f4")
        weights(a, "w")
    with file("many_chunks") as f:
        a = f.create_group("a")
        a.create_dataset("w", (2**40,), "<f4", chunks=(1,))
        weights(a, "w")
    with file("zeros", libver="latest") as f:
        a = f.create_group("a")
        a.create_dataset("w", data=np.zeros((1 << 21,), "<f4"), chunks=(1 << 20,), compression="gzip")
        weights(a, "w")
    with file("deep_type", libver="latest") as f:
        a = f.create_group("a")
        kind = h5py.h5t.IEEE_F32LE
        for _ in range(4000):
            kind = h5py.h5t.vlen_create(kind)
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(a.id, b"weight_names", kind, space)
    with file("many_names", libver="latest") as f:
        a = f.create_group("a")
        a.attrs["weight_names"] = np.zeros(20_000, "S1")
    with file("twice") as f:
        a = f.create_group("a")
        a["w"] = np.zeros(4, "<f4")
        weights(a, *(["w"] * 9000))
    with zipfile.ZipFile(here / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(8 << 20))


main()
