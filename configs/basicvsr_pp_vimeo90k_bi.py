"""BasicVSR++ on Vimeo-90K, BI."""

_base_ = [
    "./_base_/models/basicvsr_pp.py",
    "./_base_/datasets/vimeo90k_bi.py",
    "./_base_/schedules/basicvsr_pp_300k.py",
    "./_base_/runtime.py",
]
