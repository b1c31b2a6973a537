"""Propagation in one direction and in both (section 3.1 of the paper)."""

from vsr_plugin.studies.trained import TrainedStudy, Variant


class PropagationStudy(TrainedStudy):
    """At comparable complexity the paper's unidirectional network loses about 0.5 dB, most in early frames."""

    name = "propagation"
    title = "Propagation: unidirectional and bidirectional, per frame (trains small networks)"
    variants = (
        Variant("unidirectional", "unidirectional"),
        Variant("bidirectional", "bidirectional"),
    )
