"""BasicVSR (section 3.1): 64 channels, 30 residual blocks in each branch."""

model = dict(
    # Found by MMagic's own tools and inferencers too, which build in the scope "mmagic".
    _scope_="vsr_plugin",
    type="VideoRestorer",
    generator=dict(type="BasicVSRNet", mid_channels=64, num_blocks=30, spynet_pretrained="spynet"),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="SequencePreprocessor", non_blocking=True),
)
