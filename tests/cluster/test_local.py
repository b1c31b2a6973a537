"""A cluster for tests and measurements leaves alone what the machine knows of another one."""

import os

import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.cluster

from vsr_plugin.cluster.local import local_cluster  # noqa: E402


@pytest.mark.parametrize("noted", [None, "192.0.2.1:6379"], ids=["fresh machine", "member of a cluster"])
def test_the_note_of_another_cluster_stays(tmp_path, monkeypatch, noted):
    # Where Ray would look and write by itself; on a machine that never ran it there is no such folder.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    note = tmp_path / "ray" / "ray_current_cluster"
    if noted is not None:
        note.parent.mkdir()
        note.write_text(noted)
    with local_cluster(nodes=0) as running:
        assert running.address.startswith("127.0.0.2:")
    assert os.environ["RAY_TMPDIR"] == str(tmp_path)
    assert (note.read_text() if note.exists() else None) == noted
