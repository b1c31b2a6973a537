"""Colours come back as they were, whatever the matrix, range and depth."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from vsr_plugin.errors import MediaError
from vsr_plugin.media import Encoding, open_sink, open_source

COLOURS = [(0, 0, 0), (255, 255, 255), (200, 30, 60), (20, 180, 70), (35, 60, 210), (128, 128, 128)]


def constant_pictures(colours, matrix, full_range, pix_fmt, size=(32, 48)):
    pictures = []
    for colour in colours:
        rgb = np.broadcast_to(np.uint8(colour), (*size, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        pictures.append(
            VideoReformatter().reformat(
                frame,
                format=pix_fmt,
                dst_colorspace={1: 1, 6: 5}[matrix],
                src_color_range=2,
                dst_color_range=2 if full_range else 1,
            )
        )
    return pictures


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_constant_colours_round_trip(media, tmp_path, matrix, full_range, pix_fmt):
    tags = {"colorspace": matrix, "color_range": 2 if full_range else 1}
    tags |= {"color_primaries": matrix, "color_trc": matrix}
    pictures = constant_pictures(COLOURS, matrix, full_range, pix_fmt)
    clip = media.make_clip(tmp_path / "in.mp4", n=len(COLOURS), pictures=pictures, pix_fmt=pix_fmt, tags=tags)
    media.copy(clip, tmp_path / "out.mp4", encoding=Encoding(preset="ultrafast"))
    after = media.probe(tmp_path / "out.mp4")
    assert after.colour == (matrix, 2 if full_range else 1, matrix, matrix)
    assert after.pix_fmt.replace("yuvj", "yuv") == pix_fmt
    unit = 257 if "10" in pix_fmt else 1
    with open_source(clip) as first, open_source(tmp_path / "out.mp4") as second:
        for colour, a, b in zip(COLOURS, first.frames(), second.frames(), strict=True):
            assert a.rgb.dtype == (np.uint16 if unit > 1 else np.uint8)
            assert np.abs(a.rgb / unit - colour).max() <= 3
            assert np.abs(b.rgb.astype(int) - media.enlarge(a.rgb, 4)).max() <= 2 * unit


def test_unspecified_matrix_is_what_players_assume(media, tmp_path):
    small = media.make_clip(tmp_path / "small.mp4", n=1)
    large = media.make_clip(tmp_path / "large.mp4", n=1, size=(720, 64))
    with open_source(small) as source:
        assert source.colour.matrix == 6
        assert any("BT601" in line for line in source.notes)
    with open_source(large) as source:
        assert source.colour.matrix == 1
    with open_source(large, assume_matrix="bt601") as source:
        assert source.colour.matrix == 6
    media.copy(small, tmp_path / "out.mp4")
    assert media.probe(tmp_path / "out.mp4").colour[:2] == (6, 1)


def test_conversion_is_unbiased(real_clip):
    with open_source(real_clip("bikes")) as source, av.open(str(source.path)) as container:
        planes = next(container.decode(video=0)).to_ndarray().astype(float)
        ours = next(source.frames()).rgb
    h, w = source.height, source.width
    luma = (planes[:h] - 16) * 255 / 219
    blue, red = ((p.reshape(h // 2, w // 2) - 128) * 255 / 224 for p in np.split(planes[h:], 2))
    red, blue = luma + 1.402 * red.repeat(2, 0).repeat(2, 1), luma + 1.772 * blue.repeat(2, 0).repeat(2, 1)
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    exact = np.clip(np.stack([red, green, blue], axis=-1), 0, 255)
    # The fast path of the converter is 1.1 to 1.7 levels too dark here.
    assert np.abs((ours - exact).mean((0, 1))).max() < 0.1


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("out.mkv", Encoding(codec="ffv1")),
        ("out.mkv", Encoding(codec="libx264rgb")),
        ("out.mp4", Encoding(codec="libx264rgb", quality=0)),
    ],
)
def test_lossless_rgb(media, tmp_path, name, encoding):
    clip = media.make_clip(tmp_path / "in.mp4", n=4)
    media.copy(clip, tmp_path / name, scale=3, encoding=encoding)
    with open_source(clip) as first, open_source(tmp_path / name) as second:
        assert second.colour.matrix == 0
        for a, b in zip(first.frames(), second.frames(), strict=True):
            assert np.array_equal(b.rgb, media.enlarge(a.rgb, 3))


def test_lossless_rgb_16_bit(media, tmp_path):
    import cv2

    folder = tmp_path / "in"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 65536, (16, 20, 3)).astype(np.uint16)
    cv2.imwrite(str(folder / "a.png"), pixels[..., ::-1])
    media.copy(folder, tmp_path / "out.mkv", scale=1, encoding=Encoding(codec="ffv1"))
    with open_source(tmp_path / "out.mkv") as source:
        assert np.array_equal(next(source.frames()).rgb, pixels)


def test_deep_source_with_an_8_bit_codec_is_noted(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=2, pix_fmt="yuv420p10le")
    _, sink = media.copy(clip, tmp_path / "out.mp4", encoding=Encoding(codec="mpeg4"))
    assert any("10 bits per sample; mpeg4 writes 8" in line for line in sink.notes)
    assert media.probe(tmp_path / "out.mp4").pix_fmt == "yuv420p"


def test_deep_source_to_images_keeps_16_bits(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=2, pix_fmt="yuv420p10le")
    media.copy(clip, tmp_path / "out")
    with open_source(clip) as video, open_source(tmp_path / "out") as images:
        assert images.bit_depth == 16
        assert np.array_equal(next(images.frames()).rgb, media.enlarge(next(video.frames()).rgb, 4))


def test_odd_sizes_are_encoded_with_full_chroma(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", size=(33, 47), codec="ffv1", pix_fmt="yuv444p", options={})
    _, sink = media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert media.probe(tmp_path / "out.mp4").pix_fmt == "yuv444p"
    assert any("odd size" in line for line in sink.notes)
    with open_source(clip) as source, pytest.raises(MediaError, match="needs even sizes"):
        open_sink(tmp_path / "o.mp4", source, scale=1, encoding=Encoding(pix_fmt="yuv420p"))


def test_alpha_and_grey_videos(media, tmp_path):
    clip = media.make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="yuva420p", options={}, n=2)
    source, _ = media.copy(clip, tmp_path / "a.mp4")
    assert any("alpha" in line for line in source.notes)
    clip = media.make_clip(tmp_path / "g.mp4", pix_fmt="gray", n=2)
    with open_source(clip) as source:
        frame = next(source.frames())
    assert frame.rgb.shape == (32, 48, 3)
    assert np.array_equal(frame.rgb[..., 0], frame.rgb[..., 2])


@pytest.mark.parametrize(("pix_fmt", "black", "white"), [("gray", 16, 235), ("gray10le", 64, 940)])
def test_grey_of_limited_range_is_stretched(media, tmp_path, pix_fmt, black, white):
    samples = np.full((32, 48), black, np.uint8 if white < 256 else np.uint16)
    samples[:, 24:] = white
    picture = av.VideoFrame.from_ndarray(samples, format=pix_fmt)
    picture.color_range = 1
    clip = media.make_clip(
        tmp_path / "in.mkv",
        codec="ffv1",
        pix_fmt=pix_fmt,
        options={},
        pictures=[picture],
        n=1,
        tags=dict(color_range=1),
    )
    with open_source(clip) as source:
        rgb = next(source.frames()).rgb
    assert (rgb[0, 0, 0], rgb[0, -1, 0]) == (0, np.iinfo(rgb.dtype).max)


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("libx265", ".mp4", "yuv420p"),
        ("libvpx-vp9", ".webm", "yuv420p"),
        ("prores_ks", ".mov", "yuv422p10le"),
        ("mjpeg", ".avi", "yuvj420p"),
        ("h264", ".mkv", "yuv420p"),
    ],
)
def test_other_codecs(media, tmp_path, codec, suffix, pix_fmt):
    clip = media.make_clip(tmp_path / "in.mp4", n=3)
    media.copy(clip, tmp_path / f"out{suffix}", encoding=Encoding(codec=codec))
    assert media.probe(tmp_path / f"out{suffix}").pix_fmt == pix_fmt
    with open_source(clip) as first, open_source(tmp_path / f"out{suffix}") as second:
        for a, b in zip(first.frames(), second.frames(), strict=True):
            b8 = b.rgb / 257 if b.rgb.dtype == np.uint16 else b.rgb
            assert np.abs(b8 - media.enlarge(a.rgb, 4).astype(float)).mean() < 3


def test_nothing_is_printed(media, tmp_path, capfd):
    clip = media.make_clip(tmp_path / "in.mp4", audio="aac")
    for codec in ("libx264", "libx265"):
        media.copy(clip, tmp_path / f"{codec}.mp4", encoding=Encoding(codec=codec, preset="ultrafast"))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(("transfer", "primaries"), [(16, 9), (18, 9), (16, 2)])
def test_hdr_without_a_matrix(media, tmp_path, transfer, primaries):
    tags = {"color_primaries": primaries, "color_trc": transfer}
    clip = media.make_clip(tmp_path / "in.mp4", n=2, pix_fmt="yuv420p10le", codec="libx265", size=(64, 64), tags=tags,
                           options={"x265-params": "log-level=none"})  # fmt: skip
    with open_source(clip) as source:
        assert source.colour.matrix == 9
        assert any("tagged as BT2020" in line for line in source.notes)
    media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert media.probe(tmp_path / "out.mp4").colour == (9, 1, primaries, transfer)
    # PNG says how its values stand for colours as well: BT.2100's primaries, the transfer, no matrix, full range.
    media.copy(clip, tmp_path / "out", scale=1)
    with av.open(str(tmp_path / "out" / "00000000.png")) as container:
        frame = next(container.decode(video=0))
    assert (int(frame.color_primaries), int(frame.color_trc)) == (9, transfer)
    # And is understood on the way back.
    media.copy(tmp_path / "out", tmp_path / "back.mp4", scale=1, encoding=Encoding(codec="libx265"))
    assert media.probe(tmp_path / "back.mp4").colour == (9, 1, 9, transfer)
    media.copy(tmp_path / "out", tmp_path / "again", scale=1)
    assert b"cICP" in (tmp_path / "again" / "00000000.png").read_bytes()


def test_ordinary_video_needs_no_word_in_images(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=1, tags={"color_primaries": 1, "color_trc": 1, "colorspace": 1})
    media.copy(clip, tmp_path / "out")
    assert b"cICP" not in (tmp_path / "out" / "00000000.png").read_bytes()


def test_transparency_beside_the_picture_is_told(media, tmp_path):
    """WebM keeps it apart, so that the decoded picture does not show that there is some."""
    pictures = [
        av.VideoFrame.from_ndarray(np.full((48, 64, 4), 40 * i, np.uint8), format="rgba").reformat(format="yuva420p")
        for i in range(3)
    ]
    clip = media.make_clip(tmp_path / "in.webm", n=3, codec="libvpx-vp9", pix_fmt="yuva420p", size=(48, 64),
                           pictures=pictures, options={"crf": "30", "b": "0"})  # fmt: skip
    with open_source(clip) as source:
        assert "the video has an alpha channel; it is dropped" in source.notes
