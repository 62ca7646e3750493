"""How long to wait before what failed is tried again."""

from __future__ import annotations

import random

#: First retry after a failure, about (seconds); doubled each time, up to the cap.
RETRY_SECONDS = 30.0
RETRY_CAP_SECONDS = 3600.0


def backoff(attempts: int) -> float:
    """Seconds until the next try: about 30, doubled each time, at most an hour, with jitter of up to a quarter."""
    doubled: float = RETRY_SECONDS * 2 ** min(attempts - 1, 20)
    return min(doubled, RETRY_CAP_SECONDS) * random.uniform(0.75, 1.0)
