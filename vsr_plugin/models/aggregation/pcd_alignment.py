"""Pyramid, cascading and deformable (PCD) alignment (Wang et al., EDVR, CVPRW 2019, section 3.2)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.aggregation.layers import conv_lrelu, upsample_x2
from vsr_plugin.models.conv_module import ConvModule
from vsr_plugin.ops.deform_conv import ModulatedDCNPack


class PCDAlignment(nn.Module):
    """Align features to a reference, from the coarsest pyramid level to the finest, then once more at full size.

    Args:
        mid_channels: channels of all features.
        deform_groups: groups of the deformable convolutions; must divide ``mid_channels``.
    """

    #: A member, so that accelerated networks can put their own in its place.
    upsample_x2 = staticmethod(upsample_x2)

    def __init__(self, mid_channels: int = 64, deform_groups: int = 8):
        super().__init__()
        c = mid_channels
        coarse_to_fine = ("l3", "l2", "l1")
        self.offset_conv1 = nn.ModuleDict({level: conv_lrelu(2 * c, c) for level in coarse_to_fine})
        self.offset_conv2 = nn.ModuleDict(
            {level: conv_lrelu(c if level == "l3" else 2 * c, c) for level in coarse_to_fine}
        )
        self.offset_conv3 = nn.ModuleDict({level: conv_lrelu(c, c) for level in ("l2", "l1")})
        self.dcn_pack = nn.ModuleDict({level: ModulatedDCNPack(c, deform_groups) for level in coarse_to_fine})
        self.feat_conv = nn.ModuleDict({"l2": conv_lrelu(2 * c, c), "l1": ConvModule(2 * c, c)})
        self.cas_offset_conv1 = conv_lrelu(2 * c, c)
        self.cas_offset_conv2 = conv_lrelu(c, c)
        self.cas_dcnpack = ModulatedDCNPack(c, deform_groups)

    def forward(self, neighbour_feats: list[Tensor], ref_feats: list[Tensor]) -> Tensor:
        """Align the features of neighbours to those of the reference.

        Args:
            neighbour_feats: levels 1 to 3, ``(n, c, h, w)``, ``(n, c, h/2, w/2)``, ``(n, c, h/4, w/4)``.
            ref_feats: the same for the reference frame.

        Returns:
            ``(n, c, h, w)``.
        """
        level, nb, ref = "l3", neighbour_feats[2], ref_feats[2]
        offset = self.offset_conv2[level](self.offset_conv1[level](torch.cat((nb, ref), dim=1)))
        feat = F.leaky_relu(self.dcn_pack[level](nb, offset), 0.1)
        for level, nb, ref in (("l2", neighbour_feats[1], ref_feats[1]), ("l1", neighbour_feats[0], ref_feats[0])):
            # Displacements are in pixels of their level, so they double with the size.
            coarse_offset, coarse_feat = self.upsample_x2(offset, 2.0), self.upsample_x2(feat)
            offset = self.offset_conv1[level](torch.cat((nb, ref), dim=1))
            offset = self.offset_conv2[level](torch.cat((offset, coarse_offset), dim=1))
            offset = self.offset_conv3[level](offset)
            feat = self.dcn_pack[level](nb, offset)
            feat = self.feat_conv[level](torch.cat((feat, coarse_feat), dim=1))
        offset = self.cas_offset_conv2(self.cas_offset_conv1(torch.cat((feat, ref_feats[0]), dim=1)))
        return F.leaky_relu(self.cas_dcnpack(feat, offset), 0.1)
