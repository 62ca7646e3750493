"""What an account holds: each item has a name, a status, and perhaps a status that comes by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

DOMAIN = "d-emulated00001"
ALICE = "alice"
#: How long the service shows an app after its deletion.
DELETED_STAYS = timedelta(hours=24)

#: Domain, kind of owner, owner, app type, app name.
AppKey = tuple[str, str, str, str, str]


@dataclass(kw_only=True)
class Item:
    """Anything with a name and a status; `becomes` is the status that it takes at a certain time.

    Of two items of the same moment the one with the smaller `serial`, added earlier, comes first in lists.
    """

    name: str
    status: str
    created: datetime
    modified: datetime
    becomes: tuple[str, datetime] | None = None
    serial: int = field(default_factory=count().__next__)

    def settle(self, now: datetime) -> None:
        """Take the status that is due at `now` or before."""
        if self.becomes is not None and self.becomes[1] <= now:
            (self.status, self.modified), self.becomes = self.becomes, None

    def turn(self, status: str, now: datetime, then: str = "", takes: float | None = None) -> None:
        """Take `status` now, and `then` after `takes` seconds; None is never."""
        self.status, self.modified = status, now
        self.becomes = None if takes is None else (then, now + timedelta(seconds=takes))
        self.settle(now)


@dataclass(kw_only=True)
class Domain(Item):
    """A Studio domain, named by its id."""

    auth_mode: str = "IAM"
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(kw_only=True)
class LifecycleConfig(Item):
    """A lifecycle configuration, of Studio with content and app type, of notebook instances with hooks."""

    content: str | None = None
    app_type: str | None = None
    hooks: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class UserProfile(Item):
    """A user profile of a domain."""

    domain: str


@dataclass(kw_only=True)
class Space(Item):
    """A space of a domain; `idle_timeout` (minutes) is the service's own idle shutdown, None where it is not set."""

    domain: str
    owner: str | None = ALICE
    sharing: str = "Private"
    app_type: str = "JupyterLab"
    idle_timeout: int | None = None


@dataclass(kw_only=True)
class NotebookInstance(Item):
    """A notebook instance."""

    instance_type: str = "ml.t3.medium"
    lifecycle_config: str | None = None


@dataclass(kw_only=True)
class App(Item):
    """An app of a user profile or of a space; what is None does not appear in answers."""

    app_type: str
    domain: str
    user_profile: str | None
    space: str | None
    image: str | None = None
    image_version: str | None = None
    alias: str | None = None
    instance_type: str | None = None
    lifecycle_config: str | None = None
    training_plan: str | None = None
    resource_spec: bool = True
    deleted: datetime | None = None

    @property
    def owner(self) -> str:
        return self.user_profile or self.space or ""

    @property
    def key(self) -> AppKey:
        return app_key(self.domain, self.user_profile, self.space, self.app_type, self.name)

    def settle(self, now: datetime) -> None:
        """As any item; and note when it was deleted, or first seen to be."""
        before = self.status
        if self.becomes is not None:
            super().settle(now)
        if self.status != "Deleted":
            self.deleted = None
        elif self.deleted is None:
            self.deleted = self.modified if before != self.status else now

    def is_shown(self, now: datetime) -> bool:
        """Whether the service still knows it: 24 hours after its deletion it does not."""
        self.settle(now)
        return self.deleted is None or now - self.deleted < DELETED_STAYS


def usual_instance_type(app_type: str) -> str:
    """What an app runs on if nobody says."""
    return "system" if app_type == "JupyterServer" else "ml.t3.medium"


def app_key(domain: str, profile: str | None, space: str | None, app_type: str, name: str) -> AppKey:
    """What tells one app from every other: a profile and a space of one name are two owners."""
    return (domain, "profile" if profile else "space", profile or space or "", app_type, name)


def aware(moment: datetime) -> datetime:
    """The moment as it is; one without a zone is refused."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no zone; give an aware datetime, for example in timezone.utc")
    return moment
