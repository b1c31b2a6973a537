"""Alignment: none, image or feature; here features warped with the flow of SPyNet."""

from vsr_plugin.models.alignment.flow_alignment import FlowAlignment
from vsr_plugin.models.alignment.flow_warp import flow_warp
from vsr_plugin.models.alignment.spynet import SPyNet

__all__ = ["FlowAlignment", "SPyNet", "flow_warp"]
