"""Training the numbers of a plan against the original, without labels. Torch is imported where it is used."""
