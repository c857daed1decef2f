"""What each layer loses by being rounded to few bits, and each block by tiles: alone, and from there on."""
