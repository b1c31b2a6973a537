"""Compiling for the processor that this runs on, by LLVM as ``llvmlite`` has it: no compiler is wanted."""

import functools
import threading

#: What a processor must be able to do for vectors of so many floats, best first. Without fused multiplication and
#: addition (SSE, say) convolving directly is as fast.
_FEATURES = ((16, {"avx512f", "avx512vl", "avx512dq"}), (8, {"avx2", "fma"}), (4, {"neon"}))
_compiling = threading.Lock()


@functools.cache
def _llvm():
    """llvmlite's compiler.

    Raises:
        RuntimeError: it is not installed, or too old.
    """
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise RuntimeError("llvmlite is not installed") from error
    if not hasattr(llvm, "create_pass_builder"):
        raise RuntimeError("llvmlite is too old, 0.45 or newer is needed")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def host() -> tuple[int | None, str | None]:
    """Floats in a vector of this processor, or ``None`` and why nothing can be compiled for it."""
    try:
        features = {name for name, there in _llvm().get_host_cpu_features().items() if there}
    except RuntimeError as error:
        return None, str(error)
    for lanes, wanted in _FEATURES:
        if wanted <= features:
            return lanes, None
    return None, "the processor has neither AVX2 with FMA, AVX-512 nor NEON"


@functools.cache
def _engine(taps: int, lanes: int):
    from vsr_plugin.inference.acceleration.cpu.kernels.emission import emit
    from vsr_plugin.inference.acceleration.cpu.kernels.winograd import ALGORITHMS

    llvm = _llvm()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    module = llvm.parse_assembly(str(emit(ALGORITHMS[taps], lanes)))
    module.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


def compiled(taps: int, lanes: int) -> int:
    """The address of ``run(Call *)`` for filters of a size and vectors of ``lanes`` floats; compiled once, in a second.

    Raises:
        RuntimeError: it cannot be compiled here.
    """
    with _compiling:
        return _engine(taps, lanes).get_function_address("run")
