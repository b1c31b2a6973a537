"""RealBasicVSR on REDS, stage 2, from the published stage 1 or one's own.

tools/dist_train.sh configs/real_basicvsr_reds.py 8 --cfg-options model.generator.init_cfg.checkpoint=STAGE_1.pth
"""

_base_ = [
    "./_base_/models/real_basicvsr.py",
    "./_base_/datasets/footage_reds.py",
    "./_base_/schedules/real_basicvsr_150k.py",
    "./_base_/runtime.py",
]

total_batch_size = 8  # of all processes together
train_dataloader = dict(batch_size=total_batch_size)
