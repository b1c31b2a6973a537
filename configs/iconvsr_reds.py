"""IconVSR on REDS, BI (section 4): tools/dist_train.sh configs/iconvsr_reds.py 8"""

_base_ = [
    "./_base_/models/iconvsr.py",
    "./_base_/datasets/reds.py",
    "./_base_/schedules/iconvsr_300k.py",
    "./_base_/runtime.py",
]
