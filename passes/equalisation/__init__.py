"""Scales of channels exchanged between layers in a row, which changes nothing but the ranges of their numbers."""
