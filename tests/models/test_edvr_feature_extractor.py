"""The extractor of EDVR-M against MMagic's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import randomise
from torch import Tensor

from vsr_plugin.models import EDVRFeatureExtractor
