"""The part of onestep's C interface that the benchmark needs, through ctypes; `include/onestep.h` says the rest."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

OK = 0
UNSUPPORTED = {11: "NOT_BUILT", 6: "DEVICE_UNAVAILABLE"}
ROLE_TEACHER, ROLE_STUDENT = 1, 2
RGB8 = 2
PRECISION = {"f32": 1, "bf16": 2}


class Absent(Exception):
    """This build of the library, or this machine, lacks what was asked for."""


class Error(ctypes.Structure):
    """onestep_error"""

    _fields_ = [("code", c_int32), ("native_code", c_int32), ("message", c_char * 504)]


class Layout(ctypes.Structure):
    """onestep_layout"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("format", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
        ("row_stride", c_uint64),
        ("plane_stride", c_uint64),
        ("image_stride", c_uint64),
    ]


class Memory(ctypes.Structure):
    """onestep_memory"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("weights", c_uint64),
        ("scratch", c_uint64),
        ("host_peak", c_uint64),
    ]


SIGNATURES = {
    "onestep_options_set_threads": [c_void_p, c_uint32],
    "onestep_options_set_precision": [c_void_p, c_int32],
    "onestep_options_set_role": [c_void_p, c_int32],
    "onestep_options_set": [c_void_p, c_char_p, c_char_p],
    "onestep_model_open_file": [c_char_p, c_void_p, POINTER(c_void_p)],
    "onestep_options_set_device": [c_void_p, c_char_p],
    "onestep_request_set_seeds": [c_void_p, POINTER(c_uint64), c_size_t],
    "onestep_session_sample": [c_void_p, c_void_p, c_void_p, c_void_p, c_size_t],
    "onestep_model_get_info": [c_void_p, c_void_p],
    "onestep_model_estimate_memory": [c_void_p, c_uint32, POINTER(Memory)],
    "onestep_session_new": [c_void_p, c_void_p, POINTER(c_void_p)],
    "onestep_session_predict": [
        c_void_p,
        POINTER(c_float),
        POINTER(c_int32),
        POINTER(c_int32),
        c_size_t,
        POINTER(c_float),
        c_size_t,
    ],
}


class Info(ctypes.Structure):
    """The beginning of onestep_model_info."""

    _fields_ = [
        ("struct_size", c_uint32),
        ("role", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("channels", c_int32),
        ("num_classes", c_int32),
    ]


class Library:
    """The shared library; its functions raise where the C ones return an error."""

    def __init__(self, path: Path):
        self.c = ctypes.CDLL(str(path))
        for name, arguments in SIGNATURES.items():
            function = getattr(self.c, name)
            function.argtypes = [*arguments, POINTER(Error)]
            function.restype = c_int32
        self.c.onestep_options_new.restype = c_void_p
        self.c.onestep_request_new.restype = c_void_p
        self.c.onestep_build_info.restype = c_char_p
        for name in ("onestep_options_free", "onestep_request_free", "onestep_model_free", "onestep_session_free"):
            getattr(self.c, name).argtypes = [c_void_p]
            getattr(self.c, name).restype = None

    def call(self, name: str, *arguments) -> None:
        """Calls a fallible function; raises `Absent` or `RuntimeError` with the library's own message."""
        error = Error()
        status = getattr(self.c, name)(*arguments, byref(error))
        if status == OK:
            return
        message = error.message.decode()
        if status in UNSUPPORTED:
            raise Absent(f"{UNSUPPORTED[status]}: {message}")
        raise RuntimeError(f"{name}: status {status}: {message}")

    def build_info(self) -> str:
        """The library's line about itself: version, target, instruction set."""
        return self.c.onestep_build_info().decode()


class Session:
    """A model and a session on it."""

    def __init__(
        self,
        library: Library,
        folder: Path,
        threads: int,
        precision: str,
        memory: str = "fast",
        device: str = "cpu",
        role: int = ROLE_TEACHER,
        more: dict[str, str] | None = None,
    ):
        """`more`: further keys of `onestep_options_set`."""
        self.library = library
        self.model, self.session = c_void_p(), c_void_p()
        options = library.c.onestep_options_new()
        try:
            library.call("onestep_options_set_threads", options, threads)
            library.call("onestep_options_set_precision", options, PRECISION[precision])
            library.call("onestep_options_set_role", options, role)
            library.call("onestep_options_set_device", options, device.encode())
            for key, value in {"memory": memory, **(more or {})}.items():
                library.call("onestep_options_set", options, key.encode(), value.encode())
            library.call("onestep_model_open_file", str(folder).encode(), options, byref(self.model))
            library.call("onestep_session_new", self.model, options, byref(self.session))
            info = Info(struct_size=ctypes.sizeof(Info))
            library.call("onestep_model_get_info", self.model, byref(info))
            self.conditional = info.num_classes > 0
        except Exception:
            self.close()
            raise
        finally:
            library.c.onestep_options_free(options)

    def predict(self, x: np.ndarray, timesteps: np.ndarray, out: np.ndarray, label: int = 0) -> None:
        """eps(x, t) into `out`: x and out (n, c, h, w) float32, timesteps (n) int32; all contiguous. `label` is the class
        drawn, where there are any."""
        assert x.dtype == out.dtype == np.float32 and timesteps.dtype == np.int32
        assert x.flags.c_contiguous and out.flags.c_contiguous and timesteps.flags.c_contiguous
        assert len(x) == len(timesteps) and x.shape == out.shape
        labels = np.full(len(x), label, np.int32)
        self.library.call(
            "onestep_session_predict",
            self.session,
            x.ctypes.data_as(POINTER(c_float)),
            timesteps.ctypes.data_as(POINTER(c_int32)),
            labels.ctypes.data_as(POINTER(c_int32)) if self.conditional else None,
            len(x),
            out.ctypes.data_as(POINTER(c_float)),
            out.size,
        )

    def sample(self, seeds: np.ndarray, out: np.ndarray) -> None:
        """The student's images of `seeds` (n) uint64 into `out` (n, h, w, 3) uint8."""
        assert seeds.dtype == np.uint64 and out.dtype == np.uint8 and out.flags.c_contiguous
        layout = Layout(struct_size=ctypes.sizeof(Layout), format=RGB8)
        request = self.library.c.onestep_request_new()
        try:
            pointer = seeds.ctypes.data_as(POINTER(c_uint64))
            self.library.call("onestep_request_set_seeds", request, pointer, len(seeds))
            where = out.ctypes.data_as(c_void_p)
            self.library.call("onestep_session_sample", self.session, request, byref(layout), where, out.nbytes)
        finally:
            self.library.c.onestep_request_free(request)

    def memory(self, batch: int) -> dict[str, int]:
        """What the library says a call of `batch` images takes, in bytes."""
        memory = Memory(struct_size=ctypes.sizeof(Memory))
        self.library.call("onestep_model_estimate_memory", self.model, batch, byref(memory))
        return {"weights": memory.weights, "scratch": memory.scratch, "host_peak": memory.host_peak}

    def close(self) -> None:
        """Frees both; what was never made is NULL, which frees nothing."""
        self.library.c.onestep_session_free(self.session)
        self.library.c.onestep_model_free(self.model)
        self.session, self.model = c_void_p(), c_void_p()
