"""IconVSR (section 3.2): BasicVSR with information-refill at every fifth frame and coupled propagation."""

_base_ = "./basicvsr.py"

model = dict(
    generator=dict(type="IconVSRNet", keyframe_stride=5, padding=2, edvr_pretrained="edvrm_reds"),
)
