"""What compilers and devices take, by name and by file, and what of a model they do not."""
