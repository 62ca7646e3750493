"""A door that is about to go: see `concurrency`."""

from .concurrency import THREAD_NAME, in_thread

__all__ = ["THREAD_NAME", "in_thread"]
