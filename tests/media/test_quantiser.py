"""How coarsely videos say that they were quantised."""

import av
import numpy as np
import pytest

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import encode_and_decode
from vsr_plugin.media import open_source
from vsr_plugin.media.quantiser import step_of_video


def write(path, frames, codec, pix_fmt="yuv420p", quantiser=None, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if quantiser:
            stream.codec_context.qmin = stream.codec_context.qmax = quantiser
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def frames():
    return np.stack([frame[100:148, 200:264] for frame in read_frames("bikes", start=30, num_frames=4)])


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video"])
def test_the_scale_of_mpeg_is_twice_the_quantiser(codec, frames, tmp_path):
    for quantiser in (4, 10):
        path = write(tmp_path / f"{quantiser}.mkv", frames, codec, quantiser=quantiser)
        assert step_of_video(path, 0) == 2 * quantiser


def test_six_steps_of_h264_are_a_doubling(frames, tmp_path):
    steps = [step_of_video(write(tmp_path / f"{qp}.mp4", frames, "libx264", qp=str(qp)), 0) for qp in (22, 28, 34)]
    # libx264 takes 3 less for frames that depend on no other; most depend.
    assert steps == pytest.approx([8, 16, 32], rel=0.01)


def test_ten_bits_count_as_eight(frames, tmp_path):
    ten = write(tmp_path / "ten.mp4", frames, "libx264", "yuv420p10le", qp="40")
    eight = write(tmp_path / "eight.mp4", frames, "libx264", qp="28")
    assert step_of_video(ten, 0) == pytest.approx(step_of_video(eight, 0), rel=0.2)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("libvpx-vp9", "yuv420p"), ("ffv1", "yuv420p"), ("mjpeg", "yuvj420p")])
def test_others_do_not_tell(codec, pix_fmt, frames, tmp_path):
    with open_source(write(tmp_path / "in.mkv", frames, codec, pix_fmt)) as source:
        assert source.quantiser_step is None


def test_images_have_none(frames, tmp_path):
    av.VideoFrame.from_ndarray(frames[0], format="rgb24").to_image().save(tmp_path / "0.png")
    with open_source(tmp_path) as source:
        assert source.quantiser_step is None


def test_of_a_cut_off_video_what_is_there(frames, tmp_path):
    whole = write(tmp_path / "whole.ts", np.concatenate([frames] * 8), "libx264", qp="28", g="4")
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert step_of_video(cut, 0) == pytest.approx(step_of_video(whole, 0), rel=0.2)
    cut.write_bytes(b"nothing")
    assert step_of_video(cut, 0) is None


def test_a_clip_through_a_codec_says_it_too(frames):
    assert encode_and_decode(frames, "mpeg4", quality=7).step == 14
    assert encode_and_decode(frames, "vp9", quality=30).step is None
