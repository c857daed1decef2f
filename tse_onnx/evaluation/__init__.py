"""Original and converted models compared on data."""
