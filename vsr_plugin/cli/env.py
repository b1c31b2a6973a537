"""Show versions, devices, weights, and conflicts with their cure."""

from __future__ import annotations

import argparse
import os
import platform
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from vsr_plugin import __version__
from vsr_plugin.mmagic_host import Absence, absent_packages, import_quietly

# Distributions by what they are shown as; of several that bring the same package, all are named.
DISTRIBUTIONS = {
    "PyTorch": ("torch",),
    "torchvision": ("torchvision",),
    "numpy": ("numpy",),
    "mmengine": ("mmengine", "mmengine-lite", "onedl-mmengine"),
    "mmcv": ("mmcv", "mmcv-lite", "mmcv-full"),
    "mmagic": ("mmagic",),
    "OpenCV": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "PyAV": ("av",),
    "llvmlite": ("llvmlite",),
    "Ray": ("ray",),
    "diffusers": ("diffusers",),
    "huggingface_hub": ("huggingface-hub",),
}

# Where a module cannot be found, the label above that tells whether it should be.
_BRINGS = {
    "torch": "PyTorch",
    "numpy": "numpy",
    "mmengine": "mmengine",
    "mmcv": "mmcv",
    "mmagic": "mmagic",
    "cv2": "OpenCV",
}


@dataclass(frozen=True)
class Conflict:
    """Something that does not fit, and what to do about it.

    Attributes:
        fault: What is wrong.
        cure: A command or a step.
        fatal: Whether the plugin cannot be used until it is cured.
    """

    fault: str
    cure: str
    fatal: bool = False


@dataclass(frozen=True)
class Environment:
    """All that ``python -m vsr_plugin env`` prints.

    Attributes:
        installed: Version by distribution, for those of `DISTRIBUTIONS` that are installed.
        devices: One line per device.
        backends: Name and state of each implementation of deformable convolution.
        weights: Where each published file lies, None where it is not at hand.
        absences: The packages that MMagic is given stand-ins for.
        conflicts: What does not fit.
    """

    installed: Mapping[str, str]
    devices: list[str] = field(default_factory=list)
    backends: list[tuple[str, str]] = field(default_factory=list)
    weights: Mapping[str, Path | None] = field(default_factory=dict)
    absences: Mapping[str, Absence] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(conflict.fatal for conflict in self.conflicts)


def collect() -> Environment:
    """Look at this interpreter's environment; imports what is to be judged.

    Nothing is raised: what fails to import becomes a conflict.
    """
    installed = installed_versions()
    conflicts = find_conflicts(installed)
    absences = absent_packages()

    devices: list[str] = []
    backends: list[tuple[str, str]] = []
    weights: Mapping[str, Path | None] = {}
    if torch := _import("torch", "PyTorch", installed, conflicts):
        devices = _describe_devices(torch)
        if "torchvision" in installed and not _import("torchvision", "torchvision", installed, conflicts):
            absences["torchvision"] = Absence("torchvision", "it fails to import, see below")
        if _import("mmagic.registry", "MMagic", installed, conflicts):
            _import("mmagic.apis", "MMagic as a whole", installed, conflicts)
        path = "vsr_plugin.ops.deform_conv"
        if deform_conv := _import(path, "vsr_plugin", installed, conflicts):
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            backends = deform_conv.describe_backends(device)
        if "av" in installed:  # which the folder needs that it lies in
            acceleration = _import("vsr_plugin.acceleration", "vsr_plugin", installed, conflicts)
            devices += _describe_kernels(torch, acceleration)
        if ours := _import("vsr_plugin.weights", "vsr_plugin", installed, conflicts):
            weights = ours.locate_published()
    return Environment(installed, devices, backends, weights, absences, conflicts)


def installed_versions() -> dict[str, str]:
    """Return the version of each distribution in `DISTRIBUTIONS` that is installed."""
    found = {}
    for names in DISTRIBUTIONS.values():
        for name in names:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    return found


