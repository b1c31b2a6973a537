"""Small files of every kind that is read, and damage done to their bytes."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from fuzzing.structures import Edit, Structure, make
from PIL import Image, ImageCms


def seeds(folder: Path) -> list[Path]:
    """Write a file of each kind and return them: those of reports that were once wrong among them."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = dict(b_frames=2, frames=24, start=0, audio_start=0, edits=(), parts=(), cut=1000)
    plain |= dict(target=".mp4", first=0, count=None)
    videos = {
        "plain.mp4": dict(video="libx264", audio="aac"),
        "plain.mov": dict(video="mjpeg", audio="pcm_s16le"),
        "plain.mkv": dict(video="libx264", audio="libopus"),
        "flac.mkv": dict(video="ffv1", audio="flac"),
        "plain.avi": dict(video="mpeg4", audio="mp3"),
        "h264.avi": dict(video="libx264", audio="ac3"),
        "plain.asf": dict(video="wmv2", audio="mp3"),
        "plain.webm": dict(video="libvpx-vp9", audio="libopus"),
        "plain.flv": dict(video="libx264", audio="aac"),
        "plain.mpg": dict(video="mpeg2video", audio="mp2"),
        "late.ts": dict(video="libx264", audio="aac", start=53_126_000),
        "joined.ts": dict(video="libx264", audio="aac", start=10_000, parts=(0, 98_000)),
        "repeats.mkv": dict(video="libx264", audio="aac", edits=(Edit("audio", 9, "nudge", -21),)),
        "before.mp4": dict(video="libx264", audio="aac", start=-500),
        "sound later.mkv": dict(video="mpeg4", audio="pcm_s16le", audio_start=700),
        "repeated.avi": dict(video="mpeg4", audio=None, edits=(Edit("video", 4, "shift", 120),)),
    }
    for name, choices in videos.items():
        make(Structure(suffix=Path(name).suffix, **{**plain, **choices}), folder / name)
    rng = np.random.default_rng(0)
    rgb, deep = rng.integers(0, 256, (24, 32, 3), np.uint8), rng.integers(0, 65536, (24, 32, 3)).astype(np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(rgb)
    image.save(folder / "profile.png", icc_profile=profile)
    image.save(folder / "plain.jpg", icc_profile=profile, exif=_turned())
    image.save(folder / "plain.webp")
    image.save(folder / "plain.bmp")
    image.save(folder / "turned.tif", tiffinfo={274: 6}, compression="tiff_lzw")
    image.quantize(16).save(folder / "palette.png", transparency=3)
    cv2.imwrite(str(folder / "deep.png"), deep)
    cv2.imwrite(str(folder / "deep.tif"), deep)
    rest = [Image.fromarray(np.roll(rgb, i, axis=1)) for i in range(1, 5)]
    for name in ("moving.png", "moving.webp", "moving.gif"):
        image.save(folder / name, save_all=True, append_images=rest, duration=100)
    for name, codec in (("raw.h264", "libx264"), ("raw.hevc", "libx265"), ("raw.m2v", "mpeg2video")):
        _raw(folder / name, codec)
    return sorted(folder.iterdir())


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def _raw(path: Path, codec: str) -> None:
    kind = {".m2v": "mpeg2video"}.get(path.suffix, path.suffix[1:])
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w", format=kind) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(12):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 9 * i, np.uint8), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes: single ones, runs, whole blocks; more often near the ends, where headers and tables are."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        length = len(data)
        if not length:
            break
        place = rng.choice(
            (rng.randrange(min(length, 1024)), rng.randrange(length), -rng.randrange(min(length, 4096)) - 1)
        )
        place %= length
        size = min(rng.choice((1, 1, 2, 4, 8, 64, 1000)), length - place)
        action = rng.randrange(7)
        if action == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif action == 1:
            data[place : place + size] = rng.randbytes(size)
        elif action == 2:
            data[place : place + size] = bytes(size)
        elif action == 3:
            data[place : place + size] = b"\xff" * size
        elif action == 4:
            del data[place : place + size]
        elif action == 5:
            data[place:place] = data[place : place + size]
        else:
            del data[place:]
    return bytes(data)
