"""Cleaning of LR frames before propagation, one choice a file."""

from vsr_plugin.models.cleaning.cleaning import CLEANINGS, Cleaning, with_cleaning
from vsr_plugin.models.cleaning.footage_cleaning import FootageCleaning

__all__ = ["CLEANINGS", "Cleaning", "FootageCleaning", "with_cleaning"]