def find_conflicts(installed: Mapping[str, str]) -> list[Conflict]:
    """Judge a set of versions by what MMagic 1.2.0 asserts and by what was tried.

    Args:
        installed: Version by distribution, as `installed_versions` returns it.
    """
    conflicts: list[Conflict] = []

    def found(fault: str, cure: str, fatal: bool = False) -> None:
        conflicts.append(Conflict(fault, cure, fatal))

    def version(name: str) -> tuple[int, ...] | None:
        return release(installed[name]) if name in installed else None

    torch, numpy, mmagic = version("torch"), version("numpy"), version("mmagic")
    if torch is None:
        found("PyTorch is not installed", "pip install torch", fatal=True)
    elif torch < (2, 0):
        found(f"PyTorch {installed['torch']} is older than 2.0", "pip install 'torch>=2.0'", fatal=True)
    if numpy is None:
        found("numpy is not installed", "pip install 'numpy<3'", fatal=True)
    elif not (1, 22) <= numpy < (3,):
        found(f"numpy {installed['numpy']} is outside 1.22 <= version < 3", "pip install 'numpy>=1.22,<3'")
    elif torch and torch < (2, 3) and numpy >= (2,):
        found(
            f"PyTorch {installed['torch']} was built for numpy 1, found {installed['numpy']}",
            "pip install 'numpy<2'",
            fatal=True,
        )

    if mmagic is None:
        found("MMagic is not installed", "pip install --no-deps mmagic==1.2.0", fatal=True)
    elif mmagic != (1, 2, 0):
        found(f"MMagic {installed['mmagic']} was not tried, only 1.2.0", "pip install --no-deps mmagic==1.2.0")

    engines = [name for name in DISTRIBUTIONS["mmengine"] if name in installed]
    if not engines:
        found("mmengine is not installed", "pip install mmengine==0.10.7", fatal=True)
    for name in engines:
        if not (0, 4) <= version(name) < (1,):
            found(
                f"{name} {installed[name]} is outside 0.4 <= version < 1, which MMagic asserts",
                "pip install mmengine==0.10.7",
                fatal=True,
            )

    mmcvs = [name for name in DISTRIBUTIONS["mmcv"] if name in installed]
    if not mmcvs:
        found("mmcv is not installed", "pip install mmcv-lite==2.1.0", fatal=True)
    for name in mmcvs:
        if not (2, 0) <= version(name) < (2, 2):
            found(
                f"{name} {installed[name]} is outside 2.0 <= version < 2.2, which MMagic asserts",
                f"pip install {'mmcv-lite' if name == 'mmcv-full' else name}==2.1.0",
                fatal=True,
            )
    if len(mmcvs) > 1:
        found(
            f"{' and '.join(mmcvs)} are both installed, into the same folder",
            f"pip uninstall {' '.join(mmcvs)}, then install one of them again",
        )

    opencvs = [name for name in DISTRIBUTIONS["OpenCV"] if name in installed]
    if not opencvs:
        found("OpenCV is not installed", "pip install opencv-python==4.11.0.86", fatal=True)
    if len(opencvs) > 1:
        found(
            f"{' and '.join(opencvs)} are installed together, into the same folder",
            f"pip uninstall {' '.join(opencvs)}, then pip install opencv-python==4.11.0.86",
        )
    for name in opencvs:
        if version(name) >= (5,):
            found(f"{name} {installed[name]} was not tried with mmcv 2.1", f"pip install '{name}<5'")
        elif version(name) < (4, 10) and numpy and numpy >= (2,):
            found(
                f"{name} {installed[name]} was built for numpy 1, found {installed['numpy']}",
                f"pip install '{name}>=4.10,<5'",
            )

    if "av" not in installed:
        found("PyAV is not installed: video files can be neither read nor written", "pip install av")

    if (diffusers := version("diffusers")) and diffusers >= (0, 26):
        found(
            f"diffusers {installed['diffusers']} is too new: MMagic 1.2.0 does not import with 0.26 or later",
            "pip install diffusers==0.24.0, or pip uninstall diffusers",
        )
    elif diffusers and (version("huggingface-hub") or ()) >= (0, 26):
        found(
            f"huggingface_hub {installed['huggingface-hub']} does not fit diffusers {installed['diffusers']}",
            "pip install 'huggingface_hub<0.26'",
        )
    return conflicts


