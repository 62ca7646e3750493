"""Subclasses of Jupyter's kernel and terminal managers, and what they show the engine."""
