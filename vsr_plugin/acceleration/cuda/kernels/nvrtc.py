"""CUDA kernels compiled when they are first needed, by the compiler library that PyTorch for CUDA brings along.

Neither a CUDA toolkit nor a C++ compiler is wanted: NVRTC translates the source, the driver launches the kernel. Both
are called through their C interfaces, which have been the same since CUDA 11.8.
"""

import ctypes
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vsr_plugin.acceleration import kernel_cache

_INVALID_CONTEXT = 201  # of CUresult
_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8  # of CUfunction_attribute
_PROGRAMMATIC_STREAM_SERIALIZATION = 6  # of CUlaunchAttributeID
#: Drivers before CUDA 12.3 cannot record such launches into graphs.
_OVERLAPS_IN_GRAPHS = 12030


def _libraries(pattern: str) -> list[str]:
    """Files of NVIDIA's wheels, or of PyTorch's own folder, that go by a name, newest first."""
    site = Path(torch.__file__).parent.parent
    folders = [*site.glob("nvidia/*/lib"), *site.glob("nvidia/*/bin/x86_64"), *site.glob("nvidia/*/bin")]
    folders.append(Path(torch.__file__).parent / "lib")
    return [str(path) for folder in folders for path in sorted(folder.glob(pattern), reverse=True)]


@functools.cache
def _nvrtc() -> ctypes.CDLL:
    """NVRTC of PyTorch's version of CUDA.

    Raises:
        RuntimeError: it is not there.
    """
    major = (torch.version.cuda or "0").split(".")[0]
    windows = sys.platform == "win32"
    # It looks for its built-in headers by name alone, so they are loaded before.
    for path in _libraries(f"nvrtc-builtins64_{major}*.dll" if windows else f"libnvrtc-builtins.so.{major}.*"):
        ctypes.CDLL(path)
    plain = f"nvrtc64_{major}0_0.dll" if windows else f"libnvrtc.so.{major}"
    # Those of CUDA 11 have a minor version in their names.
    pattern = f"nvrtc64_{major}*_0.dll" if windows else f"{plain}*"
    for path in [*_libraries(pattern), plain, "nvrtc.dll" if windows else "libnvrtc.so"]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise RuntimeError(f"{plain}, which compiles CUDA kernels, is not installed")


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def _check(result: int, what: str) -> None:
    if result:
        raise RuntimeError(f"{what}: CUDA error {result}")


def read_source(name: str) -> str:
    """Source of the kernels in a file of this folder, behind what all of them share."""
    folder = Path(__file__).parent
    return (folder / "common.cu").read_text() + (folder / f"{name}.cu").read_text()


def architecture(device: torch.device, *, specific: bool = False) -> str:
    """The compiler's option for a device; ``specific`` for instructions that only this generation has."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"--gpu-architecture=sm_{major}{minor}{'a' if specific else ''}"


def compile_cubin(source: str, options: Sequence[str]) -> bytes:
    """Translate CUDA source that includes no headers, or take what an earlier process has; needs no GPU.

    Args:
        source: with ``extern "C"`` kernels.
        options: of NVRTC, among them ``--gpu-architecture=sm_..``.

    Raises:
        RuntimeError: there is no compiler, or it refuses; with its messages.
    """
    depends_on = (kernel_cache.digest(Path(__file__).parent), source, *options, str(torch.version.cuda))
    return kernel_cache.cached(depends_on, lambda: _translate(source, options))


def _translate(source: str, options: Sequence[str]) -> bytes:
    nvrtc = _nvrtc()
    program = ctypes.c_void_p()
    _check(
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None),
        "nvrtcCreateProgram",
    )
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
        size = ctypes.c_size_t()
        if failed:
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(f"a CUDA kernel cannot be compiled: {log.value.decode(errors='replace')}")
        _check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)), "nvrtcGetCUBINSize")
        cubin = ctypes.create_string_buffer(size.value)
        _check(nvrtc.nvrtcGetCUBIN(program, cubin), "nvrtcGetCUBIN")
        return cubin.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


class _Attribute(ctypes.Structure):
    """``CUlaunchAttribute``: its value is a union of 64 bytes."""

    _fields_ = (("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", ctypes.c_int * 16))


class _Config(ctypes.Structure):
    """``CUlaunchConfig``."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("num_attributes", ctypes.c_uint),
    )


class Kernel:
    """A kernel loaded on a device.

    Args:
        device: where it runs.
        cubin: see :func:`compile_cubin`.
        name: of the kernel.
        threads: of a block.
        shared_bytes: of dynamic shared memory.
        overlaps: the kernel asks itself for the results of what was launched before it (``griddepcontrol.wait``), so
            it may begin while that is ending.

    Raises:
        RuntimeError: the device cannot run it.
    """

    def __init__(
        self,
        device: torch.device,
        cubin: bytes,
        name: str,
        *,
        threads: int,
        shared_bytes: int = 0,
        overlaps: bool = False,
    ):
        self._device = device
        with torch.cuda.device(device):
            torch.cuda.current_stream().query()  # makes PyTorch's context the current one
            self._load(cubin, name, shared_bytes)
        self._threads, self._shared_bytes = threads, shared_bytes
        self._attributes = (_Attribute * 1)()
        self._attributes[0].id = _PROGRAMMATIC_STREAM_SERIALIZATION
        self._attributes[0].value[0] = 1
        version = ctypes.c_int()
        _check(_driver().cuDriverGetVersion(ctypes.byref(version)), "cuDriverGetVersion")
        self._num_attributes = int(overlaps and version.value >= _OVERLAPS_IN_GRAPHS)

    def _load(self, cubin: bytes, name: str, shared_bytes: int) -> None:
        driver = _driver()
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        _check(driver.cuModuleLoadData(ctypes.byref(self._module), cubin), "cuModuleLoadData")
        _check(
            driver.cuModuleGetFunction(ctypes.byref(self._function), self._module, name.encode()),
            "cuModuleGetFunction",
        )
        _check(
            driver.cuFuncSetAttribute(self._function, _MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes),
            "cuFuncSetAttribute",
        )

    def __call__(self, grid: tuple[int, int, int], *arguments: Tensor | int | float | None) -> None:
        """Queue the kernel on the current stream; ``None`` is a null pointer, numbers are ``int`` and ``float``.

        Raises:
            RuntimeError: the driver refuses.
        """
        values = [
            ctypes.c_void_p(a.data_ptr())
            if isinstance(a, Tensor)
            else ctypes.c_void_p()
            if a is None
            else ctypes.c_float(a)
            if isinstance(a, float)
            else ctypes.c_int(a)
            for a in arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        config = _Config(
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(self._threads, 1, 1),
            self._shared_bytes,
            torch.cuda.current_stream(self._device).cuda_stream,
            self._attributes,
            self._num_attributes,
        )
        with torch.cuda.device(self._device):
            failed = _driver().cuLaunchKernelEx(ctypes.byref(config), self._function, pointers, None)
            if failed == _INVALID_CONTEXT:
                # The first work of a thread; the runtime, unlike the driver, takes up the device's context by itself.
                torch.cuda.current_stream().query()
                failed = _driver().cuLaunchKernelEx(ctypes.byref(config), self._function, pointers, None)
        _check(failed, "cuLaunchKernelEx")
