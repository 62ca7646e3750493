"""What a fleet check is asked to do: against what it judges, from which source, and how hard it may ask."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..errors import SettingError
from ..policy import LONGEST_MINUTES, number, plain


class Source(enum.Enum):
    """Where the check learns of an app: from its own answer after a login, or from the heartbeats in its log."""

    LOGS = "logs"
    PRESIGNED = "presigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What to check, against what, and how hard. Raises `SettingError` for a number that makes no sense.

    `expected_minutes` and `expected_keep_terminals` None accept any setting, and `most_minutes` makes a range of the
    former, which then is its least; a `planned_dry_run` is no fault; an app younger than `young_seconds` is not
    blamed; `rate` and `logs_rate` are calls per second to SageMaker and to CloudWatch Logs, retries included;
    `answer_seconds` bounds everything that is asked of one user's app.
    """

    source: Source = Source.LOGS
    domains: tuple[str, ...] = ()
    region: str | None = None
    expected_minutes: float | None = None
    most_minutes: float | None = None
    planned_dry_run: bool = False
    expected_keep_terminals: bool | None = None
    max_age_seconds: float = 7800.0
    look_back_seconds: float = 86_400.0
    young_seconds: float = 300.0
    concurrency: int = 16
    rate: float = 8.0
    logs_rate: float = 5.0
    answer_seconds: float = 20.0
    log_group: str = "/aws/sagemaker/studio"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        bounds = {
            "expected_minutes": (0.0, LONGEST_MINUTES),
            "most_minutes": (self.expected_minutes or 0.0, LONGEST_MINUTES),
            "max_age_seconds": (60.0, 86_400.0 * 365),
            "look_back_seconds": (60.0, 86_400.0 * 365),
            "young_seconds": (0.0, 86_400.0),
            "concurrency": (1, 256),
            "rate": (0.1, 1000.0),
            "logs_rate": (0.1, 1000.0),
            "answer_seconds": (0.1, 600.0),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None:
                number(name, value, low=low, high=high, accepted=f"a number from {plain(low)} to {plain(high)}")
        if self.concurrency != int(self.concurrency):
            raise SettingError("concurrency", self.concurrency, "a whole number")


def minutes_of(text: str) -> tuple[float | None, float | None]:
    """Read what timeout is expected: '120', a range such as '60-240' (both ends are accepted), or nothing, for any.

    Raises
    ------
    SettingError
        When it is neither.
    """
    if not text.strip():
        return None, None
    least, dash, most = text.partition("-")
    try:
        low, high = float(least), float(most) if dash else None
        if high is not None and high < low:
            raise ValueError(text)
        return low, high
    except ValueError:
        accepted = "a number of minutes such as 120, or a range such as 60-240, the shorter first"
        raise SettingError("expected_timeout", text, accepted) from None
