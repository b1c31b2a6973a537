"""BasicVSR on REDS, BI (section 4): tools/dist_train.sh configs/basicvsr_reds.py 8"""

_base_ = [
    "./_base_/models/basicvsr.py",
    "./_base_/datasets/reds.py",
    "./_base_/schedules/basicvsr_300k.py",
    "./_base_/runtime.py",
]
