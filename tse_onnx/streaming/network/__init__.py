"""A network as rows: its stages, its tensors, and which rows each needs."""
