"""Run studies of the paper: a table (Markdown, CSV, JSON) and a plot each, in OUT/STUDY."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.errors import VSRError
from vsr_plugin.ops.device import pick_device
from vsr_plugin.progress import part_progress
from vsr_plugin.restoration.options import ClusterOptions, check_cluster
from vsr_plugin.settings import add_settings, positive, size
from vsr_plugin.studies import STUDIES, Outcome, Study, StudyOptions, run_study
from vsr_plugin.studies.run import Measure, markdown_table, measure_here

ALL = "all"

#: What :func:`vsr_plugin.cli.command.run` says when the command is stopped.
MESSAGES = dict(state="the parts measured so far are kept; the same command goes on there")


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    known = "".join(f"\n  {name:12} {study.title}" for name, study in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{__doc__}\n\nstudies:{known}",
        formatter_class=type("Formatter", (HelpFormatter, argparse.RawDescriptionHelpFormatter), {}),
    )
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="names of studies, or all")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/studies"), help="folder for what comes out")
    parser.add_argument("--fresh", action="store_true", help="measure again what an earlier run has measured")
    parser.add_argument(
        "--weights",
        help=f"published name, or path of a checkpoint (default: the study's own); {_takers('weights')} only",
    )
    parser.add_argument(
        "--clips", nargs="+", metavar="CLIP", help="sample clips by name, videos or folders (default: the study's own)"
    )
    parser.add_argument("--start", type=int, default=30, metavar="N", help="first frame taken of each clip")
    parser.add_argument("--frames", type=positive, metavar="N", help="frames taken of each clip")
    parser.add_argument(
        "--size", type=size, metavar="HxW",
        help="at most this much of the ground truth, from the top left, of the clips to train on too",
    )  # fmt: skip
    training = parser.add_argument_group("studies that train")
    training.add_argument(
        "--train-clips", nargs="+", metavar="CLIP", help="clips to train on (default: bikes bigbuckbunny)"
    )
    training.add_argument("--steps", type=positive, metavar="N", help="of every training (default: the recipe's)")
    training.add_argument(
        "--paper-size", action="store_true", help="networks, data and schedule of the paper (REDS), for GPUs"
    )
    training.add_argument("--seeds", type=positive, default=3, metavar="N", help="trainings of every network")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    add_settings(parser, ClusterOptions)
    args = parser.parse_args(arguments)
    check_cluster(parser, args, "device")
    return args


def choose(names: list[str]) -> list[type[Study]]:
    """The studies that were asked for.

    Raises:
        VSRError: one does not exist.
    """
    for name in names:
        if name != ALL and name not in STUDIES:
            raise VSRError(f"{name}: no such study; there are {', '.join(STUDIES)}, and {ALL}")
    return [study for name, study in STUDIES.items() if name in names or ALL in names]


def check_taken(args: argparse.Namespace, chosen: list[type[Study]]) -> None:
    """Refuse options that studies would not look at.

    Raises:
        VSRError: there are such.
    """
    for option in ("weights", "clips", "train_clips", "steps"):
        others = [study.name for study in chosen if option not in study.takes]
        # Weights are of one network; what else is given may be for some of several studies.
        given = getattr(args, option)
        if given is not None and others and (option == "weights" or len(others) == len(chosen)):
            given = f"--{option.replace('_', '-')} {' '.join(given) if isinstance(given, list) else given}"
            raise VSRError(f"{given}: is for {_takers(option)}, and not for {', '.join(others)}; leave it out of those")


def _takers(option: str) -> str:
    return " and ".join(name for name, study in STUDIES.items() if option in study.takes)


def read_options(args: argparse.Namespace) -> StudyOptions:
    if args.start < 0:
        raise VSRError(f"--start {args.start}: frames are numbered from 0")
    if args.size is not None and min(args.size) < 4:
        raise VSRError(f"--size {args.size[0]}x{args.size[1]}: leaves no LR pixel; use 4x4 or more")
    return StudyOptions(
        clips=None if args.clips is None else tuple(args.clips),
        start=args.start,
        frames=args.frames,
        size=args.size,
        weights=args.weights,
        device=pick_device("cpu" if args.cluster else args.device),
        train_clips=None if args.train_clips is None else tuple(args.train_clips),
        steps=args.steps,
        seeds=args.seeds,
        paper_size=args.paper_size,
    )


def run_with_progress(study: Study, fresh: bool, measure: Measure) -> Outcome:
    with ExitStack() as stack:
        bars = []
        return run_study(
            study,
            fresh=fresh,
            on_begin=lambda count: bars.append(stack.enter_context(part_progress(count))),
            on_part=lambda part: bars[0].set_description(part.label),
            progress=lambda fraction: bars[0].update(fraction),
            measure=measure,
        )


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    chosen = choose(args.studies)
    check_taken(args, chosen)
    options = read_options(args)
    with ExitStack() as stack:
        measure = measure_here
        if args.cluster:
            from vsr_plugin.cluster.connection import Cluster
            from vsr_plugin.studies.cluster import PartsOnCluster

            cluster = stack.enter_context(Cluster(args.cluster, gpus=args.task_gpus, cpus=args.task_cpus))
            measure = PartsOnCluster(cluster)
            print(f"on {cluster}")
        run_studies(args, chosen, options, measure)


def run_studies(args: argparse.Namespace, chosen: list[type[Study]], options: StudyOptions, measure: Measure) -> None:
    for study_class in chosen:
        study = study_class(options, args.out / study_class.name)
        print(f"\n{study.title}", flush=True)
        outcome = run_with_progress(study, args.fresh, measure)
        print(markdown_table(outcome.report.table))
        print(*(f"- {line}" for line in outcome.report.findings), sep="\n")
        print(*(f"protocol: {line}" for line in outcome.report.protocol), sep="\n")
        if outcome.kept:
            print(f"note: {outcome.kept} of the parts were measured by an earlier run; --fresh measures them again")
        print(f"look at {outcome.paths[0]} and {outcome.paths[-1]}", flush=True)
