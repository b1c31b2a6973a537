"""Temporal profile, error map, flow and refill pictures: what stands where, and with which numbers."""

import numpy as np
import pytest
import torch
from branch_steps import align, backward_step

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.errors import VSRError
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet
from vsr_plugin.ops.flow_warp import flow_warp
from vsr_plugin.visualization.alignment_picture import alignment_picture, alignment_stages
from vsr_plugin.visualization.error_map import error_colours, error_map, error_picture
from vsr_plugin.visualization.flow_picture import flow_picture
from vsr_plugin.visualization.panels import Panel, enlarged, panel_rows
from vsr_plugin.visualization.refill_picture import refill_picture, refill_stages
from vsr_plugin.visualization.temporal_profile import busiest_row, profile_picture, temporal_profile


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)


def test_a_profile_is_one_line_over_time(clip):
    of_row, of_column = temporal_profile(clip, row=3), temporal_profile(clip, column=7)
    assert of_row.shape == (5, 24, 3)
    assert of_column.shape == (16, 5, 3)
    assert np.array_equal(of_row[2], clip[2, 3])
    assert np.array_equal(of_column[:, 4], clip[4, :, 7])


def test_the_busiest_row_is_where_frames_change():
    still = np.zeros((4, 32, 8, 3), np.uint8)
    still[1::2, 20] = 200
    assert busiest_row(still) == 20


@pytest.mark.parametrize("line", [dict(row=5), dict(column=5)])
def test_a_profile_picture_is_made_either_way(clip, line):
    picture = profile_picture({"a": clip, "b": clip}, "b", **line)
    assert picture.width > clip.shape[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (dict(row=16), "row 16 does not exist: the frames have 16"),
        (dict(column=-1), "column -1"),
        (dict(), "one of them"),
    ],
)
def test_lines_that_do_not_exist(clip, line, words):
    with pytest.raises(VSRError, match=words):
        temporal_profile(clip, **line)


def test_errors_and_their_scale(clip):
    gt = np.full((8, 8, 3), 100, np.uint8)
    restored = gt.copy()
    restored[2, 3] = (130, 70, 100)
    errors = error_map(restored, gt)
    assert errors[2, 3] == 20
    assert errors.sum() == 20
    scale = error_colours(np.array([[0.0, 5.0, 10.0, 99.0]]), 10.0).astype(int)
    assert scale[0, 0].sum() < scale[0, 1].sum() < scale[0, 2].sum()
    assert np.array_equal(scale[0, 2], scale[0, 3])
    assert error_picture(dict(bicubic=gt, restored=restored), gt).width > 1000


def test_panels_keep_their_pixels():
    picture = np.asarray(panel_rows([[Panel("a", np.full((10, 20, 3), 77, np.uint8))]]))
    assert (picture == 77).all(axis=-1).sum() == 200
    assert enlarged(np.arange(6).reshape(1, 2, 3), 2).tolist() == [[[0, 1, 2]] * 2 + [[3, 4, 5]] * 2] * 2


def test_flow_picture_has_a_legend_beside_it(clip):
    flow = np.zeros((16, 24, 2))
    flow[..., 0] = 2
    picture = np.asarray(flow_picture({"frame": clip[0]}, {"flow": flow}))
    assert (picture == (255, 0, 0)).all(axis=-1).sum() >= 16 * 24


