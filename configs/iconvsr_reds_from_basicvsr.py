"""IconVSR on REDS, started from a trained BasicVSR instead of from random branches."""

_base_ = "./iconvsr_reds.py"

model = dict(generator=dict(init_cfg=dict(type="WarmStart", checkpoint="basicvsr_reds4"), spynet_pretrained=None))
