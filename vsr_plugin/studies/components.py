"""From BasicVSR to IconVSR, one component at a time (section 3.2 of the paper)."""

from vsr_plugin.studies.trained import TrainedStudy, Variant

_ICONVSR = dict(type="IconVSRNet", keyframe_stride=5, padding=2, edvr_pretrained=None)


class ComponentsStudy(TrainedStudy):
    """Each of the two components of IconVSR is a gain in the paper."""

    name = "components"
    title = "BasicVSR, with information-refill, with coupled propagation: IconVSR (trains small networks)"
    variants = (
        Variant("BasicVSR", {}),
        Variant("+ refill", dict(_ICONVSR, propagation="bidirectional")),
        Variant("+ coupled = IconVSR", _ICONVSR),
    )
