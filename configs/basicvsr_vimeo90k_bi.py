"""BasicVSR on Vimeo-90K, BI (section 4)."""

_base_ = [
    "./_base_/models/basicvsr.py",
    "./_base_/datasets/vimeo90k_bi.py",
    "./_base_/schedules/basicvsr_300k.py",
    "./_base_/runtime.py",
]
