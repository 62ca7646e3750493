"""The command ``jupyter culling``."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run a command, and give the exit code; what it needs is imported only now."""
    from .command import main as run

    return run(argv)
