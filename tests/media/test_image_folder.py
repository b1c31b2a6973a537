"""Folders of images in and out: order, kinds of pixels, and what is wrong with them."""

import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from vsr_plugin.data.clips import ImageClip
from vsr_plugin.errors import MediaError
from vsr_plugin.media import Encoding, natural_key, open_sink, open_source

RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (6, 9, 3), np.uint8)
ALPHA8 = RNG.integers(0, 256, (6, 9), np.uint8)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    return path


def read(path):
    with open_source(path) as source:
        return list(source.frames())


def save(folder, *names, pixels=RGB8):
    for name in names:
        Image.fromarray(pixels).save(folder / name)


def test_natural_key():
    names = ["frame10.png", "frame2.png", "Frame1.png", "frame02.png", "a", "10", "9"]
    assert sorted(names, key=natural_key) == [
        "9",
        "10",
        "a",
        "Frame1.png",
        "frame02.png",
        "frame2.png",
        "frame10.png",
    ]


def test_order_and_ignored_files(folder):
    save(folder, "f10.png", "f9.PNG", "f2.bmp", "f11.tif", "f7.tiff", "f8.webp", "f3.jpg", "f4.JPEG")
    save(folder, ".hidden.png")
    (folder / "notes.txt").write_text("x")
    (folder / "sub.png").mkdir()
    with open_source(folder) as source:
        names = [f.name for f in source.frames()]
        assert (source.kind, source.num_frames, source.height, source.width) == ("folder", 8, 6, 9)
        assert [f.name for f in source.frames(1, 2)] == names[1:3]
    assert names == ["f2", "f3", "f4", "f7", "f8", "f9", "f10", "f11"]
    ignored = [line for line in source.notes if "other entries are ignored" in line]
    assert len(ignored) == 1
    assert "2 other entries" in ignored[0]
    assert "notes.txt" in ignored[0]


def test_single_image(folder):
    save(folder, "one.png", "other.png")
    with open_source(folder / "one.png") as source:
        assert (source.kind, source.num_frames) == ("folder", 1)
        assert np.array_equal(next(source.frames()).rgb, RGB8)


def test_rgb_and_rgba(folder):
    Image.fromarray(RGB8).save(folder / "a.png")
    Image.fromarray(np.dstack([RGB8, ALPHA8])).save(folder / "b.png")
    a, b = read(folder)
    assert np.array_equal(a.rgb, RGB8)
    assert np.array_equal(b.rgb, RGB8)
    assert a.alpha is None
    assert np.array_equal(b.alpha, ALPHA8)
    assert not a.grey


