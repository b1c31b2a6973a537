"""Compiled kernels are kept from process to process."""

import os
import shutil
from pathlib import Path

import pytest

from vsr_plugin.acceleration import kernel_cache
from vsr_plugin.acceleration.cpu import kernels as cpu_kernels
from vsr_plugin.acceleration.cpu.kernels import jit
from vsr_plugin.acceleration.cuda import kernels as cuda_kernels
from vsr_plugin.acceleration.cuda.kernels import nvrtc


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", str(tmp_path / "kernels"))
    return tmp_path / "kernels" / "vsr_plugin"


class Compiler:
    def __init__(self, code=b"code"):
        self.code = code
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.code


def test_what_was_compiled_is_not_compiled_again(folder):
    first, second = Compiler(), Compiler(b"not asked for")
    assert kernel_cache.cached(["source", "sm_90"], first) == b"code"
    assert kernel_cache.cached(["source", "sm_90"], second) == b"code"
    assert (first.calls, second.calls) == (1, 0)
    assert [path.suffix for path in folder.iterdir()] == [".bin"]


@pytest.mark.parametrize("description", [["source", "sm_80"], ["other", "sm_90"], ["sources", "m_90"]])
def test_other_sources_and_processors_are_compiled_for(description):
    kernel_cache.cached(["source", "sm_90"], Compiler())
    assert kernel_cache.cached(description, Compiler(b"other")) == b"other"


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"!", lambda data: b""])
def test_a_damaged_file_is_made_anew(folder, damage):
    kernel_cache.cached(["source"], Compiler())
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert kernel_cache.cached(["source"], Compiler()) == b"code"
    assert kernel_cache.cached(["source"], Compiler(b"not asked for")) == b"code"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no such permissions here")
def test_what_others_may_have_written_is_not_run(folder):
    kernel_cache.cached(["source"], Compiler())
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    assert kernel_cache.cached(["source"], Compiler(b"own")) == b"own"


def test_without_a_place_everything_is_compiled(folder):
    folder.parent.write_text("a file where the folder would be")
    assert [kernel_cache.cached(["source"], Compiler(code)) for code in (b"1", b"2")] == [b"1", b"2"]


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert kernel_cache.cached(["source"], Compiler()) == b"code"
    assert list(folder.iterdir()) == []


def test_faults_of_the_compiler_are_raised(folder):
    def refuse():
        raise RuntimeError("line 3")

    with pytest.raises(RuntimeError, match="line 3"):
        kernel_cache.cached(["source"], refuse)
    assert not folder.exists()


@pytest.mark.skipif(jit.host()[0] is None, reason=f"no CPU kernels: {jit.host()[1]}")
def test_cpu_kernels_are_kept(monkeypatch):
    parameters = (3, 2, jit.host()[0].lanes)
    engine = jit._engine.__wrapped__("few_channels", parameters)
    assert engine.get_function_address("run")

    def refuse(*_):
        raise RuntimeError("compiled again")

    monkeypatch.setattr(jit, "_object_file", refuse)
    assert jit._engine.__wrapped__("few_channels", parameters).get_function_address("run")
    for owner, name, other in (
        (jit, "processor", lambda: ("another", "+features")),
        (kernel_cache, "digest", lambda kernels: "other sources"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(owner, name, other)
            with pytest.raises(RuntimeError, match="compiled again"):
                jit._engine.__wrapped__("few_channels", parameters)


@pytest.mark.parametrize("kernels", [cpu_kernels, cuda_kernels], ids=["cpu", "cuda"])
def test_every_source_file_of_the_kernels_counts(tmp_path, kernels):
    original = Path(kernels.__file__).parent
    copy = tmp_path / "copy"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
    digest = kernel_cache.digest.__wrapped__
    assert digest(copy) == digest(original)
    files = [path for path in copy.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b" ")
        assert digest(copy) != digest(original), path
        path.write_bytes(data)
    files[0].rename(copy / "renamed.py")
    assert digest(copy) != digest(original)


def test_cuda_kernels_are_compiled_for_their_sources(monkeypatch):
    monkeypatch.setattr(nvrtc, "_translate", lambda source, options: b"code")
    assert nvrtc.compile_cubin("source", []) == b"code"
    monkeypatch.setattr(nvrtc, "_translate", lambda source, options: b"other")
    assert nvrtc.compile_cubin("source", []) == b"code"
    monkeypatch.setattr(kernel_cache, "digest", lambda kernels: "other sources")
    assert nvrtc.compile_cubin("source", []) == b"other"
