from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmagic.structures import DataSample
from torch import Tensor

from vsr_plugin.models.cleaning import FootageCleaning
from vsr_plugin.training import CleaningRestorer, SequencePreprocessor, VideoRestorer, video_restorer
from vsr_plugin.weights import load_into

LOSS = dict(type="CharbonnierLoss")


def restorer(**options: object) -> VideoRestorer:
    torch.manual_seed(0)
    return VideoRestorer(dict(type="BasicVSRNet", mid_channels=4, num_blocks=1, spynet_width=4), LOSS, **options)


def samples(n: int, t: int) -> list[DataSample]:
    return [DataSample(gt_img=torch.randint(256, (t, 3, 32, 24), dtype=torch.uint8)) for _ in range(n)]


def sequences(n: int, t: int) -> list[Tensor]:
    return [torch.randint(256, (t, 3, 8, 6), dtype=torch.uint8) for _ in range(n)]


def test_bytes_become_numbers_from_0_to_1() -> None:
    data = dict(inputs=sequences(2, 3), data_samples=samples(2, 3))
    batch = SequencePreprocessor()(data, training=True)
    assert torch.equal(batch["inputs"], torch.stack(data["inputs"]).float() / 255)
    assert torch.equal(batch["gts"][1], data["data_samples"][1].gt_img.float() / 255)
    evaluation = SequencePreprocessor()(data)
    assert evaluation["data_samples"][0].gt_img.dtype == torch.uint8
    assert "gts" not in evaluation
    floating = torch.rand(1, 2, 3, 8, 6)
    assert torch.equal(SequencePreprocessor()(dict(inputs=floating))["inputs"], floating)


def test_the_loss_is_charbonnier_over_all_frames() -> None:
    model = restorer()
    batch = model.data_preprocessor(dict(inputs=sequences(2, 3), data_samples=samples(2, 3)), True)
    error = model(batch["inputs"]) - batch["gts"]
    expected = torch.sqrt(error**2 + 1e-12).mean()
    torch.testing.assert_close(model(**batch, mode="loss")["loss"], expected)


def test_what_trains_is_logged_once_and_can_be_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(video_restorer, "print_log", lambda line, logger: lines.append(line))
    monkeypatch.setattr(video_restorer, "training_path", lambda net: "something fast")
    accelerated: list[object] = []
    monkeypatch.setattr(video_restorer, "accelerate_training", lambda net: accelerated.append(net) or net)
    inputs, gts = torch.rand(1, 2, 3, 8, 6), torch.rand(1, 2, 3, 32, 24)
    for accelerate in (True, False):
        model = restorer(accelerate=accelerate)
        for _ in range(2):
            model(inputs, mode="loss", gts=gts)["loss"].backward()
    assert len(accelerated) == 2
    assert lines == [
        "convolutions are trained by something fast",
        "convolutions are trained by PyTorch's operators (accelerate=False)",
    ]


def test_prediction_is_the_rounded_network_output() -> None:
    model = restorer().eval()
    data = dict(inputs=sequences(1, 4), data_samples=samples(1, 4))
    (sample,) = model.val_step(data)
    with torch.no_grad():
        restored = model.generator(data["inputs"][0][None].float() / 255)[0].clamp(0, 1) * 255
    assert sample.output.pred_img.dtype == torch.uint8
    assert (sample.output.pred_img.float() - restored).abs().max() < 0.502
    assert torch.equal(sample.input, data["inputs"][0])
    assert sample.gt_img.shape == sample.output.pred_img.shape


@pytest.mark.parametrize("mirrored", [True, False])
def test_frames_of_a_mirrored_sequence_are_the_mean_of_both_places(mirrored: bool) -> None:
    model = restorer().eval()
    (half,) = sequences(1, 3)
    lrs = torch.cat([half, half.flip(0) if mirrored else half])
    (sample,) = model.val_step(dict(inputs=[lrs], data_samples=samples(1, 3)))
    with torch.no_grad():
        restored = model.generator(lrs[None].float() / 255)[0].clamp(0, 1)
    # As MMagic's BasicVSR has it for the centre frame: of 6 frames number 1 and number 4.
    expected = (restored[:3] + restored.flip(0)[:3]) / 2 if mirrored else restored
    assert sample.output.pred_img.shape == expected.shape
    assert (sample.output.pred_img.float() - 255 * expected).abs().max() < 0.502
    assert len(sample.input) == 6


def test_options_of_the_test_reach_the_engine() -> None:
    data = dict(inputs=sequences(1, 9), data_samples=samples(1, 9))
    whole, windows = (
        restorer(test_cfg=options).eval().val_step(dict(data))[0].output.pred_img
        for options in (dict(strategy="whole"), dict(strategy="window", window=2, overlap=1))
    )
    assert whole.shape == windows.shape
    with pytest.raises(Exception, match="strategy"):
        restorer(test_cfg=dict(strategy="none")).eval().val_step(dict(data))


def test_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match="`mode` must be 'loss', 'predict' or 'tensor', got 'train'"):
        restorer()(torch.rand(1, 1, 3, 8, 8), mode="train")


def test_its_checkpoint_is_in_mmagics_layout(tmp_path: Path) -> None:
    model, other = restorer(), restorer()
    torch.nn.init.zeros_(other.generator.fusion.weight)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "iter_1.pth")
    assert all(key.startswith("generator.") for key in model.state_dict())
    load_into(other.generator, tmp_path / "iter_1.pth")
    assert torch.equal(other.generator.fusion.weight, model.generator.fusion.weight)


def test_pretrained_weights_come_through_the_loader(real_clip: Callable[[str], Path], official: str) -> None:
    generator = dict(type="BasicVSRNet", init_cfg=dict(type="Pretrained", checkpoint=official))
    model = VideoRestorer(generator, LOSS)
    before = model.generator.conv_last.weight.clone()
    model.init_weights()
    assert not torch.equal(model.generator.conv_last.weight, before)


def test_a_cleaning_is_told_how_coarsely_sequences_are_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = FootageCleaning.residue
    monkeypatch.setattr(
        FootageCleaning, "residue", lambda self, windows: seen.append(self.quantiser_step) or plain(self, windows)
    )
    net = dict(type="BasicVSRNet", mid_channels=4, num_blocks=1, spynet_width=4, cleaning="footage")
    data = dict(inputs=sequences(2, 3), data_samples=samples(2, 3))
    data["data_samples"][0].set_metainfo(dict(quantiser_step=30.0))
    data["data_samples"][1].set_metainfo(dict(quantiser_step=None))
    for model in (
        VideoRestorer(net, LOSS),
        CleaningRestorer(net, LOSS, data_preprocessor=dict(type="SequencePreprocessor")),
    ):
        seen.clear()
        model(**model.data_preprocessor(data, True), mode="loss")
        assert len(seen) == 1
        torch.testing.assert_close(seen.pop(), torch.tensor([30.0, torch.nan]), equal_nan=True)
        model.eval()(**model.data_preprocessor(data, False), mode="predict")
        assert seen == [30.0] * 3 + [None] * 3
        assert model.tested_generator.cleaning.quantiser_step is None
