"""BasicVSR++ on REDS, BI, sequences of 30 frames: tools/dist_train.sh configs/basicvsr_pp_reds.py 8"""

_base_ = [
    "./_base_/models/basicvsr_pp.py",
    "./_base_/datasets/reds.py",
    "./_base_/schedules/basicvsr_pp_600k.py",
    "./_base_/runtime.py",
]

train_dataloader = _base_.train_dataloader
for part in train_dataloader.dataset.datasets:
    part.num_input_frames = 30
del part
