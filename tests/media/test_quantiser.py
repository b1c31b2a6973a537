"""How coarsely videos say that they were quantised."""

import io

import av
import numpy as np
import pytest
from clip_files import write_frames

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import encode_and_decode
from vsr_plugin.media import open_source, quantiser
from vsr_plugin.media.quantiser import _step_of_index, _traced_steps, header_steps, step_of_video


@pytest.fixture(scope="module")
def frames():
    return np.stack([frame[100:148, 200:264] for frame in read_frames("bikes", start=30, num_frames=4)])


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video"])
def test_the_scale_of_mpeg_is_twice_the_quantiser(codec, frames, tmp_path):
    for scale in (4, 10):
        path = write_frames(tmp_path / f"{scale}.mkv", frames, codec, quantiser=scale)
        assert step_of_video(path, 0) == 2 * scale


def test_six_steps_of_h264_are_a_doubling(frames, tmp_path):
    steps = [
        step_of_video(write_frames(tmp_path / f"{qp}.mp4", frames, "libx264", qp=str(qp)), 0) for qp in (22, 28, 34)
    ]
    # libx264 takes 3 less for frames that depend on no other; most depend.
    assert steps == pytest.approx([8, 16, 32], rel=0.01)


def test_ten_bits_count_as_eight(frames, tmp_path):
    ten = write_frames(tmp_path / "ten.mp4", frames, "libx264", "yuv420p10le", qp="40")
    eight = write_frames(tmp_path / "eight.mp4", frames, "libx264", qp="28")
    assert step_of_video(ten, 0) == pytest.approx(step_of_video(eight, 0), rel=0.2)


def test_six_steps_of_hevc_are_a_doubling(frames, tmp_path):
    def step(qp, pix_fmt="yuv420p"):
        asked = f"qp={qp}:ipratio=1:pbratio=1:log-level=none"
        return step_of_video(write_frames(tmp_path / "in.mp4", frames, "libx265", pix_fmt, **{"x265-params": asked}), 0)

    assert [step(qp) for qp in (22, 28, 34)] == pytest.approx([8, 16, 32])
    # Ten bits say of it what eight do.
    assert step(28, "yuv420p10le") == step(28)


def test_hevc_counts_from_what_each_parameter_set_says():
    lines = [
        "16          pps_pic_parameter_set_id                                    1 = 0",
        "27          init_qp_minus26                                         00100 = 2",
        "16          pps_pic_parameter_set_id                                  010 = 1",
        "27          init_qp_minus26                                           011 = -1",
        "2           slice_pic_parameter_set_id                                  1 = 0",
        "24          slice_qp_delta                                              1 = 0",
        "2           slice_pic_parameter_set_id                                010 = 1",
        "24          slice_qp_delta                                      000010010 = 9",
        "36          slice_cb_qp_offset                                         011 = -1",
    ]
    assert list(_traced_steps(lines)) == pytest.approx([16, 2 ** (30 / 6)])


@pytest.mark.parametrize(
    ("codec", "fixed"),
    [
        ("libvpx-vp9", lambda q: {"qmin": str(q), "qmax": str(q), "b": "0", "crf": str(q)}),
        ("libsvtav1", lambda q: {"preset": "12", "qp": str(q), "svtav1-params": "rc=0:aq-mode=0"}),
    ],
)
def test_indices_of_vp9_and_av1_are_looked_up(codec, fixed, frames, tmp_path):
    frames = np.concatenate([frames] * 2)
    # Encoders count to 63: index 116 for 29, 208 for 52.
    steps = [step_of_video(write_frames(tmp_path / f"{q}.mkv", frames, codec, **fixed(q)), 0) for q in (29, 52)]
    # Frames that others depend on are quantised finer.
    assert 8 < steps[0] < 20 < steps[1] < 95
    assert steps[1] > 3 * steps[0]


def test_the_table_of_vp9_and_av1():
    # Section 8.6.1 of the VP9 specification has these among others.
    assert [8 * _step_of_index(i) for i in (0, 10, 95, 100, 255)] == pytest.approx([4, 17, 102, 112, 1828], rel=0.01)
    assert [8 * _step_of_index(i) for i in (160, 200, 240)] == pytest.approx([305, 633, 1396], rel=0.02)


