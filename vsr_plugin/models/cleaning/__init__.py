"""Cleaning of LR frames before propagation, one choice a file."""

from vsr_plugin.models.cleaning.cleaning import CLEANINGS, Cleaning, with_cleaning
from vsr_plugin.models.cleaning.footage_cleaning import FootageCleaning
from vsr_plugin.models.cleaning.image_cleaning import ImageCleaning

__all__ = ["CLEANINGS", "Cleaning", "FootageCleaning", "ImageCleaning", "with_cleaning"]
