"""Talking to a running server: finding it, asking it, in words that people read."""
