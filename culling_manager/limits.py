"""A door that is about to go: see `concurrency`."""

from .concurrency import Limits, TooSlow

__all__ = ["Limits", "TooSlow"]
