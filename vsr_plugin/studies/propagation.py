"""Propagation in one direction and in both (section 3.1 of the paper)."""

from vsr_plugin.studies.trained import TrainedStudy, Variant


class PropagationStudy(TrainedStudy):
    """At comparable complexity the paper's unidirectional network loses about 0.5 dB, most in early frames."""

    name = "propagation"
    title = "Propagation: unidirectional and bidirectional, per frame (trains small networks)"
    variants = (
        # One branch of 7 blocks has 5 % more parameters than two of 3 with their fusion, one of 6 has 9 % less.
        Variant("unidirectional", dict(propagation="unidirectional", num_blocks=7)),
        Variant("bidirectional", {}),
    )
