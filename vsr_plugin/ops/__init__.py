"""Operations on frames and features that need no network: warping, deformable convolution, resizing, padding."""
