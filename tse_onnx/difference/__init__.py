"""Two reports as files, and what changed from one to the other."""
