"""Reports: results as they are shown, to people as tables and pictures, to programs as objects."""
