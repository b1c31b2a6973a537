"""Pictures for people: comparisons of results."""

from vsr_plugin.visualization.comparison import comparison_picture

__all__ = ["comparison_picture"]
