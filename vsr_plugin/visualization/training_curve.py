"""The course of a training as a picture: loss and validation PSNR against iterations, from mmengine's logs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from vsr_plugin.errors import VSRError
from vsr_plugin.visualization.figures import new_figure, save_figure

#: Name of a curve, e.g. ``'loss'`` or ``'REDSval4/PSNR'``, to its value at each iteration, in order.
Curves = dict[str, dict[int, float]]

_LOG = "vis_data/scalars.json"


def _lines(log: Path) -> Iterator[dict]:
    """Whole lines of a log; one that a killed run cut off, or where two ran together, is left out."""
    with log.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                yield entry


def read_curves(work_dir: str | os.PathLike) -> Curves:
    """Loss and validation figures of a training from the logs of all its runs.

    A run that was resumed has a folder of logs for each part. What a later part says replaces what an earlier one said
    of the same iterations, and of those after: the earlier one lost them when it stopped.

    Args:
        work_dir: of the runner; its folders named by time hold ``vis_data/scalars.json``.

    Returns:
        ``'loss'`` and every figure whose name has a data set before a stroke.

    Raises:
        VSRError: there is no log, or it is empty so far.
    """
    curves: Curves = {}
    for log in sorted(Path(work_dir).glob(f"*/{_LOG}")):
        entries = list(_lines(log))
        if not entries:
            continue
        begin = min(entry["step"] for entry in entries)
        for points in curves.values():
            for step in [step for step in points if step >= begin]:
                del points[step]
        for entry in entries:
            for name, value in entry.items():
                if (name == "loss" or "/" in name) and isinstance(value, int | float):
                    curves.setdefault(name, {})[entry["step"]] = float(value)
    curves = {name: dict(sorted(points.items())) for name, points in curves.items() if points}
    if not curves:
        raise VSRError(f"{work_dir}: there is no log of a training in it (*/{_LOG}), or nothing was logged so far")
    return curves


def plot_training(work_dir: str | os.PathLike, path: str | os.PathLike | None = None) -> Path:
    """Draw loss and validation PSNR of a training against iterations.

    Bicubic enlargement, where the validation scores it too, is a dashed line.

    Args:
        work_dir: see :func:`read_curves`.
        path: of the picture; ``work_dir/training.png`` by default.

    Returns:
        The path; the picture appears under it when it is whole.

    Raises:
        VSRError: see :func:`read_curves`.
    """
    curves = read_curves(work_dir)
    psnr = {name: points for name, points in curves.items() if name.endswith("/PSNR")}
    panels = [name for name, there in (("loss", "loss" in curves), ("PSNR", bool(psnr))) if there]
    if not panels:
        raise VSRError(f"{work_dir}: its log has neither a loss nor a PSNR; there is nothing to draw")
    figure = new_figure(9, 3.6 * len(panels))
    for axes, panel in zip(figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels, strict=True):
        if panel == "loss":
            steps, losses = zip(*curves["loss"].items(), strict=True)
            axes.plot(steps, losses, color="tab:gray", label="loss")
            if not any(loss <= 0 for loss in losses):
                axes.set_yscale("log")
            axes.set_ylabel("training loss")
        else:
            for name, points in psnr.items():
                marker = "o" if len(points) < 50 else None
                (line,) = axes.plot(list(points), list(points.values()), marker=marker, markersize=3, label=name)
                baseline = curves.get(f"{name}_bicubic")
                if baseline:
                    level = list(baseline.values())[-1]
                    axes.axhline(level, color=line.get_color(), linestyle="--", label=f"bicubic, {level:.2f} dB")
            axes.set_ylabel("validation PSNR in dB")
            axes.legend()
        axes.grid(alpha=0.3)
    axes.set_xlabel("iteration")

    target = Path(path) if path is not None else Path(work_dir, "training.png")
    save_figure(figure, target)
    return target
