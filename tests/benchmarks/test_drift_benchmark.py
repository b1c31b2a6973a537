import numpy as np
import pytest
import torch

from vsr_plugin.benchmarks.quality import Course, drift_table, measure_drift
from vsr_plugin.models import BasicVSRNet


def test_stretches_are_means_and_the_last_is_shorter():
    lines = list(drift_table([Course("bicubic", np.array([30.0, 32.0, 34.0, 36.0, 40.0]))], 2))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["", "0 to 1", "2 to 3", "4 to 4", "all"]
    assert rows[2] == ["bicubic", "31.00", "35.00", "40.00", "34.40"]


def test_courses_are_those_of_strategies_and_rates():
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    gt = [np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)] * 6
    courses = {course.label: course.psnr for course in measure_drift(net, gt, [0, 0.5], ["whole", "window"])}
    assert list(courses) == [
        "bicubic", "whole, forgetting 0", "whole, forgetting 0.5", "window, forgetting 0", "window, forgetting 0.5",
    ]  # fmt: skip
    assert courses["window, forgetting 0.5"] == pytest.approx(courses["whole, forgetting 0.5"], abs=1e-4)
    assert np.abs(courses["whole, forgetting 0.5"] - courses["whole, forgetting 0"]).max() > 1e-4
    assert np.ptp(courses["bicubic"]) == 0
