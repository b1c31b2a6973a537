"""The paper's studies: each compares variants of one component, and writes a table and a plot."""

from vsr_plugin.studies.complexity import ComplexityStudy
from vsr_plugin.studies.keyframes import KeyframesStudy
from vsr_plugin.studies.run import Outcome, run_study
from vsr_plugin.studies.segments import SegmentsStudy
from vsr_plugin.studies.study import Part, Report, Study, StudyOptions, Table
from vsr_plugin.studies.trained import AlignmentStudy, ComponentsStudy, CouplingStudy, PropagationStudy

_ALL = (
    SegmentsStudy, KeyframesStudy, ComplexityStudy, AlignmentStudy, PropagationStudy, CouplingStudy, ComponentsStudy
)  # fmt: skip

#: All studies by name, in the order in which ``all`` runs them.
STUDIES: dict[str, type[Study]] = {study.name: study for study in _ALL}

__all__ = ["STUDIES", "Outcome", "Part", "Report", "Study", "StudyOptions", "Table", "run_study"]
