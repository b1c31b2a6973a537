"""What needs no network: warping, deformable convolution, resizing, padding; windows, and the driver of sweeps."""
