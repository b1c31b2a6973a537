"""RealBasicVSR (arXiv 2111.12704), stage 1: a cleaning and 20 residual blocks in each branch, trained by L1 alone."""

model = dict(
    # Found by MMagic's own tools and inferencers too, which build in the scope "mmagic".
    _scope_="vsr_plugin",
    type="CleaningRestorer",
    generator=dict(
        type="RealBasicVSRNet",
        mid_channels=64,
        num_propagation_blocks=20,
        num_cleaning_blocks=20,
        spynet_pretrained="spynet",
    ),
    pixel_loss=dict(type="L1Loss", loss_weight=1.0, reduction="mean"),
    cleaning_loss=dict(type="L1Loss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="SharpenedPreprocessor", non_blocking=True),
)
