"""From BasicVSR to IconVSR, second step: information-refill and coupled propagation; that is IconVSR."""

_base_ = "../iconvsr_{{$VSR_RECIPE:reds}}.py"
