"""No alignment, warped frames, warped features (section 3.1 of the paper)."""

from vsr_plugin.studies.trained import TrainedStudy, Variant


class AlignmentStudy(TrainedStudy):
    """Without alignment the paper has the worst network; image alignment loses 0.17 dB to feature alignment."""

    name = "alignment"
    title = "Alignment: none, image, feature (trains small networks)"
    variants = (
        Variant("none", "no_alignment"),
        Variant("image", "image_alignment"),
        Variant("feature", "bidirectional"),
    )