def test_grey_and_grey_alpha(folder):
    Image.fromarray(ALPHA8).save(folder / "a.png")
    Image.fromarray(np.dstack([ALPHA8, RGB8[..., 0]]), mode="LA").save(folder / "b.png")
    Image.fromarray(ALPHA8 > 127).save(folder / "c.png")
    a, b, c = read(folder)
    assert a.grey
    assert b.grey
    assert c.grey
    assert np.array_equal(a.rgb, np.dstack([ALPHA8] * 3))
    assert np.array_equal(b.rgb, np.dstack([ALPHA8] * 3))
    assert np.array_equal(b.alpha, RGB8[..., 0])
    assert np.array_equal(c.rgb[..., 1], np.where(ALPHA8 > 127, 255, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit(folder, suffix):
    rgb = RNG.integers(0, 65536, (6, 9, 3)).astype(np.uint16)
    grey = RNG.integers(0, 65536, (6, 9)).astype(np.uint16)
    cv2.imwrite(str(folder / f"a{suffix}"), rgb[..., ::-1])
    cv2.imwrite(str(folder / f"b{suffix}"), grey)
    if suffix == ".png":
        cv2.imwrite(str(folder / "c.png"), np.dstack([rgb[..., ::-1], grey]))
    a, b, *rest = read(folder)
    assert a.rgb.dtype == b.rgb.dtype == np.uint16
    assert np.array_equal(a.rgb, rgb)
    assert not a.grey
    assert np.array_equal(b.rgb, np.dstack([grey] * 3))
    assert b.grey
    for c in rest:
        assert np.array_equal(c.rgb, rgb)
        assert np.array_equal(c.alpha, grey)


def test_16_bit_grey_that_is_stored_otherwise(folder):
    grey = (np.arange(54).reshape(6, 9) * 1000).astype(np.uint16)
    cv2.imwrite(str(folder / "a.png"), grey)
    png = (folder / "a.png").read_bytes()
    transparent = b"tRNS" + int(grey[3, 4]).to_bytes(2, "big")
    chunk = struct.pack(">I", 2) + transparent + struct.pack(">I", zlib.crc32(transparent))
    (folder / "a.png").write_bytes(png[:33] + chunk + png[33:])
    Image.fromarray(grey).save(folder / "b.tif", tiffinfo={262: 0})  # white is zero
    a, b = read(folder)
    assert np.array_equal(a.rgb[..., 0], grey)
    assert np.array_equal(a.alpha == 0, grey == grey[3, 4])
    assert np.array_equal(b.rgb[..., 1], 65535 - grey)


def test_palettes(folder):
    palette = Image.fromarray(RGB8).quantize(16)
    palette.save(folder / "a.png")
    palette.save(folder / "b.png", transparency=3)
    a, b = read(folder)
    colours = np.asarray(palette.convert("RGB"))
    assert np.array_equal(a.rgb, colours)
    assert a.alpha is None
    assert np.array_equal(b.rgb, colours)
    assert np.array_equal(b.alpha, np.where(np.asarray(palette) == 3, 0, 255))
    assert not a.grey


def test_cmyk_becomes_rgb(folder):
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).convert("CMYK").save(folder / "a.jpg")
    assert read(folder)[0].rgb.shape == (8, 8, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(folder, orientation):
    from PIL import ImageOps

    image = Image.fromarray(RGB8)
    exif = Image.Exif()
    exif[274] = orientation
    image.save(folder / "a.png", exif=exif)
    with Image.open(folder / "a.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    with open_source(folder) as source:
        frame = next(source.frames())
        assert (source.height, source.width) == expected.shape[:2]
    assert np.array_equal(frame.rgb, expected)
    if orientation == 6:
        assert np.array_equal(frame.rgb, np.rot90(RGB8, -1))


#: What the TIFF specification says of tag 274: what becomes of the picture as it is stored.
TIFF_TURNS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("kind", ["RGB", "RGB packed", "grey", "16-bit grey", "16-bit RGB"])
@pytest.mark.parametrize("tag", TIFF_TURNS)
def test_tiff_is_turned_once(folder, kind, tag):
    stored = RGB8 if "RGB" in kind else RGB8[..., 0]
    if kind == "16-bit RGB":  # which Pillow does not write
        cv2.imwrite(str(folder / "a.tif"), stored[..., ::-1].astype(np.uint16) * 257)
        data = bytearray((folder / "a.tif").read_bytes())
        # The tag's entry in the file's directory, in place of one that readers do without (339: kind of samples).
        place = data.index(b"\x53\x01\x03\x00")
        data[place : place + 12] = b"\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([tag, 0, 0, 0])
        (folder / "a.tif").write_bytes(data)
    else:
        deep = stored.astype(np.uint16) * 257 if "16" in kind else stored
        packed = {"compression": "tiff_lzw"} if "packed" in kind else {}
        Image.fromarray(deep).save(folder / "a.tif", tiffinfo={274: tag}, **packed)
    upright = TIFF_TURNS[tag](stored)
    upright = upright if upright.ndim == 3 else np.repeat(upright[..., None], 3, axis=2)
    with open_source(folder) as source:
        assert (source.height, source.width) == upright.shape[:2]
        assert np.array_equal(next(source.frames()).rgb, upright * np.uint16(257 if "16" in kind else 1))
    clip = ImageClip("a", folder)
    assert (clip.height, clip.width) == upright.shape[:2]
    assert np.array_equal(clip.read([0])[0], upright)


def test_8_and_16_bits_in_one_folder(media, folder, tmp_path):
    deep = RNG.integers(0, 65536, (6, 9, 3)).astype(np.uint16)
    cv2.imwrite(str(folder / "a.png"), deep[..., ::-1])
    Image.fromarray(np.dstack([RGB8, ALPHA8])).save(folder / "b.png")
    with open_source(folder) as source:
        a, b = source.frames()
        assert "1 of 2 images have 8 bits per sample; they become 16-bit images" in source.notes
    assert np.array_equal(a.rgb, deep)
    assert np.array_equal(b.rgb, RGB8 * np.uint16(257))
    assert np.array_equal(b.alpha, ALPHA8 * np.uint16(257))


def test_colour_profiles_are_kept_in_images_of_their_kind(media, folder, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = profile  # stands for one of a wide gamut
    for encoding in ("ascii", "utf-16-be"):
        wide = wide.replace("sRGB".encode(encoding), "P3-D".encode(encoding))
    Image.fromarray(RGB8).save(folder / "0.png", icc_profile=wide)
    Image.fromarray(RGB8).save(folder / "1.jpg", icc_profile=profile)
    Image.fromarray(ALPHA8).save(folder / "2.png", icc_profile=profile)
    Image.fromarray(RGB8).save(folder / "3.png")
    source, _ = media.copy(folder, tmp_path / "out")
    assert "1 images have a colour profile for other pixels than RGB or grey; it is not kept" in source.notes
    kept = [Image.open(tmp_path / "out" / f"{i}.png").info.get("icc_profile") for i in range(4)]
    assert kept == [wide, profile, None, None]
    _, sink = media.copy(folder, tmp_path / "out.mp4")
    assert any("images' values are taken for sRGB" in line for line in sink.notes)


def test_srgb_whose_profile_says_so_in_two_bytes_a_letter(media, folder, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB", b"    ")
    Image.fromarray(RGB8).save(folder / "0.png", icc_profile=profile + "sRGB".encode("utf-16-be"))
    _, sink = media.copy(folder, tmp_path / "out.mp4")
    assert not any("taken for sRGB" in line for line in sink.notes)


def test_a_gap_in_the_numbers_is_told(folder):
    save(folder, *(f"frame_{i:04d}.png" for i in (0, 1, 2, 7, 8)))
    with open_source(folder) as source:
        (line,) = source.notes
    assert "4 frames from 0003 on are missing between frame_0002.png and frame_0007.png" in line


def test_mixed_sizes_fail_at_opening(folder):
    save(folder, "a1.png", "a2.png")
    Image.fromarray(RGB8[:4]).save(folder / "a10.png")
    with pytest.raises(MediaError, match=r"a10\.png: is 9x4, but a1\.png is 9x6"):
        open_source(folder)


def test_empty_and_missing(folder, tmp_path):
    with pytest.raises(MediaError, match=r"holds no images .it is empty"):
        open_source(folder)
    (folder / "film.mp4").write_bytes(b"")
    with pytest.raises(MediaError, match=r"holds no images .only film\.mp4"):
        open_source(folder)
    with pytest.raises(MediaError, match="no such file or folder"):
        open_source(tmp_path / "nowhere")


def test_text_called_png_fails_at_opening(folder):
    save(folder, "a.png")
    (folder / "b.png").write_text("hello")
    with pytest.raises(MediaError, match=r"b\.png: image cannot be read"):
        open_source(folder)


@pytest.mark.parametrize(("name", "dtype"), [("b.png", np.uint8), ("b.png", np.uint16), ("b.jpg", np.uint8)])
def test_cut_off_image_is_named(folder, name, dtype, capfd):
    big = RNG.integers(0, np.iinfo(dtype).max, (64, 64, 3)).astype(dtype)
    for file in ("a.png", name):
        cv2.imwrite(str(folder / file), big)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with open_source(folder) as source, pytest.raises(MediaError, match=rf"{name}: image cannot be read"):
        list(source.frames())
    assert capfd.readouterr().err == ""


def test_float_image_is_refused(folder):
    cv2.imwrite(str(folder / "a.tif"), RNG.random((4, 4)).astype(np.float32))
    with pytest.raises(MediaError, match=r"a\.tif: has 32 bits per sample; convert it to 8 or 16 bits"):
        open_source(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_folder_to_folder_keeps_stems_and_kinds(media, folder, tmp_path, dtype):
    top = np.iinfo(dtype).max
    rgb = RNG.integers(0, top, (6, 8, 3)).astype(dtype)
    cv2.imwrite(str(folder / "colour 7.png"), rgb)
    cv2.imwrite(str(folder / "grey 8.png"), rgb[..., 0])
    cv2.imwrite(str(folder / "see 9.png"), np.dstack([rgb, rgb[..., 0]]))
    media.copy(folder, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["colour 7.png", "grey 8.png", "see 9.png"]
    for name in ("colour 7.png", "grey 8.png", "see 9.png"):
        before = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        after = cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED)
        assert after.dtype == dtype
        assert np.array_equal(after, media.enlarge(before, 4))


def test_grey_alpha_is_written_back(media, folder, tmp_path):
    Image.fromarray(np.dstack([ALPHA8, RGB8[..., 0]]), mode="LA").save(folder / "a.png")
    media.copy(folder, tmp_path / "out", scale=1)
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.mode == "LA"
        assert np.array_equal(np.asarray(image), np.dstack([ALPHA8, RGB8[..., 0]]))


def test_folder_to_video(media, folder, tmp_path):
    save(folder, *(f"{i}.png" for i in range(5)))
    _, sink = media.copy(folder, tmp_path / "a.mp4")
    assert any("25 frames per second" in line for line in sink.notes)
    assert media.probe(tmp_path / "a.mp4").rate == 25
    ntsc = Fraction(30000, 1001)
    media.copy(folder, tmp_path / "b.mkv", encoding=Encoding(frame_rate=ntsc))
    media.copy(folder, tmp_path / "b.mp4", encoding=Encoding(frame_rate=ntsc))
    assert media.probe(tmp_path / "b.mkv").rate == media.probe(tmp_path / "b.mp4").rate == ntsc
    assert media.probe(tmp_path / "b.mp4").colour == (1, 1, 1, 13)
    media.copy(folder, tmp_path / "c.mp4", encoding=Encoding(frame_rate=Fraction("23.976023976023976")))
    assert media.probe(tmp_path / "c.mp4").rate == Fraction(24000, 1001)


def test_same_stem_twice(folder, tmp_path):
    save(folder, "a.png", "a.bmp")
    with open_source(folder) as source, pytest.raises(MediaError, match=r"both become a\.png"):
        open_sink(tmp_path / "out", source)


@pytest.mark.parametrize(("name", "format"), [("a.png", "PNG"), ("a.webp", "WEBP")])
@pytest.mark.parametrize("alpha", [False, True])
def test_an_animation_gives_all_its_frames(media, tmp_path, name, format, alpha):
    pictures = [RNG.integers(0, 256, (8, 12, 4 if alpha else 3), np.uint8) for _ in range(4)]
    durations = [100, 200, 50, 100]
    first, *rest = (Image.fromarray(picture) for picture in pictures)
    first.save(tmp_path / name, format, save_all=True, append_images=rest, duration=durations, lossless=True)
    with open_source(tmp_path / name) as source:
        assert (source.kind, source.num_frames, source.height, source.width) == ("video", 4, 8, 12)
        assert source.average_rate == Fraction(4000, 450)
        frames = list(source.frames())
        assert [(f.pts, f.duration) for f in frames] == [(0, 100), (100, 200), (300, 50), (350, 100)]
        for frame, picture in zip(frames, pictures, strict=True):
            visible = picture[..., 3:] > 0 if alpha else True
            assert np.array_equal(frame.rgb * visible, picture[..., :3] * visible)
            assert (frame.alpha is not None) == alpha
        assert [f.pts for f in source.frames(2, 1)] == [300]
    media.copy(tmp_path / name, tmp_path / "out.mp4")
    assert [t * 1000 for t in times(tmp_path / "out.mp4")] == pytest.approx([0, 100, 300, 350])
    media.copy(tmp_path / name, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 4
    (tmp_path / "in").mkdir()
    (tmp_path / name).rename(tmp_path / "in" / name)
    with open_source(tmp_path / "in") as source:
        assert source.num_frames == 1
        assert any("first of each is used (all of an animation is, if it" in line for line in source.notes)


def times(path):
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def test_a_cut_off_animation_is_named(tmp_path):
    first, *rest = (Image.fromarray(RNG.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(3))
    first.save(tmp_path / "a.png", save_all=True, append_images=rest)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match=r"a\.png: image cannot be read"):
        open_source(tmp_path / "a.png")
