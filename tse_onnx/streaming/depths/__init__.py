"""How many rows each tensor holds: the simulation on tokens, and the figures drawn from it."""
