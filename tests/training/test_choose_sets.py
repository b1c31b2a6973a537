import pytest
from mmengine.config import Config

from vsr_plugin.errors import VSRError
from vsr_plugin.training.testing import choose_test_sets, quality_metrics


def loader(*roots: object) -> dict:
    parts = [dict(type="ClipDataset", gt_root=str(root)) for root in roots]
    return dict(dataset=parts[0] if len(parts) == 1 else dict(type="ConcatClips", datasets=parts))


def quality(name: str) -> dict:
    return dict(type="ClipQuality", dataset=name)


def names(cfg: Config) -> list[str]:
    return [metric["dataset"] for metric in quality_metrics(cfg)]


def test_one_set_that_is_not_in_a_list(tmp_path):
    cfg = Config(dict(test_dataloader=loader(tmp_path), test_evaluator=[dict(type="MAE"), quality("A")]))
    assert choose_test_sets(cfg) == []
    assert len(cfg.test_dataloader) == 1
    assert names(cfg) == ["A"]


def test_sets_put_together_need_all_their_folders(tmp_path):
    loaders = [loader(tmp_path, tmp_path / "absent"), loader(tmp_path, tmp_path)]
    cfg = Config(dict(test_dataloader=loaders, test_evaluator=[quality("A"), dict(metrics=quality("B"))]))
    assert choose_test_sets(cfg) == [f"A: left out, there is no {tmp_path / 'absent'} on this machine"]
    assert names(cfg) == ["B"]


def test_the_order_of_only_counts(tmp_path):
    cfg = Config(
        dict(test_dataloader=[loader(tmp_path)] * 3, test_evaluator=[quality("A"), quality("B"), quality("C")])
    )
    choose_test_sets(cfg, ["C", "A", "C"])
    assert names(cfg) == ["C", "A"]


@pytest.mark.parametrize(
    ("loaders", "evaluators", "message"),
    [
        (None, None, "there is nothing to test"),
        ([loader("a"), loader("b")], [quality("A")], "each of the 2 test_dataloader needs a test_evaluator"),
        ([loader("a"), loader("b")], [quality("A"), quality("A")], "two test sets have one name"),
    ],
)
def test_configs_that_do_not_go_together(loaders, evaluators, message):
    with pytest.raises(VSRError, match=message):
        choose_test_sets(Config(dict(test_dataloader=loaders, test_evaluator=evaluators)))
