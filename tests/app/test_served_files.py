"""What the page's server hands out over HTTP, to whom, and what it does not."""

from __future__ import annotations

import http.client
import json
import re
import socket
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from page_server import until

from vsr_plugin.app.server import _folder_for_clips
from vsr_plugin.cli import app
from vsr_plugin.cli.command import run_command


@pytest.fixture(scope="module")
def server(serve, films, tmp_path_factory, make_film):
    make_film(films / "clip.mp4")
    secret = tmp_path_factory.mktemp("secret") / "key.mp4"
    secret.write_text("secret")
    (films / "notes.txt").write_text("secret")
    (films / "link.mp4").symlink_to(secret)
    (films / ".hidden.mp4").write_text("secret")
    server = serve(films)
    server.secret = secret
    return server


def get(server, path: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask for a path exactly as it is written."""
    host, port = re.search(r"//(.*):(\d+)/", server.address).groups()
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def test_clips_of_a_server_that_was_killed_are_removed(tmp_path) -> None:
    (tmp_path / "clips_old").mkdir()
    (tmp_path / "clips_old" / "a.mp4").touch()
    (tmp_path / "1.log").touch()
    with _folder_for_clips(tmp_path) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {"1.log", Path(folder).name}


def test_a_film_is_served_in_parts(server, films) -> None:
    status, content, headers = get(server, "/media?name=clip.mp4", Range="bytes=4-11")
    assert (status, content) == (206, (films / "clip.mp4").read_bytes()[4:12])
    assert headers["content-type"] == "video/mp4"
    assert get(server, f"/media?name={quote(str(films / 'clip.mp4'))}")[0] == 200
    status, picture, _ = get(server, "/frame?name=clip.mp4&at=0.2")
    assert (status, picture[1:4]) == (200, b"PNG")


NAMES = [
    "../{secret}",
    "{secret}",
    "link.mp4",
    "notes.txt",
    "small.pth",
    ".hidden.mp4",
    ".vsr_app/queue.json",
    "a/../../x",
]


@pytest.mark.parametrize("route", ["media", "frame"])
@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_for_the_page_is_refused_in_one_line(server, name, encoded, route) -> None:
    name = name.format(secret=server.secret)
    asked = "".join(f"%{byte:02x}" for byte in name.encode()) if encoded else name
    status, content, headers = get(server, f"/{route}?name={asked}&at=0")
    assert status in (403, 404)
    assert content.count(b"\n") == 1
    assert b"secret\n" not in content
    assert headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file={root}/clip.mp4",
        "/gradio_api/file={root}/notes.txt",
        "/gradio_api/file={secret}",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=%2fetc%2fpasswd",
        "/gradio_api/file=https://example.org/",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/gradio_api/vibe-code",
        "/gradio_api/runs",
        "/monitoring",
        "/static/../../../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/picture/../media?name=clip.mp4",
        "/clip/..%2f..%2fclip.mp4",
        "/newest/1",
        "/docs",
        "/openapi.json",
    ],
)
def test_other_ways_to_files_are_closed(server, films, path) -> None:
    status, content, _ = get(server, path.format(root=films, secret=server.secret))
    assert status in (400, 403, 404)
    assert b"root:" not in content
    assert b"secret" not in content.replace(str(server.secret).encode(), b"")


def connect(server) -> http.client.HTTPConnection:
    host, port = re.search(r"//(.*):(\d+)/", server.address).groups()
    return http.client.HTTPConnection(host, int(port), timeout=180)


def test_gradio_takes_no_file_that_it_is_told_of(server, films) -> None:
    """A value of a control may claim to be a file on the server, of which Gradio would make a copy."""
    config = json.loads(get(server, "/config")[1])
    frame = next(each for each in config["dependencies"] if len(each["inputs"]) == 2 and len(each["outputs"]) == 1)
    file = {"path": str(server.secret), "meta": {"_type": "gradio.FileData"}}
    asked = json.dumps(dict(data=[file, 0], fn_index=frame["id"], session_hash="abc123", event_data=None))
    connection = connect(server)
    connection.request("POST", "/gradio_api/queue/join?", asked, {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.request("GET", "/gradio_api/queue/data?session_hash=abc123")
    answer = connection.getresponse()
    said = b""
    while b"process_completed" not in said:
        line = answer.readline()
        assert line, said
        said += line
    connection.close()
    assert b'"success":false' in said
    assert not list(films.rglob("key.mp4"))


def put(server, name: str, content: bytes) -> tuple[int, str]:
    connection = connect(server)
    connection.request("PUT", f"/upload?name={quote(name, safe='')}", content)
    answer = connection.getresponse()
    said = answer.status, answer.read().decode()
    connection.close()
    return said


def test_an_upload_gets_a_name_of_its_own(server, films) -> None:
    film = (films / "clip.mp4").read_bytes()
    assert put(server, "clip.mp4", film) == (200, "clip_2.mp4")
    assert put(server, "../../etc/new film.mp4", film) == (200, "new film.mp4")
    assert (films / "clip_2.mp4").read_bytes() == (films / "new film.mp4").read_bytes() == film


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no film", "x.mp4: "), (b"", "x.mp4: "), (lambda film: film[: len(film) // 8], "x.mp4: ")],
    ids=["text", "empty", "half"],
)
def test_an_upload_that_is_no_film_is_refused_in_one_line(server, films, content, message) -> None:
    before = sorted(path.name for path in films.rglob("*"))
    content = content((films / "clip.mp4").read_bytes()) if callable(content) else content
    status, said = put(server, "x.mp4", content)
    assert status == 422
    assert said.startswith(message)
    assert said.count("\n") == 1
    assert sorted(path.name for path in films.rglob("*")) == before


def test_an_upload_that_is_cut_off_leaves_nothing(server, films) -> None:
    before = sorted(path.name for path in films.rglob("*"))
    connection = connect(server)
    connection.putrequest("PUT", "/upload?name=cut.mp4")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders((films / "clip.mp4").read_bytes()[:1000])
    until(lambda: len(list(films.rglob("*"))) == len(before) + 1)  # it has begun
    connection.close()
    until(lambda: sorted(path.name for path in films.rglob("*")) == before)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
def test_a_page_that_calls_it_by_another_name_is_refused(server, host) -> None:
    status, content, _ = get(server, "/", Host=host)
    assert (status, content) == (403, b"this page answers to the address that it was started with\n")


def test_it_listens_on_this_machine_only(server) -> None:
    port = int(re.search(r":(\d+)/", server.address)[1])
    assert server.address.startswith("http://127.0.0.1:")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_what_cannot_be_served_is_one_line(server, films, tmp_path, capsys) -> None:
    port = re.search(r":(\d+)/", server.address)[1]
    for arguments, message in (
        (["--root", str(films)], f"error: {films}: another vsr-plugin app is at work there"),
        (["--root", str(tmp_path), "--port", port], f"error: port {port} is taken on 127.0.0.1"),
        (["--root", str(tmp_path / "none")], "none: is no folder"),
        (["--root", str(tmp_path), "--host", "203.0.113.7"], "cannot listen there"),
    ):
        assert run_command(partial(app.main, arguments)) == 1
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_names_of_the_machine() -> None:
    pytest.importorskip("gradio")
    from vsr_plugin.app.site import Guard

    async def app(scope, receive, send):
        pass

    guard = Guard(app, frozenset({"127.0.0.1", "localhost", "::1"}))
    for called, is_refused in (("localhost:1", False), ("[::1]:7860", False), ("127.0.0.1", False), ("x", True)):
        scope = dict(type="http", path="/", headers=[(b"host", called.encode())])
        assert (guard._refusal(scope) is not None) == is_refused
    assert Guard(app, None)._refusal(dict(type="http", path="/", headers=[(b"host", b"nas.local")])) is None
