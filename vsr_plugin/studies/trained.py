"""Studies that train their variants, several times each, and compare means with their spread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.stats import ttest_ind

from vsr_plugin.evaluation.temporal import REGIONS
from vsr_plugin.registry import MODELS
from vsr_plugin.studies.study import Part, Report, Study, Table, describe_clip
from vsr_plugin.studies.training import Training
from vsr_plugin.training import VideoRestorer  # noqa: F401 (registers the networks)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Probability, were there no difference, of means as far apart as they are (Welch's t-test, two-sided), below which
#: they count as separated. With three seeds, two standard errors come about by chance once in eight.
SEPARATED = 0.05


@dataclass(frozen=True)
class Variant:
    """One network of a comparison.

    Args:
        label: what it is called.
        leaf: name of its config in ``configs/studies``.
    """

    label: str
    leaf: str


def _own(part: Part) -> dict[str, Any]:
    """The settings of a part's training."""
    return {key: value for key, value in part.settings.items() if key not in ("variant", "measured")}


def count_trained(model: dict[str, Any]) -> int:
    """Parameters of the network in a model's config that are trained."""
    model = MODELS.build(dict(model))
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


class TrainedStudy(Study):
    """Trains every variant with several seeds and compares them in the paper's order."""

    #: From the worst to the best, according to the paper.
    variants: ClassVar[tuple[Variant, ...]]
    #: Where the paper sees what the variants differ in; they are compared there as well.
    regions: ClassVar[tuple[str, ...]] = ()

    def parts(self) -> list[Part]:
        """One for each seed and variant; seeds outermost, so that an interrupted study has whole comparisons."""
        self._training = Training(self.folder.parent, self.options)
        settings = {v.label: self._training.settings(v.leaf) for v in self.variants}
        return [
            # By what was measured too: records that lack the regions are of an earlier version.
            Part(f"{label}, seed {seed}", dict(of_leaf, variant=label, seed=seed, measured=["psnr", *REGIONS]))
            for seed in range(self.options.seeds)
            for label, of_leaf in settings.items()
        ]

    def measure(self, part: Part, progress: Callable[[float], None]) -> dict[str, Any]:
        """Train one variant with one seed, and restore what it is validated on."""
        return self._training.run(_own(part), progress)

    def keeps(self, part: Part) -> Path:
        """The working folder of its training."""
        return self._training.work_dir(_own(part))

    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """Mean and spread over the seeds, and whether the paper's order is seen."""
        by_variant: dict[str, list[dict[str, Any]]] = {}
        for part, result in results:
            by_variant.setdefault(part.settings["variant"], []).append(result)
        first, figures = results[0]
        bicubic = fmean(figures["psnr_bicubic"]) if "psnr_bicubic" in figures else None
        runs = {label: [fmean(result["psnr"]) for result in of_seed] for label, of_seed in by_variant.items()}
        details = [
            [part.settings["variant"], part.settings["seed"], i, value]
            for part, result in results
            for i, value in enumerate(result["psnr"])
        ]
        protocol = [
            *self._describe(first.settings),
            "PSNR: " + "; ".join(figures["protocol"]),
            f"separated: p < {SEPARATED:g} in Welch's t-test of the seeds' means, two-sided",
        ]
        findings = [compare(a, b, runs[a], runs[b]) for a, b in pairwise(runs)]
        findings += self._compare_regions(by_variant)
        if bicubic is not None and max(map(fmean, runs.values())) < bicubic:
            findings.append("no network is above bicubic enlargement so far: they were trained too little to compare")
        curves = {label: np.array([run["psnr"] for run in of_seed]) for label, of_seed in by_variant.items()}
        return Report(
            _table(results, by_variant),
            Table(["variant", "seed", "frame", "psnr"], details),
            protocol,
            findings,
            lambda figure: _draw(figure, curves, runs, bicubic),
            (11, 4),
        )

    def _compare_regions(self, by_variant: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
        for region in self.regions:
            k = REGIONS.index(region)
            runs = {label: [result["regions"][k] for result in of_seed] for label, of_seed in by_variant.items()}
            for a, b in pairwise(runs):
                if None in runs[a] + runs[b]:
                    yield f"{region}: the clip has no such places, so nothing is said of {a} and {b} there"
                else:
                    yield f"{region}: {compare(a, b, runs[a], runs[b])}"

    def _describe(self, settings: dict[str, Any]) -> list[str]:
        generator = settings["model"]["generator"]
        lines = [
            f"{generator['mid_channels']} channels, {settings['steps']} steps of configs/studies on the recipe "
            f"{settings['recipe']}; parameters: those that are trained; a seed decides initial weights and data"
        ]
        if "train" in settings:
            lines += [
                f"trained on {', '.join(clip for clip, *_ in settings['train'])}; flow network from official "
                "weights, not trained; validated on a clip that was not trained on",
                describe_clip(settings["held_out"]),
            ]
        return lines


def _table(results: Sequence[tuple[Part, dict[str, Any]]], by_variant: dict[str, list[dict[str, Any]]]) -> Table:
    """Sizes, means and spread of the variants, below what bicubic enlargement has."""
    columns = ["variant", "k parameters", "seeds", "mean PSNR dB", "standard deviation", "lowest", "highest", *REGIONS]
    rows = []
    _, first = results[0]
    if "psnr_bicubic" in first:
        rows.append(["bicubic", None, None, fmean(first["psnr_bicubic"]), None, None, None, *first["regions_bicubic"]])
    sizes = {part.settings["variant"]: count_trained(part.settings["model"]) / 1e3 for part, _ in results}
    for label, of_seed in by_variant.items():
        means = [fmean(result["psnr"]) for result in of_seed]
        spread = stdev(means) if len(means) > 1 else None
        regions = [_mean(of_region) for of_region in zip(*(result["regions"] for result in of_seed), strict=True)]
        rows.append([label, sizes[label], len(means), fmean(means), spread, min(means), max(means), *regions])
    return Table(columns, rows, {"k parameters": ".1f"} | dict.fromkeys(columns[3:], ".3f"))


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def compare(worse: str, better: str, of_worse: Sequence[float], of_better: Sequence[float]) -> str:
    """Whether the paper's order of two variants is seen in the figures of their seeds, in a sentence.

    Example:
        >>> compare("none", "feature", [25.0, 25.1], [26.0, 26.1])
        'feature is 1.000 dB above none (p = 0.005): the order of the paper is seen'
    """
    difference = fmean(of_better) - fmean(of_worse)
    way = f"{better} is {abs(difference):.3f} dB {'above' if difference >= 0 else 'below'} {worse}"
    if min(len(of_worse), len(of_better)) < 2:
        return f"{way}; one seed says nothing about the spread, so whether they are separated is not known"
    if stdev(of_worse) == stdev(of_better) == 0:
        chance = 0.0 if difference else 1.0
    else:
        chance = float(ttest_ind(of_better, of_worse, equal_var=False).pvalue)
    if chance >= SEPARATED:
        return f"{way} (p = {chance:.2g}): not separated"
    return f"{way} (p = {chance:.2g}): the order of the paper is {'seen' if difference > 0 else 'reversed'}"


def _draw(figure: Figure, curves: dict[str, np.ndarray], runs: dict[str, list[float]], bicubic: float | None) -> None:
    frames, means = figure.subplots(1, 2, width_ratios=(2, 1))
    for k, (label, psnr) in enumerate(curves.items()):
        (line,) = frames.plot(psnr.mean(axis=0), marker="o", markersize=3, label=label)
        frames.fill_between(
            range(psnr.shape[1]), psnr.min(axis=0), psnr.max(axis=0), color=line.get_color(), alpha=0.15, linewidth=0
        )
        means.plot([k] * len(runs[label]), runs[label], "o", color=line.get_color(), alpha=0.6)
        means.plot([k - 0.25, k + 0.25], [fmean(runs[label])] * 2, color=line.get_color(), linewidth=2)
    if bicubic is not None:
        means.axhline(bicubic, color="gray", linestyle="--", linewidth=1)
        means.annotate("bicubic", (len(runs) - 0.5, bicubic), ha="right", va="bottom", color="gray", fontsize=8)
    means.set_xticks(range(len(runs)), list(runs), fontsize=8)
    means.set_xlim(-0.5, len(runs) - 0.5)
    means.set_title("mean of each seed, and of all", fontsize=10)
    frames.set_title("mean of the seeds; band: lowest to highest", fontsize=10)
    frames.set_xlabel("frame")
    frames.xaxis.get_major_locator().set_params(integer=True)
    frames.set_ylabel("PSNR in dB")
    frames.legend(fontsize=8)
    for axes in (frames, means):
        axes.grid(alpha=0.3)


class AlignmentStudy(TrainedStudy):
    """Without alignment the paper has the worst network; image alignment loses 0.17 dB to feature alignment."""

    name = "alignment"
    title = "Alignment: none, image, feature (trains small networks)"
    variants = (
        Variant("none", "no_alignment"),
        Variant("image", "image_alignment"),
        Variant("feature", "bidirectional"),
    )


class PropagationStudy(TrainedStudy):
    """At comparable complexity the paper's unidirectional network loses about 0.5 dB, most in early frames."""

    name = "propagation"
    title = "Propagation: unidirectional and bidirectional, per frame (trains small networks)"
    variants = (
        Variant("unidirectional", "unidirectional"),
        Variant("bidirectional", "bidirectional"),
    )


class CouplingStudy(TrainedStudy):
    """In the paper the forward branch gains from seeing the backward one, above all where something is occluded."""

    name = "coupling"
    title = "Coupled propagation off and on, in occluded regions too (trains small networks)"
    variants = (
        Variant("not coupled", "bidirectional"),
        Variant("coupled", "coupled"),
    )
    regions = ("occluded",)


class ComponentsStudy(TrainedStudy):
    """Each of the two components of IconVSR is a gain in the paper."""

    name = "components"
    title = "BasicVSR, with information-refill, with coupled propagation: IconVSR (trains small networks)"
    variants = (
        Variant("BasicVSR", "bidirectional"),
        Variant("+ refill", "refill"),
        Variant("+ coupled = IconVSR", "iconvsr"),
    )
    regions = ("occluded", "outside")
