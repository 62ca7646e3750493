"""The reasons, one small function each; `decisions` says in which order they are asked."""