def release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version starts with: ``(2, 13, 0)`` of ``2.13.0+cpu``."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def describe(environment: Environment) -> str:
    """Return the environment as text for a person."""
    rows = [("vsr_plugin", __version__), ("Python", f"{platform.python_version()} on {platform.platform()}")]
    for label, names in DISTRIBUTIONS.items():
        found = [name for name in names if name in environment.installed]
        shown = [
            environment.installed[name] if name == names[0] else f"{environment.installed[name]} ({name})"
            for name in found
        ]
        if shown or label not in ("diffusers", "huggingface_hub"):
            rows.append((label, " and ".join(shown) or "not installed"))
        if label == "PyTorch" and shown:
            rows.append(("CUDA", _cuda_version()))
    sections = [("Versions", rows)]
    sections.append(("Devices", [(line, "") for line in environment.devices]))
    sections.append(("Deformable convolution", environment.backends))
    sections.append(("Weights", [(name, str(path or "not here")) for name, path in environment.weights.items()]))
    absent = [name for name, absence in environment.absences.items() if not absence.reason]
    broken = [(name, absence.reason) for name, absence in environment.absences.items() if absence.reason]
    listed = textwrap.wrap(", ".join(sorted(absent)), 100, break_on_hyphens=False)
    sections.append(("Absent packages, stood in for where MMagic asks for them", [(line, "") for line in listed]))
    sections.append(("Packages that fail to import, stood in for likewise", broken))

    lines: list[str] = []
    for title, entries in sections:
        if not entries:
            continue
        width = max(len(name) for name, _ in entries)
        lines += [title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in entries), ""]
    lines.append("Conflicts" if environment.conflicts else "No conflicts found.")
    for conflict in environment.conflicts:
        lines.append(f"  {'error' if conflict.fatal else 'warning'}: {conflict.fault}")
        lines.append(f"    cure: {conflict.cure}")
    return "\n".join(lines)


def _import(module: str, label: str, installed: Mapping[str, str], conflicts: list[Conflict]) -> Any:
    """Import `module`, or add why it fails to `conflicts` and return None."""
    try:
        return import_quietly(module)
    except Exception as error:  # whatever a broken installation raises is what is to be shown
        label_of_missing = _BRINGS.get(getattr(error, "name", None) or "")
        if label_of_missing and not any(name in installed for name in DISTRIBUTIONS[label_of_missing]):
            return None  # not installed: find_conflicts has said so
        top = module.partition(".")[0]
        message = (str(error).strip().splitlines() or [""])[0]
        if top == "torchvision":
            cure = "install the build that belongs to your PyTorch, or pip uninstall torchvision"
        elif top == "torch":
            cure = "pip install --force-reinstall torch"
        else:
            cure = "see the other conflicts; else install the versions in requirements/"
        fatal = top != "torchvision"
        conflicts.append(Conflict(f"{label} fails to import: {type(error).__name__}: {message}", cure, fatal))
        return None


def _cuda_version() -> str:
    try:
        import torch
    except Exception:  # reported as a conflict
        return "unknown"
    if torch.version.cuda is None:
        return "none (CPU build of PyTorch)"
    return torch.version.cuda if torch.cuda.is_available() else f"{torch.version.cuda} (no usable GPU)"


def _describe_devices(torch: Any) -> list[str]:
    lines = [f"cpu: {torch.get_num_threads()} threads, {os.cpu_count()} logical cores"]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gib = properties.total_memory / 2**30
            lines.append(f"cuda:{index}: {properties.name}, {gib:.1f} GiB")
    return lines


def _describe_kernels(torch: Any, acceleration: Any) -> list[str]:
    """Lines that say for each device what computes convolutions there, and why nothing faster does.

    Args:
        torch: the module.
        acceleration: the module, ``None`` where it cannot be imported; then nothing can be told.
    """
    if acceleration is None:
        return []
    lines = [f"cpu: {precision}: {path}" for precision, path in acceleration.cpu_paths().items()]
    if not torch.cuda.is_available():
        return lines
    from vsr_plugin.acceleration.cuda.flow_by_kernels import flow_obstacle
    from vsr_plugin.acceleration.cuda.kernels import obstacle

    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        parts = {
            "fp16": obstacle(device, torch.float16),
            "bf16": obstacle(device, torch.bfloat16),
            "flow": flow_obstacle(device),
        }
        kernels = ", ".join(f"{part} {'yes' if reason is None else f'no ({reason})'}" for part, reason in parts.items())
        lines.append(f"cuda:{index}: kernels of our own: {kernels}")
    return lines


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    return argparse.ArgumentParser(prog=prog, description=__doc__).parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    parse_args(arguments, prog)
    here = collect()
    print(describe(here))
    return 0 if here.usable else 1
