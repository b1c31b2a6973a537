"""BasicVSR++ (arXiv 2104.13371, section 4): 64 channels, 7 residual blocks in each of four branches."""

_base_ = "./basicvsr.py"

model = dict(
    generator=dict(_delete_=True, type="BasicVSRPlusPlusNet", mid_channels=64, num_blocks=7, spynet_pretrained="spynet")
)
