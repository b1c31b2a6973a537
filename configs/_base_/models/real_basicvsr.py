"""RealBasicVSR, stage 2: what stage 1 gave goes on with features of a VGG19 and against a U-Net discriminator."""

_base_ = "./real_basicvsr_wogan.py"

model = dict(
    generator=dict(
        spynet_pretrained=None,
        init_cfg=dict(type="Pretrained", checkpoint="realbasicvsr_wogan_reds"),
    ),
    perceptual_loss=dict(
        type="PerceptualLoss",
        layer_weights={"2": 0.1, "7": 0.1, "16": 1.0, "25": 1.0, "34": 1.0},
        weights="vgg19",  # or path of a state dict
    ),
    gan_loss=dict(type="GANLoss", gan_type="vanilla", loss_weight=0.05, real_label_val=1.0, fake_label_val=0.0),
    discriminator=dict(type="UNetDiscriminatorWithSpectralNorm", in_channels=3, mid_channels=64, skip_connection=True),
)
