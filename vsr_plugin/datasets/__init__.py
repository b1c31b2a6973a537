"""Data: degradations that make LR frames from ground truth."""
