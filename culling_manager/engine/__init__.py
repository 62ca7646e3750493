"""Watching, deciding and stopping in time: clock, records of sources, deadlines."""
