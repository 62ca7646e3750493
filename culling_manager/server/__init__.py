"""The server extension: HTTP, events, metrics, saved settings."""