def test_parameter_sets_of_mp4_are_seen(frames, tmp_path, monkeypatch):
    path = write_frames(tmp_path / "in.mp4", frames, "libx265", **{"x265-params": "log-level=none"})
    seen = []
    monkeypatch.setattr(quantiser, "_traced_steps", lambda lines: seen.extend(lines) or iter(()))
    with av.open(str(path)) as container:
        header_steps(container.demux(video=0), container.streams.video[0])
    names = [line.split()[1] for line in seen if line[:1].isdigit()]
    assert names.index("init_qp_minus26") < names.index("slice_qp_delta")


def test_how_much_ffmpeg_logs_stays_as_it_was(frames, tmp_path):
    before = av.logging.get_level()
    step_of_video(write_frames(tmp_path / "in.mp4", frames, "libx265", **{"x265-params": "log-level=none"}), 0)
    assert av.logging.get_level() == before


def test_tables_of_mjpeg_go_with_the_scale_of_mpeg(frames, tmp_path):
    for scale in (3, 6, 12):
        path = write_frames(tmp_path / f"{scale}.avi", frames, "mjpeg", "yuvj420p", quantiser=scale)
        # FFmpeg's tables are that of MPEG-1, which grows towards high frequencies.
        assert step_of_video(path, 0) == pytest.approx(1.25 * 2 * scale, rel=0.03)


def test_other_tables_of_jpeg_by_their_mean():
    def steps(image):
        with av.open(io.BytesIO(), "w", format="null") as nowhere:
            return header_steps([av.Packet(image)], nowhere.add_stream("mjpeg"))

    def segment(marker, content):
        return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content

    begin, comment = b"\xff\xd8", segment(0xFE, b"a comment, \xff\xdb\x00\x43 in it")
    of_colour, fine = b"\x01" + bytes([99] * 64), b"\x00" + bytes([6] * 32 + [24] * 32)
    wide = b"\x10" + b"".join(value.to_bytes(2, "big") for value in [300] * 64)
    assert steps(begin + comment + segment(0xDB, of_colour + fine)) == pytest.approx([8])
    assert steps(begin + segment(0xDB, of_colour) + segment(0xDB, wide)) == pytest.approx([200])
    assert len(steps(begin + segment(0xDA, b"") + segment(0xDB, fine))) == 0  # what is coded has no markers
    for broken in (begin, begin + segment(0xDB, fine)[:40], begin + b"\xff\xdb", begin + b"\xff\xdb\0\0" * 9, b""):
        assert len(steps(broken)) == 0


def test_others_do_not_tell(frames, tmp_path):
    with open_source(write_frames(tmp_path / "in.mkv", frames, "ffv1")) as source:
        assert source.quantiser_step is None


def test_images_have_none(frames, tmp_path):
    av.VideoFrame.from_ndarray(frames[0], format="rgb24").to_image().save(tmp_path / "0.png")
    with open_source(tmp_path) as source:
        assert source.quantiser_step is None


def test_of_a_cut_off_video_what_is_there(frames, tmp_path):
    whole = write_frames(tmp_path / "whole.ts", np.concatenate([frames] * 8), "libx264", qp="28", g="4")
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert step_of_video(cut, 0) == pytest.approx(step_of_video(whole, 0), rel=0.2)
    cut.write_bytes(b"nothing")
    assert step_of_video(cut, 0) is None


def test_a_clip_through_a_codec_says_it_too(frames):
    assert encode_and_decode(frames, "mpeg4", quality=7).quantiser_step == 14
    assert encode_and_decode(frames, "mjpeg", quality=7).quantiser_step == pytest.approx(1.25 * 14, rel=0.03)
    for codec in ("h264", "hevc", "vp9"):
        fine, coarse = (encode_and_decode(frames, codec, quality=quality).quantiser_step for quality in (20, 38))
        assert fine < 0.6 * coarse
