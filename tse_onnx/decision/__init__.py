"""What becomes of each block, decided before anything changes."""
