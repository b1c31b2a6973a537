"""IconVSR on Vimeo-90K, BD (section 4): keyframe features from 7 frames."""

_base_ = [
    "./_base_/models/iconvsr.py",
    "./_base_/datasets/vimeo90k_bd.py",
    "./_base_/schedules/iconvsr_300k.py",
    "./_base_/runtime.py",
]

model = dict(generator=dict(padding=3, edvr_pretrained="edvrm_vimeo90k"))
