"""RealBasicVSR (Chan et al., CVPR 2022, arXiv 2111.12704): BasicVSR behind a cleaning of its frames."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.basicvsr_net import BasicVSRNet
from vsr_plugin.models.cleaning import ImageCleaning
from vsr_plugin.models.driver import check_sequence
from vsr_plugin.models.spynet import PUBLISHED_WIDTH
from vsr_plugin.registry import MODELS

#: The cleaning by its name in this package, and in MMagic's network, where it stands beside a whole BasicVSR.
_CLEANING, _IMAGE_CLEANING, _BASICVSR = "cleaning.", "image_cleaning.", "basicvsr."


@MODELS.register_module()
class RealBasicVSRNet(BasicVSRNet):
    """A BasicVSR with the image cleaning of RealBasicVSR before it.

    ``forward`` maps RGB sequences in [0, 1] ``(n, t, 3, h, w)`` to ``(n, t, 3, scale * h, scale * w)``.

    Its parts have the names of a BasicVSR with a ``cleaning``, and all that takes a BasicVSR takes it. Its *state
    dict* has MMagic's keys, ``image_cleaning.*`` and ``basicvsr.*``, in both directions and inside other models.

    Args:
        mid_channels: channels of the features, in cleaning and propagation.
        num_propagation_blocks: residual blocks in each branch.
        num_cleaning_blocks: residual blocks of the cleaning.
        dynamic_refine_thres: a sequence is cleaned again, three times at most, until the mean absolute residue over
            all of it is below this, in 255ths (*dynamic refinement* in the paper). 255, as in training, cleans once;
            for tests the authors take 5 with their GAN weights and 1.5 with the others.
        spynet_pretrained: name, path or address of SPyNet weights that ``init_weights()`` loads. The flow network is
            never trained.
        is_fix_cleaning: do not train the cleaning.
        is_sequential_cleaning: clean frames one after the other, in less memory.
        init_cfg: ``dict(type='Pretrained', checkpoint='realbasicvsr_reds')`` for the weights of the whole network.
        with_cp, propagation, segments, alignment, forgetting, scale, spynet_width: see :class:`BasicVSRNet`.

    Raises:
        ComponentError: ``dynamic_refine_thres`` is negative; or see :class:`BasicVSRNet`.

    Example:
        >>> net = RealBasicVSRNet(mid_channels=8, num_propagation_blocks=1, num_cleaning_blocks=1)
        >>> restored, cleaned = net(torch.rand(1, 2, 3, 16, 24), return_lqs=True)
        >>> restored.shape, cleaned.shape
        (torch.Size([1, 2, 3, 64, 96]), torch.Size([1, 2, 3, 16, 24]))
    """

    published_cleaning = ImageCleaning

    def __init__(
        self,
        mid_channels: int = 64,
        num_propagation_blocks: int = 20,
        num_cleaning_blocks: int = 20,
        dynamic_refine_thres: float = 255,
        spynet_pretrained: str | None = None,
        is_fix_cleaning: bool = False,
        is_sequential_cleaning: bool = False,
        *,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        propagation: str = "bidirectional",
        segments: int | None = None,
        alignment: str | Mapping[str, Any] = "feature",
        forgetting: float = 0.0,
        scale: int = 4,
        spynet_width: int = PUBLISHED_WIDTH,
    ):
        if not dynamic_refine_thres >= 0:
            raise ComponentError(
                f"`dynamic_refine_thres` {dynamic_refine_thres} is no mean of absolute values; use a number from 0 "
                "(three rounds of cleaning) to 255 (one)"
            )
        super().__init__(
            mid_channels,
            num_propagation_blocks,
            with_cp,
            spynet_pretrained,
            init_cfg,
            propagation=propagation,
            segments=segments,
            alignment=alignment,
            forgetting=forgetting,
            cleaning=dict(
                type="image",
                mid_channels=mid_channels,
                num_blocks=num_cleaning_blocks,
                threshold=dynamic_refine_thres / 255,
                sequential=is_sequential_cleaning,
            ),
            scale=scale,
            spynet_width=spynet_width,
        )
        if self.alignment.needs_flow:
            self.spynet.requires_grad_(False)
        if is_fix_cleaning:
            self.cleaning.requires_grad_(False)
        # A hook rather than a `state_dict` of our own, since mmengine collects the tensors of a checkpoint by itself.
        self._register_state_dict_hook(_under_mmagics_keys)

    def forward(self, lqs: Tensor, return_lqs: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Restore a whole sequence.

        Args:
            lqs: RGB in [0, 1], ``(n, t, 3, h, w)``; any ``t``, ``h``, ``w`` of at least 1.
            return_lqs: return the cleaned frames as well, for the paper's cleaning loss.

        Returns:
            ``(n, t, 3, scale * h, scale * w)``, not clipped to [0, 1]; and ``(n, t, 3, h, w)``, if it was asked for.

        Raises:
            ValueError: ``lqs`` has another shape or is not floating point.
        """
        check_sequence(lqs)
        cleaned = self.clean(lqs)
        restored = torch.stack(list(self.restore_cleaned(cleaned)), dim=1)
        return (restored, cleaned) if return_lqs else restored

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *details: Any) -> None:
        """Take MMagic's keys; a method and not a hook, so that copies of the network need no care."""
        _rename(state_dict, prefix, _from_mmagics_key)
        super()._load_from_state_dict(state_dict, prefix, *details)


def _from_mmagics_key(key: str) -> str:
    if key.startswith(_IMAGE_CLEANING):
        return _CLEANING + key.removeprefix(_IMAGE_CLEANING)
    return key.removeprefix(_BASICVSR)


def _to_mmagics_key(key: str) -> str:
    if key.startswith(_CLEANING):
        return _IMAGE_CLEANING + key.removeprefix(_CLEANING)
    return _BASICVSR + key


def _rename(tensors: dict[str, Tensor], prefix: str, rename: Callable[[str], str]) -> None:
    """Rename, in place, all keys with a prefix behind it, and leave the order as it is among them."""
    for key in [key for key in tensors if key.startswith(prefix)]:
        tensors[prefix + rename(key.removeprefix(prefix))] = tensors.pop(key)


def _under_mmagics_keys(net: nn.Module, tensors: dict[str, Tensor], prefix: str, local_metadata: dict) -> None:
    _rename(tensors, prefix, _to_mmagics_key)
