"""Reports: what is said of a conversion, as data, as JSON, and as a table."""
