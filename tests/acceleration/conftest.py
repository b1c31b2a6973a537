"""Ways of computing on a CPU, forced, so that none is tested only where it happens to be chosen."""

import pytest
import torch
from pretended_recording import Recorder

from vsr_plugin.acceleration import fused_conv, precision
from vsr_plugin.acceleration.cpu import components
from vsr_plugin.acceleration.cpu.kernels import jit, self_test

#: Vectors wider than the processor's are computed in parts by LLVM.
HOSTS = {f"{host.lanes} lanes": host for host in (jit.Host(4, 32), jit.Host(8, 16), jit.Host(16, 32))}
#: LLVM cannot do without an instruction that is named.
INTEGER_HOSTS = {
    "AVX2": jit.Host(8, 16, jit.MADD),
    "AVX-512": jit.Host(16, 32, jit.MADD),
    "VNNI": jit.Host(16, 32, jit.VNNI),
}
NO_COMPILER = jit.missing_compiler()


@pytest.fixture
def recorder():
    """What records a network's steps in the place of CUDA."""
    return Recorder()


@pytest.fixture
def forgotten():
    """What was found out about the host is found out anew, and once more afterwards."""
    caches = jit._llvm, jit.host, self_test.obstacle, self_test.integer_obstacle, self_test.training_obstacle
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(params=HOSTS)
def lanes(request, monkeypatch):
    """Floats in the vectors that kernels are compiled for."""
    if NO_COMPILER:
        pytest.skip(NO_COMPILER)
    monkeypatch.setattr(jit, "host", lambda: (HOSTS[request.param], None))
    return HOSTS[request.param].lanes


@pytest.fixture(params=INTEGER_HOSTS)
def integers(request, monkeypatch):
    """What multiplies whole numbers of 16 bits, as far as this processor has the instructions."""
    host, (there, missing) = INTEGER_HOSTS[request.param], jit.host()
    if there is None or there.lanes < host.lanes or there.integers < host.integers:
        pytest.skip(missing or "this processor lacks the instruction")
    monkeypatch.setattr(jit, "host", lambda: (host, None))


@pytest.fixture
def whatever_the_size(monkeypatch):
    """Kernels convolve small images as well."""
    monkeypatch.setattr(self_test, "_WORTH_COMPILING", 0)


@pytest.fixture(params=[*HOSTS, "oneDNN, packed", "oneDNN, not packed", "plain"])
def cpu_path(request, monkeypatch, forgotten):
    """What convolves on the CPU, whatever the size and whatever would be chosen: kernels, oneDNN or plain operators."""
    path = request.param
    if path in HOSTS:
        request.getfixturevalue("whatever_the_size")
        if NO_COMPILER:
            pytest.skip(NO_COMPILER)
    monkeypatch.setattr(jit, "host", lambda: (HOSTS.get(path), f"the test is of {path}"))
    monkeypatch.setattr(fused_conv, "_layout_is_that_of_any_size", lambda: path != "oneDNN, not packed")
    if path == "plain":
        for module in (fused_conv, components):
            monkeypatch.setattr(module, "onednn_fuses", lambda dtype: False)
    elif not fused_conv.onednn_fuses(torch.float32):
        pytest.skip("this PyTorch has no fused oneDNN operators")
    if path in HOSTS:
        assert self_test.obstacle() is None
    return path


@pytest.fixture
def bf16(request, monkeypatch):
    """Precision bf16, which PyTorch emulates where the processor has no arithmetic for it."""
    monkeypatch.setattr(precision, "_cpu_computes", lambda dtype: True)
    path = request.node.callspec.params.get("cpu_path")
    if path != "plain" and not fused_conv.onednn_fuses(torch.bfloat16):
        pytest.skip("oneDNN has no bf16 on this processor")
    return "bf16"
