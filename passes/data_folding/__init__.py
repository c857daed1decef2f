"""Strides exchanged for a space-to-depth in front of a convolution, and back."""
