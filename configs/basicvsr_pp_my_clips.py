"""Fine-tune the published BasicVSR++ on clips of one's own: put them into data/my_clips/train and data/my_clips/val."""

_base_ = [
    "./_base_/models/basicvsr_pp.py",
    "./_base_/datasets/my_clips.py",
    "./_base_/schedules/basicvsr_pp_finetune.py",
    "./_base_/runtime.py",
]

model = dict(generator=dict(init_cfg=dict(type="Pretrained", checkpoint="basicvsr_pp_reds4")))

default_hooks = dict(checkpoint=dict(interval=1000))
