"""Pictures for people: comparisons of results, the course of a training."""

from vsr_plugin.visualization.comparison import comparison_picture
from vsr_plugin.visualization.training_curve import plot_training

__all__ = ["comparison_picture", "plot_training"]
