"""Compiling for the processor that this runs on, by LLVM as ``llvmlite`` has it: no compiler is wanted."""

import functools
import importlib
import os
import platform
import threading
from pathlib import Path
from typing import Any, NamedTuple

from vsr_plugin.acceleration import kernel_cache
from vsr_plugin.acceleration.cpu.kernels.kernel_args import MADD, VNNI


class Host(NamedTuple):
    """What the processor computes with.

    Attributes:
        lanes: floats in a vector.
        registers: vectors that it holds at once.
        integers: what multiplies whole numbers of 16 bits, ``MADD`` or ``VNNI``; 0 for nothing that is written for.
    """

    lanes: int
    registers: int
    integers: int = 0


#: What it must be able to do for that, best first. Without fused multiplication and addition (SSE, say) convolving
#: directly is as fast.
_HOSTS = (
    (Host(16, 32, VNNI), {"avx512f", "avx512vl", "avx512dq", "avx512bw", "avx512vnni"}),
    (Host(16, 32, MADD), {"avx512f", "avx512vl", "avx512dq", "avx512bw"}),
    (Host(8, 16, MADD), {"avx2", "fma"}),
    (Host(4, 32), {"neon"}),
)
#: Environment variable that does without kernels, such as where memory must not be made executable.
SWITCH = "VSR_CPU_KERNELS"
_compiling = threading.Lock()


@functools.cache
def _llvm() -> Any:
    """llvmlite's compiler.

    Raises:
        RuntimeError: it is not installed, or too old.
    """
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise RuntimeError("llvmlite is not installed; pip install llvmlite") from error
    try:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    except (OSError, RuntimeError) as error:  # its library is loaded when it is first called
        raise RuntimeError(f"llvmlite does not work: {str(error).strip().splitlines()[0]}") from error
    if not hasattr(llvm, "create_pass_builder"):
        raise RuntimeError("llvmlite is too old; pip install 'llvmlite>=0.45'")
    return llvm


def _switched_off() -> bool:
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false")


def missing_compiler() -> str | None:
    """What keeps kernels from being compiled that could be mended."""
    if _switched_off():
        return None
    try:
        _llvm()
    except RuntimeError as error:
        return str(error)
    return None


@functools.cache
def host() -> tuple[Host | None, str | None]:
    """What is compiled for, or ``None`` and why nothing can be."""
    if _switched_off():
        return None, f"{SWITCH}=off is set"
    try:
        features = {name for name, there in _llvm().get_host_cpu_features().items() if there}
    except RuntimeError as error:
        return None, str(error)
    if platform.machine().lower() in ("arm64", "aarch64"):
        features.add("neon")  # LLVM does not name the features of every such processor
    for candidate, wanted in _HOSTS:
        if wanted <= features:
            return candidate, None
    return None, "the processor has neither AVX2 with FMA, AVX-512 nor NEON"


def vector_lanes() -> int:
    """Floats in the vectors that kernels are compiled for; 0 where none are."""
    found, _ = host()
    return found.lanes if found else 0


def integers_beat_bf16() -> bool:
    """Whether kernels of our own multiply 16-bit whole numbers, and the processor has no matrix unit for bfloat16."""
    found, _ = host()
    return bool(found and found.integers) and not _llvm().get_host_cpu_features().get("amx-bf16")


def lanes_for(*channels: int) -> int | None:
    """The widest vectors of which all numbers of channels are multiples, if there are kernels here at all."""
    lanes = vector_lanes()
    while lanes >= 4:
        if not any(number % lanes for number in channels):
            return lanes
        lanes //= 2
    return None


@functools.cache
def processor() -> tuple[str, str]:
    """The processor's name and features, as LLVM has them.

    Raises:
        RuntimeError: there is no LLVM.
    """
    llvm = _llvm()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _target_machine() -> Any:
    name, features = processor()
    return _llvm().Target.from_default_triple().create_target_machine(cpu=name, features=features, opt=3)


def _object_file(task: str, parameters: tuple[int, ...]) -> bytes:
    llvm, machine = _llvm(), _target_machine()
    emit = importlib.import_module(f"{__package__}.codegen.{task}").emit
    module = llvm.parse_assembly(str(emit(*parameters)))
    module.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return machine.emit_object(module)


@functools.cache
def _engine(task: str, parameters: tuple[int, ...]) -> Any:
    llvm = _llvm()
    version = importlib.import_module("llvmlite").__version__
    sources = kernel_cache.digest(Path(__file__).parent)
    depends_on = (sources, version, llvm.get_default_triple(), *processor(), task, *map(str, parameters))
    code = kernel_cache.cached(depends_on, lambda: _object_file(task, parameters))
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


@functools.cache
def compiled(task: str, *parameters: int) -> int:
    """The address of a task's function ``run``, compiled in half a second if no earlier process has.

    Args:
        task: a module of ``codegen``.
        parameters: of its ``emit``.

    Raises:
        RuntimeError: it cannot be compiled here.
    """
    with _compiling:
        return _engine(task, parameters).get_function_address("run")
