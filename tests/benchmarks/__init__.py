"""Benchmarks: our managers and upstream's own, side by side in one run. `python -m tests.benchmarks` runs them."""
