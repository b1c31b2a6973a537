"""From BasicVSR to IconVSR, one component at a time (section 3.2 of the paper)."""

from vsr_plugin.studies.trained import TrainedStudy, Variant


class ComponentsStudy(TrainedStudy):
    """Each of the two components of IconVSR is a gain in the paper."""

    name = "components"
    title = "BasicVSR, with information-refill, with coupled propagation: IconVSR (trains small networks)"
    variants = (
        Variant("BasicVSR", "bidirectional"),
        Variant("+ refill", "refill"),
        Variant("+ coupled = IconVSR", "iconvsr"),
    )
    regions = ("occluded", "outside")
