"""RealBasicVSR on REDS, stage 1: tools/dist_train.sh configs/real_basicvsr_wogan_reds.py 8"""

_base_ = [
    "./_base_/models/real_basicvsr_wogan.py",
    "./_base_/datasets/footage_reds.py",
    "./_base_/schedules/real_basicvsr_wogan_300k.py",
    "./_base_/runtime.py",
]
