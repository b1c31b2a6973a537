"""Parameters, arithmetic and time of each component of the networks (table 1 and section 4 of the paper)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn

from vsr_plugin.acceleration import accelerate
from vsr_plugin.benchmarks import profiling
from vsr_plugin.benchmarks.implementations import Setting, plain_net
from vsr_plugin.benchmarks.inputs import load_sequence
from vsr_plugin.studies.study import Part, Report, Study, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Millions of parameters that the paper gives.
PAPER = {"basicvsr": 6.3, "iconvsr": 8.7, "basicvsr_pp": 7.3}
_NAMES = {"basicvsr": "BasicVSR", "iconvsr": "IconVSR", "basicvsr_pp": "BasicVSR++"}
#: The component that a module belongs to, by the beginning of its name, in the words of ``profiling.COMPONENTS``.
_OWNERS = {
    "spynet": "flow",
    "edvr": "refill",
    "backward_fusion": "propagation",
    "forward_fusion": "propagation",
    "backward_resblocks": "propagation",
    "forward_resblocks": "propagation",
    "fusion": "fusion",
    # Of BasicVSR++: features of every frame stand where those of keyframes do, alignment where warping does.
    "feat_extract": "refill",
    "deform_align": "warp",
    "backbone": "propagation",
    "reconstruction": "fusion",
}


def count_parameters(net: nn.Module) -> dict[str, int]:
    """Parameters of each component."""
    counts = Counter()
    for name, parameter in net.named_parameters():
        counts[_OWNERS.get(name.partition(".")[0], "upsampling")] += parameter.numel()
    return dict(counts)


class ComplexityStudy(Study):
    """What each component costs."""

    name = "complexity"
    title = "Parameters, arithmetic and time of each component"
    takes = ()

    def parts(self) -> list[Part]:
        """One for each network."""
        height, width = self.options.size or (720, 1280)
        device = self.options.device
        where = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
        )
        return [
            Part(
                _NAMES[model],
                dict(model=model, size=[height // 4, width // 4], frames=self.options.frames or 10, machine=where),
            )
            for model in _NAMES
        ]

    @torch.no_grad()
    def measure(self, part: Part, progress: Callable[[float], None]) -> dict[str, Any]:
        """Count and time one network."""
        model, frames = part.settings["model"], part.settings["frames"]
        lrs = load_sequence("bigbuckbunny", frames, tuple(part.settings["size"])).lrs.to(self.options.device)
        net = plain_net(Setting(model, device=str(self.options.device)))
        work = profiling.count_work(net, lrs)
        progress(0.4)
        shares = profiling.profile(accelerate(net), lrs, work, repetitions=2)
        return dict(
            parameters=count_parameters(net),
            keyframes=len(net.feature_windows(frames)),
            shares=[dict(component=s.component, seconds=s.seconds, gflop=s.gflop) for s in shares],
        )

    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """A row for each component and for the sum."""
        rows, bars, findings = [], {}, []
        for part, result in results:
            model = _NAMES[part.settings["model"]]
            parameters = {name: count / 1e6 for name, count in result["parameters"].items()}
            shares = {share["component"]: share for share in result["shares"]}
            total_s, total_g = (sum(share[key] for share in shares.values()) for key in ("seconds", "gflop"))
            for name in sorted({*parameters, *shares}, key=lambda n: -shares.get(n, {}).get("seconds", 0)):
                share = shares.get(name, dict(seconds=0.0, gflop=0.0))
                if name not in parameters and share["seconds"] < 5e-4 * total_s:
                    continue  # a component that this network does not have
                cells = [share["gflop"], 1e3 * share["seconds"], 100 * share["seconds"] / total_s]
                rows.append([model, name, parameters.get(name, 0.0), *cells])
            total_p = sum(parameters.values())
            rows.append([model, "all", total_p, total_g, 1e3 * total_s, 100.0])
            bars[model] = {name: share["seconds"] for name, share in shares.items()}
            findings.append(f"{model}: {total_p:.2f} M parameters (the paper: {PAPER[part.settings['model']]} M)")
        columns = ["network", "component", "M parameters", "GFLOP/frame", "ms/frame", "% of time"]
        settings = results[-1][0].settings
        keyframes = next((r["keyframes"] for part, r in results if part.settings["model"] == "iconvsr"), 0)
        protocol = [
            f"{settings['frames']} frames of {settings['size'][1]}x{settings['size'][0]} (bigbuckbunny), of which "
            f"{keyframes} are keyframes of IconVSR; a long sequence has one in five",
            "GFLOP: two for each multiplication of the convolutions as the paper has them, deformable ones included",
            "time: accelerated networks, float32, the fastest of two runs of the sequence for each component",
            f"on {settings['machine']}",
        ]
        forms = {"M parameters": ".3f", "GFLOP/frame": ".1f", "ms/frame": ".1f", "% of time": ".1f"}
        table = Table(columns, rows, forms)
        return Report(table, table, protocol, findings, lambda figure: _draw(figure, bars), (9, 2.6))


def _draw(figure: Figure, bars: dict[str, dict[str, float]]) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(name for of_model in bars.values() for name in of_model))
    left = dict.fromkeys(bars, 0.0)
    for name in names:
        lengths = {model: 1e3 * of_model.get(name, 0.0) for model, of_model in bars.items()}
        axes.barh(list(bars), list(lengths.values()), left=list(left.values()), label=name)
        left = {model: left[model] + lengths[model] for model in bars}
    axes.invert_yaxis()
    axes.set_xlabel("ms per frame")
    axes.legend(fontsize=8, ncols=len(names), loc="upper center", bbox_to_anchor=(0.5, 1.2))
