"""What a search finds, and what may become of it, as data."""
