"""Every row of the paper's comparisons in configs/studies builds, trains, and has the size that it is compared at."""

import argparse
import os
from pathlib import Path

import pytest
import torch
from forked_tools import in_two_processes
from small_experiments import CONFIGS, shrink

from vsr_plugin.errors import VSRError
from vsr_plugin.registry import MODELS
from vsr_plugin.training.launching import RECIPE, build_runner, read_config, read_experiment

pytestmark = pytest.mark.usefixtures("unformatted_configs")

STUDIES = sorted(path.stem for path in (CONFIGS / "studies").glob("*.py"))
#: Rows that the paper compares at equal complexity, by their reference.
EQUAL = {
    "bidirectional": ["local_3", "local_5", "unidirectional", "image_alignment", "coupled"],
    "iconvsr": ["refill", "keyframes_10", "keyframes_20", "keyframes_none"],
}


#: Rows that add layers to their reference, with the share that they add at least and at most, flow network apart.
LARGER = {
    "second_order": (1.01, 1.06),
    "grid": (1.01, 1.12),
    "deformable_alignment": (1.05, 1.3),
    "second_order_grid": (1.2, 2.2),
}


@pytest.mark.parametrize(
    "recipe", ["small_clips", *(pytest.param(r, marks=pytest.mark.slow) for r in ("reds", "vimeo90k_bd"))]
)
@pytest.mark.parametrize("name", STUDIES)
def test_a_row_trains_two_steps_and_validates(
    name: str, recipe: str, all_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(all_sets)
    runner = build_runner(shrink(f"studies/{name}", tmp_path, recipe))
    before = {key: tensor.clone() for key, tensor in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 2
    saved = torch.load(tmp_path / "iter_2.pth", weights_only=True)
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {2}
    assert any(not torch.equal(tensor, before[key]) for key, tensor in runner.model.state_dict().items())
    (best,) = tmp_path.glob("best_*.pth")
    assert "PSNR" in best.name


def parameters(name: str, recipe: str) -> dict[str, int]:
    """Parameters of a row's network: of the flow network, and of all the rest."""
    generator = read_experiment(CONFIGS / "studies" / f"{name}.py", recipe).model.generator
    with torch.device("meta"):
        net = MODELS.build(generator)
    flow = sum(p.numel() for key, p in net.named_parameters() if key.startswith("spynet."))
    return dict(flow=flow, rest=sum(p.numel() for p in net.parameters()) - flow)


@pytest.mark.parametrize("recipe", ["reds", "small_clips"])
def test_rows_are_compared_at_equal_size(recipe: str) -> None:
    for reference, others in EQUAL.items():
        expected = parameters(reference, recipe)
        for name in others:
            found = parameters(name, recipe)
            assert found["flow"] == expected["flow"], name
            assert found["rest"] == pytest.approx(expected["rest"], rel=0.05), name
    for name, (least, most) in LARGER.items():
        share = parameters(name, "reds")["rest"] / parameters("bidirectional", "reds")["rest"]
        assert least < share < most, name
    # Without alignment there is no flow network; everything else is as large.
    none = parameters("no_alignment", recipe)
    assert none == dict(flow=0, rest=parameters("bidirectional", recipe)["rest"])


def test_the_ends_of_the_row_are_the_published_networks() -> None:
    assert sum(parameters("bidirectional", "reds").values()) == 6_291_311
    assert sum(parameters("iconvsr", "reds").values()) == 8_694_991
    assert {*EQUAL, *LARGER, "no_alignment", *(name for names in EQUAL.values() for name in names)} == set(STUDIES)


def test_a_row_differs_from_its_recipe_in_one_thing() -> None:
    for name in STUDIES:
        reference = "iconvsr" if "key" in name or name in ("refill", "iconvsr") else "bidirectional"
        cfg, plain = (read_experiment(CONFIGS / "studies" / f"{n}.py").to_dict() for n in (name, reference))
        differing = {key for key in cfg if cfg[key] != plain.get(key)}
        more = dict(no_alignment={"optim_wrapper", "custom_hooks"}).get(name, {"find_unused_parameters"})
        assert differing <= {"model", *more}, name


def arguments(config: str, recipe: str | None) -> argparse.Namespace:
    settings = dict(work_dir=None, cfg_options=None, launcher=None, preset=None)
    return argparse.Namespace(config=CONFIGS / f"{config}.py", recipe=recipe, **settings)


def test_results_of_recipes_go_to_folders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RECIPE, raising=False)
    assert Path(read_config(arguments("studies/local_3", None)).work_dir) == Path("work_dirs/local_3")
    assert Path(read_config(arguments("studies/local_3", "small_clips")).work_dir) == Path(
        "work_dirs/local_3_small_clips"
    )
    assert RECIPE not in os.environ


def test_the_environment_can_name_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECIPE, "small_clips")
    assert read_config(arguments("studies/unidirectional", None)).model.generator.num_blocks == 6
    assert read_config(arguments("studies/unidirectional", "reds")).model.generator.num_blocks == 60
    # An experiment that is no study takes no notice of it.
    assert read_config(arguments("iconvsr_reds", None)).total_batch_size == 8


@pytest.mark.parametrize(
    ("config", "recipe", "message"),
    [
        (
            "studies/local_3",
            "nonsense",
            r"^recipe 'nonsense': no such recipe; there are my_clips, reds, small_clips, vi",
        ),
        ("basicvsr_reds", "small_clips", r"basicvsr_reds.py: takes no recipe; those of configs/studies do$"),
        ("studies/nonsense", None, r"nonsense.py: no such config"),
    ],
)
def test_bad_recipes_are_one_line(config: str, recipe: str | None, message: str) -> None:
    with pytest.raises(VSRError, match=message) as caught:
        read_config(arguments(config, recipe))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(propagation="both"),
            "`propagation` 'both' does not exist; choose one of bidirectional, coupled, grid, local, second",
        ),
        (dict(alignment="none"), "NoAlignment uses no optical flow; leave `spynet_pretrained` out, got 'x'"),
        (dict(segments=0), "`segments` must be at least 1, got 0"),
        (dict(keyframe_stride=5), "unexpected keyword argument 'keyframe_stride'"),
    ],
)
def test_components_that_make_no_sense_are_one_line(change: dict, message: str, tmp_path: Path) -> None:
    cfg = shrink("studies/local_3", tmp_path)
    cfg.model.generator.update(spynet_pretrained="x", **change)
    with pytest.raises(VSRError, match=message) as caught:
        build_runner(cfg)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["local_5", "keyframes_none"])
def test_a_row_with_parts_that_are_idle_trains_in_two_processes(
    name: str, all_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(all_sets)
    cfg = shrink(f"studies/{name}", tmp_path / "run", "small_clips")
    cfg.total_batch_size = 2
    cfg.dump(tmp_path / "experiment.py")
    for process in in_two_processes("train", tmp_path / "experiment.py", "--launcher", "pytorch"):
        status, _, err = process.wait()
        assert status == 0, err
    assert (tmp_path / "run" / "iter_2.pth").exists()
