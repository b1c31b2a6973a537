"""Propagation with branches that are coupled and that are not (section 3.2 of the paper)."""

from vsr_plugin.studies.trained import TrainedStudy, Variant


class CouplingStudy(TrainedStudy):
    """In the paper the forward branch gains from seeing the backward one, above all where something is occluded."""

    name = "coupling"
    title = "Coupled propagation off and on, in occluded regions too (trains small networks)"
    variants = (
        Variant("not coupled", "bidirectional"),
        Variant("coupled", "coupled"),
    )
    regions = ("occluded",)
