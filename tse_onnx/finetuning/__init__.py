"""Training the weights of a network with tiles, by the original or by labels. Torch is imported where it is used."""
