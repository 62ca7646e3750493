"""The command ``jupyter culling``."""
