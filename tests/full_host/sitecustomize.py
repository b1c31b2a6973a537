"""Lets torchvision's CUDA build import beside a CPU build of PyTorch, in the environment of `make test-full-host`.

PyPI has no other build of torchvision for Linux. Its compiled operators do not load there, and then its import fails
on two whose schemas it expects to be known. They are declared here just before; what does not use them works.
Python imports a module of this name by itself at every start.
"""

import sys


class _DeclareBefore:
    """Finds nothing; is asked for torchvision first, which is the moment to declare what it misses."""

    library = None

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            _DeclareBefore.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _DeclareBefore())
