"""Models and reports as files: read with care, written whole or not at all."""
