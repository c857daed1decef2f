"""Find the blocks of a model, by what they mean."""
