"""Compiled kernels are kept from process to process."""

import os

import pytest

from vsr_plugin.acceleration import kernel_cache
from vsr_plugin.acceleration.cpu.kernels import jit


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
    monkeypatch.setattr(jit, "_processor", lambda: ("another", "+features"))
    with pytest.raises(RuntimeError, match="compiled again"):
        jit._engine.__wrapped__("few_channels", parameters)
