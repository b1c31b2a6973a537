"""Whether the kernels work on this processor: they are tried against PyTorch's convolution, so nothing is assumed."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import jit
from vsr_plugin.acceleration.cpu.kernels.deform_conv import DeformConv
from vsr_plugin.acceleration.cpu.kernels.few_channels_conv import FewChannelsConv
from vsr_plugin.acceleration.cpu.kernels.winograd import ALGORITHMS
from vsr_plugin.acceleration.cpu.kernels.winograd_conv import WinogradConv
from vsr_plugin.acceleration.cpu.kernels.winograd_gradient import weight_gradient
from vsr_plugin.ops.deform_conv import modulated_deform_conv2d

_Comparisons = dict[str, tuple[Tensor, Tensor]]
#: Largest error in results of magnitude 1 to 4, of floats and of whole numbers of 16 bits.
_TOLERANCE, _INTEGER_TOLERANCE = 1e-4, 2e-2
#: Multiplications from which on a convolution is worth compiling them, which takes some seconds a process: 64 channels
#: at 31x31.
_WORTH_COMPILING = 2**25
#: The same in training, which goes on for long: from there on they are faster than PyTorch's.
_WORTH_TRAINING = 2**22


def comparisons() -> _Comparisons:
    """What the kernels give, and what PyTorch's operators give, for odd sizes and random numbers.

    They are those that the networks have, so that nothing is compiled for the test alone.

    Raises:
        RuntimeError: they cannot be compiled here.
    """
    generator = torch.Generator().manual_seed(0)
    random = functools.partial(torch.randn, generator=generator)
    results = {}
    for taps in ALGORITHMS:
        x, residual = (random(2, 16, 13, 22).contiguous(memory_format=torch.channels_last) for _ in range(2))
        weight, bias = random(16, 16, taps, taps) / (4 * taps), random(16)
        expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=taps // 2)
        for name, slope, added, wanted in (
            ("leaky ReLU", 0.1, None, F.leaky_relu(expected, 0.1)),
            ("residual", None, residual, expected + residual),
        ):
            conv = WinogradConv(weight, bias, slope)
            results[f"{taps}x{taps}, {name}"] = conv(x, residual=added), wanted
        few = {3: 3, 7: 2}[taps]
        expected = F.conv2d(x.double(), weight[:few].double(), bias[:few].double(), padding=taps // 2)
        results[f"{taps}x{taps} to {few} channels"] = FewChannelsConv(weight[:few], bias[:few])(x), expected
    x, displacements, factors = random(2, 64, 5, 7), 3 * random(2, 144, 5, 7), random(2, 72, 5, 7)
    weight, bias = random(64, 64, 3, 3) / 24, random(64)
    expected = modulated_deform_conv2d(
        *(t.double() for t in (x, displacements, factors, weight, bias)), padding=1, deform_groups=8, backend="torch"
    )
    results["deformable"] = DeformConv(weight, bias, 8)(x, displacements, factors), expected
    return results


def integer_comparisons() -> _Comparisons:
    """:func:`comparisons` of kernels that multiply whole numbers of 16 bits.

    Raises:
        RuntimeError: there are none for this processor, or they cannot be compiled here.
    """
    generator = torch.Generator().manual_seed(0)
    random = functools.partial(torch.randn, generator=generator)
    x, residual = (random(2, 64, 13, 22).contiguous(memory_format=torch.channels_last) for _ in range(2))
    weight, bias = random(64, 64, 3, 3) / 24, random(64)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1) + residual
    if not WinogradConv.multiplies_integers(weight):
        raise RuntimeError("there are kernels that multiply whole numbers for AVX2 and AVX-512 only")
    return {"3x3, whole numbers": (WinogradConv(weight, bias, None, integers=True)(x, residual=residual), expected)}


def gradient_comparisons() -> _Comparisons:
    """The same for what training needs beyond that.

    Raises:
        RuntimeError: they cannot be compiled here.
    """
    generator = torch.Generator().manual_seed(0)
    random = functools.partial(torch.randn, generator=generator)
    x, gradient = (random(2, 16, 13, 22).contiguous(memory_format=torch.channels_last) for _ in range(2))
    weight = random(16, 16, 3, 3) / 12
    expected = torch.ops.aten.convolution_backward(
        *(gradient.double(), x.double(), weight.double(), [16]), [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True] * 3
    )
    turned = WinogradConv(weight.flip(2, 3).transpose(0, 1), torch.zeros(16), None)
    of_weight, of_bias = weight_gradient(x, gradient, 3)
    scale = 2 * 13 * 22
    return {
        "gradient of the input": (
            turned(gradient, residual=x, gate=x, gate_slope=0.1),
            (expected[0] + x) * torch.where(x > 0, 1, 0.1),
        ),
        "gradient of weights": (of_weight / scale, expected[1] / scale),
        "gradient of the bias": (of_bias / scale, expected[2] / scale),
    }


@functools.cache
def obstacle() -> str | None:
    """Why convolutions are left to PyTorch here; ``None`` where ours work. Takes some seconds the first time."""
    return _difference(comparisons, _TOLERANCE)


@functools.cache
def integer_obstacle() -> str | None:
    """Why 16-bit whole numbers cannot be multiplied here; ``None`` where they can."""
    return obstacle() or _difference(integer_comparisons, _INTEGER_TOLERANCE)


@functools.cache
def training_obstacle() -> str | None:
    """Why convolutions are left to PyTorch in training; ``None`` where ours work."""
    return obstacle() or _difference(gradient_comparisons, _TOLERANCE)


def _difference(compare: Callable[[], _Comparisons], tolerance: float) -> str | None:
    host, reason = jit.host()
    if host is None:
        return reason
    try:
        results = compare()
    except (RuntimeError, ImportError, AttributeError, OSError, TypeError, ValueError) as error:
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for name, (ours, expected) in results.items():
        # A comparison that NaN fails as well.
        if not (ours - expected).abs().max() <= tolerance:
            return f"{name}: other numbers than PyTorch's"
    return None


def missing_kernels() -> str | None:
    """What keeps the kernels from being used and could be mended, as far as it is known; nothing is compiled for it."""
    tried = jit.host()[0] is not None and obstacle.cache_info().currsize
    return obstacle() if tried else jit.missing_compiler()


def kernels_pay(x: Tensor, weight: Tensor, *, training: bool = False) -> bool:
    """Whether a convolution of ``x`` by ``weight`` is worth them, and they work here.

    It goes by the sizes alone, so that a clip is restored, and a network trained, the same way in every process.
    """
    worth = x.numel() // x.size(1) * weight.numel() >= (_WORTH_TRAINING if training else _WORTH_COMPILING)
    return worth and (training_obstacle if training else obstacle)() is None