class TestRefill:
    @pytest.fixture(scope="class")
    def net(self):
        torch.manual_seed(0)
        return IconVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, keyframe_stride=2, padding=1).eval()

    @pytest.fixture(scope="class")
    def lrs(self):
        return torch.rand(1, 5, 3, 16, 20)

    def test_what_refill_takes_and_gives_at_a_keyframe(self, net, lrs):
        stages = refill_stages(net, lrs, 2)
        assert set(stages) == {"backward", "forward"}
        for stage in stages.values():
            assert stage.warped.shape == (16, 20)
            assert stage.outside.dtype == bool
            assert not np.allclose(stage.warped, stage.refilled)
        _, flows_backward = net.estimate_flows(lrs)
        refill = net.frame_features(lrs)
        state = None
        with torch.no_grad():
            for i in (4, 3):
                flow = flows_backward[:, i] if i < 4 else None
                state = backward_step(net, lrs[:, i], flow, state, refill.get(i))
            warped = align(net, state, flows_backward[:, 2], lrs[:, 2])
        assert stages["backward"].warped == pytest.approx(warped[0].abs().mean(0).numpy(), abs=1e-5)

    def test_the_network_is_left_as_it_was(self, net, lrs):
        refill_stages(net, lrs, 2)
        assert "refill" not in vars(net)

    def test_the_picture(self, net, lrs):
        frame = np.full((16, 20, 3), 90, np.uint8)
        assert refill_picture(frame, refill_stages(net, lrs, 2), ["IconVSR"]).width > 1000

    def test_errors(self, net, lrs):
        with pytest.raises(VSRError, match=r"frame 1 of the sequence is no keyframe between others; those are \[2\]"):
            refill_stages(net, lrs, 1)
        with pytest.raises(VSRError, match="BasicVSRNet has no keyframe"):
            refill_stages(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4), lrs, 2)


class TestAlignment:
    @pytest.fixture(scope="class", params=[True, False], ids=["x4", "x1"])
    def net(self, request):
        torch.manual_seed(0)
        net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=request.param, spynet_width=4).eval().requires_grad_(False)
        # Four groups of the neighbour and four of the one beyond, nine taps each, y before x.
        bias = net.deform_align.forward_1.conv_offset[-1].bias
        bias[: 2 * 9 * 8 : 2], bias[1 : 2 * 9 * 8 : 2] = -0.2, 0.1
        bias[1 : 2 * 9 * 8 : 4] = 0.3
        return net

    @pytest.fixture(scope="class")
    def lrs(self):
        return torch.rand(1, 5, 3, 20, 24, generator=torch.Generator().manual_seed(0))

    def test_what_alignment_takes_and_gives(self, net, lrs):
        stages = alignment_stages(net, lrs, 2)
        assert list(stages) == ["backward_1", "forward_1", "backward_2", "forward_2"]
        shape = (20 // net.feature_stride, 24 // net.feature_stride)
        for name, stage in stages.items():
            assert stage.warped.shape == stage.aligned.shape == stage.spread.shape == shape
            if name != "forward_1":  # which nothing was added to yet
                assert np.abs(stage.residue).max() == stage.spread.max() == 0
        x, y = 10 * np.tanh([0.1, 0.3]), 10 * np.tanh(-0.2)
        np.testing.assert_allclose(stages["forward_1"].residue[..., 0], x.mean(), rtol=1e-5)
        np.testing.assert_allclose(stages["forward_1"].residue[..., 1], y, rtol=1e-5)
        np.testing.assert_allclose(stages["forward_1"].spread, (x[1] - x[0]) / 2, rtol=1e-4)

    def test_features_are_those_of_the_network(self, net, lrs):
        aligned = {}

        class Keeping:
            def align(self, sweep, frame, flows, states):
                (out,) = super().align(sweep, frame, flows, states)
                aligned.setdefault(sweep.name, []).append((out, flows[0], states[0]))
                return (out,)

        mixed(net, Keeping, "Keeping")(lrs)
        for name, stage in alignment_stages(net, lrs, 1).items():
            out, flow, state = aligned[name][3 if name.startswith("backward") else 1]
            np.testing.assert_allclose(stage.aligned, out[0].abs().mean(0), atol=1e-6)
            np.testing.assert_allclose(stage.warped, flow_warp(state, flow)[0].abs().mean(0), atol=1e-6)

    def test_the_picture(self, net, lrs):
        frame = np.full((20, 24, 3), 90, np.uint8)
        assert alignment_picture(frame, alignment_stages(net, lrs, 2), ["BasicVSR++"]).width > 1000

    def test_errors(self, net, lrs):
        with pytest.raises(VSRError, match="frame 4 of 5 has no neighbours on both sides"):
            alignment_stages(net, lrs, 4)
        with pytest.raises(VSRError, match="an alignment picture is of deformable alignment, as BasicVSR"):
            alignment_stages(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4), lrs, 2)
