"""Conversion of frames: what is computed in strips and in place is what PyTorch's operators give."""

import numpy as np
import pytest
import torch

from vsr_plugin.ops.frames import frame_to_tensor, tensor_to_frame


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (31, 7), (32, 40), (77, 53)])
def test_results_on_a_cpu_are_those_of_the_operators(h: int, w: int, dtype: type) -> None:
    top = float(np.iinfo(dtype).max)
    hr = torch.rand(3, h, w) * 1.2 - 0.1
    hr[:, :, 0] = (torch.arange(h) % 254 + 0.5) / top  # ties
    hr[0, 0] = float("inf")
    hr = torch.stack([hr] * 2, -1)[..., 1]  # not contiguous
    expected = (hr.clamp(0, 1) * top).round().permute(1, 2, 0)
    found = tensor_to_frame(hr, np.empty(0, dtype))
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (dtype, (h, w, 3), True)
    assert np.array_equal(found, expected.numpy().astype(dtype))

    back = frame_to_tensor(found, torch.device("cpu"))
    assert back.is_contiguous()
    assert torch.equal(back, torch.from_numpy(found.astype(np.float32)).permute(2, 0, 1) / top)


def test_frames_may_be_read_only() -> None:
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    frame.flags.writeable = False
    tensor = frame_to_tensor(frame, torch.device("cpu"))
    tensor += 1
    assert frame[0, 0, 1] == 1
