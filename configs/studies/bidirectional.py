"""Propagation, the reference: both directions over the whole sequence, with feature alignment; that is BasicVSR."""

_base_ = "../basicvsr_{{$VSR_RECIPE:reds}}.py"
