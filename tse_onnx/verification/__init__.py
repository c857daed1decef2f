"""Prove a conversion: by an oracle that shares no code with the rewrite, and by comparing what must not change."""
