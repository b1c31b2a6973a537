"""Published sets and one's own clips made ready: checked, degraded, packed."""
