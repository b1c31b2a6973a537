import resource
from contextlib import closing

import pytest
import torch

from vsr_plugin.errors import MediaError
from vsr_plugin.inference.storage import DiskCache, RecordFile

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_tensors_come_back_bit_for_bit(tmp_path, dtype):
    tensors = [(torch.rand(1, 3, 4, 5) * 200).to(dtype) for _ in range(3)]
    with closing(DiskCache(tmp_path)) as cache:
        for number in (2, 0, 1):
            cache.put("state", number, tensors[number])
    with closing(DiskCache(tmp_path)) as cache:  # as another process would
        for number, tensor in enumerate(tensors):
            taken = cache.take("state", number, CPU)
            assert taken.dtype == dtype
            assert torch.equal(taken, tensor)


def test_layout_is_kept(tmp_path):
    tensor = torch.rand(1, 4, 6, 8).to(memory_format=torch.channels_last)
    with closing(DiskCache(tmp_path)) as cache:
        cache.put("state", 0, tensor)
        cache.put("state", 1, tensor.contiguous())
        for number in (0, 1):
            taken = cache.take("state", number, CPU)
            assert torch.equal(taken, tensor)
            assert taken.is_contiguous(memory_format=torch.channels_last)


def test_what_was_not_kept(tmp_path):
    with closing(DiskCache(tmp_path)) as cache:
        with pytest.raises(MediaError, match="holds no forward tensors"):
            cache.take("forward", 0, CPU)
        assert not cache.holds("forward", 0)
        cache.put("forward", 1, torch.rand(1, 2))
        assert cache.holds("forward", 1)
        assert not cache.holds("forward", 2)
        with pytest.raises(MediaError, match="record 2 is missing"):
            cache.take("forward", 2, CPU)


def test_another_shape_is_a_mistake(tmp_path):
    with RecordFile(tmp_path / "r", (2, 3), torch.float32) as file, pytest.raises(ValueError, match=r"got .*\(3, 2\)"):
        file.write(0, torch.rand(3, 2))


def test_a_full_disk_is_one_line(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        with RecordFile(tmp_path / "r", (1000,), torch.float64) as file, pytest.raises(MediaError, match="free space"):
            file.write(0, torch.zeros(1000, dtype=torch.float64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, previous)
