"""What a compiler or a device takes, as data, and what of a graph is outside of that."""
