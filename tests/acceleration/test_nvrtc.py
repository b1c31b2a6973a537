"""Compiling and launching CUDA kernels: what can be told without a GPU."""

import contextlib
import ctypes
import types

import kernels_on_cpu
import pytest
import torch

from vsr_plugin.acceleration.cuda.kernels import nvrtc, self_test


def test_structures_are_those_of_the_driver():
    # CUlaunchAttribute: an int, filled up to 8 bytes, and a union of 64. CUlaunchConfig: seven ints, then two pointers.
    assert ctypes.sizeof(nvrtc._Attribute) == 72
    assert nvrtc._Attribute.value.offset == 8
    offsets = [getattr(nvrtc._Config, name).offset for name, _ in nvrtc._Config._fields_]
    assert offsets == [0, 12, 24, 32, 40, 48]


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(nvrtc, "_libraries", lambda pattern: [])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(ctypes, "CDLL", _no_library)
    nvrtc._nvrtc.cache_clear()
    with pytest.raises(RuntimeError, match=r"nvrtc.*13.*, which compiles CUDA kernels, is not installed"):
        nvrtc.compile_cubin("", [])


def _no_library(name):
    raise OSError(f"{name}: cannot open shared object file")


class Compiler:
    """NVRTC that refuses every program."""

    def __init__(self):
        self.destroyed = 0

    def nvrtcCreateProgram(self, *arguments):  # noqa: N802
        return 0

    def nvrtcCompileProgram(self, *arguments):  # noqa: N802
        return 6

    def nvrtcGetProgramLogSize(self, program, size):  # noqa: N802
        size._obj.value = 40
        return 0

    def nvrtcGetProgramLog(self, program, log):  # noqa: N802
        log.value = b"line 3: expected a semicolon"
        return 0

    def nvrtcDestroyProgram(self, program):  # noqa: N802
        self.destroyed += 1
        return 0


def test_messages_of_the_compiler_are_told(monkeypatch):
    compiler = Compiler()
    monkeypatch.setattr(nvrtc, "_nvrtc", lambda: compiler)
    with pytest.raises(RuntimeError, match="cannot be compiled: line 3: expected a semicolon"):
        nvrtc.compile_cubin("int x", ["--gpu-architecture=sm_80"])
    assert compiler.destroyed == 1


class Driver:
    """A driver whose launches end with the given results, one after the other."""

    def __init__(self, *results):
        self.results, self.launches = list(results), []

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 13000
        return 0

    def cuModuleLoadData(self, *arguments):  # noqa: N802
        return 0

    cuModuleGetFunction = cuFuncSetAttribute = cuModuleLoadData  # noqa: N815

    def cuLaunchKernelEx(self, config, function, pointers, extra):  # noqa: N802
        values = [ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] for pointer in pointers]
        self.launches.append((list(config._obj.grid), list(config._obj.block), config._obj.num_attributes, values))
        return self.results.pop(0)


@pytest.fixture
def launch(monkeypatch):
    """Return a function that launches a kernel with numbers, given what the driver answers."""
    queries = []
    stream = types.SimpleNamespace(cuda_stream=7, query=lambda: queries.append(1))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: stream)

    def run(*results, overlaps=False):
        driver = Driver(*results)
        monkeypatch.setattr(nvrtc, "_driver", lambda: driver)
        kernel = nvrtc.Kernel(torch.device("cuda:0"), b"", "name", threads=64, overlaps=overlaps)
        queries.clear()
        kernel((3, 2, 1), 5, 0.5, None)
        return driver.launches, len(queries)

    return run


def test_numbers_reach_the_kernel(launch):
    half = int.from_bytes(bytearray(ctypes.c_float(0.5)), "little")
    assert launch(0) == ([([3, 2, 1], [64, 1, 1], 0, [5, half, 0])], 0)
    assert launch(0, overlaps=True)[0][0][2] == 1


def test_a_thread_without_a_context_takes_it_up(launch):
    launches, queries = launch(201, 0)
    assert len(launches) == 2
    assert queries == 1


def test_a_launch_that_is_refused_says_so(launch):
    with pytest.raises(RuntimeError, match="cuLaunchKernelEx: CUDA error 701"):
        launch(701)


@pytest.mark.parametrize(
    "error", [RuntimeError("no kernel image"), OSError("libcuda.so.1"), AttributeError("cuLaunchKernelEx")]
)
def test_kernels_that_fail_are_not_used(monkeypatch, error):
    def failing(device, dtype):
        raise error

    monkeypatch.setattr(self_test, "comparisons", failing)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    self_test.obstacle.cache_clear()
    assert self_test.obstacle(torch.device("cuda:0"), torch.float16) == str(error)
    assert not self_test.kernels_work(torch.device("cuda:0"), torch.float16)
    self_test.obstacle.cache_clear()


def test_lack_of_memory_is_no_obstacle(monkeypatch):
    def full(device, dtype):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(self_test, "comparisons", full)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    self_test.obstacle.cache_clear()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        self_test.kernels_work(torch.device("cuda:0"), torch.float16)


@pytest.mark.parametrize(("error", "works"), [(1e-4, True), (0.5, False), (torch.nan, False)])
def test_kernels_with_wrong_numbers_are_not_used(monkeypatch, error, works):
    right = torch.ones(3)
    tried = {"warp": (right, right), "conv3x3": (right + error, right), "enlarge": (right, right)}
    monkeypatch.setattr(self_test, "comparisons", lambda device, dtype: tried)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    self_test.obstacle.cache_clear()
    assert self_test.kernels_work(torch.device("cuda:0"), torch.float16) is works
    reason = None if works else "they give other numbers than PyTorch: conv3x3"
    assert self_test.obstacle(torch.device("cuda:0"), torch.float16) == reason
    self_test.obstacle.cache_clear()


@pytest.mark.parametrize(
    ("capability", "dtype", "reason"),
    [((7, 5), torch.float16, "compute capability 8.0"), ((9, 0), torch.float32, "half precision")],
)
def test_what_kernels_are_not_for(monkeypatch, capability, dtype, reason):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    self_test.obstacle.cache_clear()
    assert reason in self_test.obstacle(torch.device("cuda:0"), dtype)
    self_test.obstacle.cache_clear()


@pytest.mark.parametrize("name", ["convolution", "flow", "pixels"])
def test_sources_include_nothing(name):
    # Headers are in the toolkit, which nobody has to have.
    source = nvrtc.read_source(name)
    assert "struct alignas(16) Vec" in source
    assert "__global__" in source
    assert "#include" not in source


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_trial_compares_like_with_like(monkeypatch, dtype):
    """With emulated kernels, so that a kernel which fails it is at fault and not the test."""
    for name, function in kernels_on_cpu.FUNCTIONS.items():
        monkeypatch.setattr(self_test, name, function, raising=False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: types.SimpleNamespace(synchronize=lambda: None))
    tried = self_test.comparisons(torch.device("cpu"), dtype)
    assert len(tried) == 12
    for name, (got, right) in tried.items():
        assert got.shape == right.shape, name
        assert (got - right).abs().max() < self_test._TOLERANCE[dtype] * right.abs().max(), name
