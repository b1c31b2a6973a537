"""A study's parts on a Ray cluster: the figures of one machine, and trainings that go on elsewhere."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vsr_plugin.studies import STUDIES, Part, StudyOptions, run_study
from vsr_plugin.studies.study import Report, Study, Table

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.cluster

from vsr_plugin.cluster.connection import Cluster  # noqa: E402
from vsr_plugin.cluster.local import local_cluster  # noqa: E402
from vsr_plugin.studies.cluster import PartsOnCluster  # noqa: E402

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(nodes=2) as running, Cluster(running.address) as cluster:
        yield cluster


class Interrupted(Study):
    """One part, of which the first attempt ends with its process and leaves nothing on its node."""

    name, title = "interrupted", "Interrupted"

    def parts(self):
        return [Part("the part", dict(number=1))]

    def keeps(self, part):
        return self.folder.parent / "runs" / "x"

    def measure(self, part, progress):
        work = self.keeps(part)
        last = work / "last_checkpoint"
        if last.exists():
            return dict(state=Path(last.read_text()).read_text(), checkpoint=last.read_text())
        work.mkdir(parents=True)
        (work / "iter_1.pth").write_text("after one step")
        last.write_text(str(work / "iter_1.pth"))
        progress(0.5)
        while not Path(self.options.clips[0]).exists():  # what was sent has come
            time.sleep(0.05)
        shutil.rmtree(work)
        os.kill(os.getpid(), signal.SIGKILL)

    def report(self, results):
        table = Table(["state"], [[results[0][1]["state"]]])
        return Report(table, table, [], [], lambda figure: None)


def test_an_interrupted_part_goes_on_from_what_it_had_sent(cluster, tmp_path, capsys):
    out = tmp_path / "out"
    options = StudyOptions(clips=(str(out / "runs" / "x" / "last_checkpoint"),))
    done = []
    outcome = run_study(
        Interrupted(options, out / "interrupted"), progress=done.append, measure=PartsOnCluster(cluster)
    )
    assert outcome.report.table.rows == [["after one step"]]
    assert sum(done) == pytest.approx(1)
    assert "note: the part: its worker was killed; another worker does it" in capsys.readouterr().out
    # What is here can be gone on with by this machine alone.
    assert (out / "runs" / "x" / "last_checkpoint").read_text() == str(out / "runs" / "x" / "iter_1.pth")
    (record,) = (out / "interrupted" / "parts").glob("*.json")
    assert str(out / "runs" / "x" / "iter_1.pth") in record.read_text()


def test_trainings_on_a_cluster_have_the_figures_of_one_machine(cluster, tmp_path):
    from PIL import Image

    for seed, name in enumerate(("learnt", "held")):
        (tmp_path / name).mkdir()
        wide = np.random.default_rng(seed).integers(0, 256, (26, 34, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        for i in range(6):
            Image.fromarray(wide[:, i : i + 112]).save(tmp_path / name / f"{i:03d}.png")
    options = StudyOptions(
        clips=(str(tmp_path / "held"),), train_clips=(str(tmp_path / "learnt"),), start=0, frames=3, steps=2, seeds=1
    )
    kind = STUDIES["propagation"]
    there = run_study(kind(options, tmp_path / "there" / kind.name), measure=PartsOnCluster(cluster))
    here = run_study(kind(options, tmp_path / "here" / kind.name))
    assert there.report.details.rows == here.report.details.rows
    # The trained networks are here, and a study of the same takes them as they are.
    assert len(list((tmp_path / "there" / "runs").glob("*/iter_2.pth"))) == 2
    again = run_study(kind(options, tmp_path / "there" / kind.name), fresh=True)
    assert again.report.details.rows == here.report.details.rows
