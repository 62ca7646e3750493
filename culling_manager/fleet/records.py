"""What a fleet check looks at, reads and finds: frozen, aware UTC, each with a JSON form that comes back as it was."""

from __future__ import annotations

import enum
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from ..report import iso

IN_SERVICE = "InService"
#: The app types that run a Jupyter Server, and under which path Studio serves it.
BASE_PATHS = {"JupyterServer": "/jupyter/default", "JupyterLab": "/jupyterlab/default"}

_SECRETS = re.compile(r"(\?|token=|Cookie:)\s*[^\s'\"]+", re.IGNORECASE)
#: With a scheme, with www, or a host with a path; an ARN and the path of a file are none.
_LINKS = re.compile(r"(?:\b[a-z][a-z0-9+.-]*://|\bwww\.|\bmailto:)\S*|\b(?:[a-z0-9-]+\.)+[a-z]{2,}/\S*", re.IGNORECASE)


class State(enum.Enum):
    """What is found of one app; the worst come first."""

    UNREACHABLE = "unreachable"
    NOT_INSTALLED = "not installed"
    NOT_RUNNING = "installed but not running"
    WRONG_SETTINGS = "wrong settings"
    STARTING = "starting"
    RUNNING = "running"
    NO_APP = "no running app"

    @property
    def needs_care(self) -> bool:
        """Whether somebody has to do something about it."""
        return self not in (State.STARTING, State.RUNNING, State.NO_APP)


def scrubbed(text: object, longest: int = 300) -> str:
    """Give a text from outside on one line, without what follows a '?' or 'token=', and not overlong."""
    line = "".join(each if each.isprintable() else " " for each in str(text))
    line = _SECRETS.sub(r"\1(hidden)", line).strip()
    return line if len(line) <= longest else line[: longest - 3] + "..."


def unlinked(text: object, longest: int = 300) -> str:
    """The same without anything that a mail program would make a link of: a user's server may say what it likes."""
    return scrubbed(_LINKS.sub("(a link)", str(text)), longest)


def quoted(words: str) -> str:
    """What a server says of itself, as its words and nobody else's."""
    return '"' + words.replace('"', "'") + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One Jupyter Server app, or the user profile or space that has none. Safe to send from machine to machine.

    `profile` is whom to log in as; `status` is the app's, None when there is no app; `auth` is how the domain's users
    log in, None where nobody asked.
    """

    domain: str
    profile: str | None = None
    space: str | None = None
    app_type: str = "JupyterServer"
    app_name: str = "default"
    status: str | None = None
    created: datetime | None = None
    auth: str | None = None

    @property
    def owner(self) -> str:
        """The name under which Studio keeps its app and its log: the space's, else the user profile's."""
        return self.space or self.profile or ""

    @property
    def key(self) -> tuple[str, bool, str, str, str]:
        """What tells it from every other target: a profile and a space of one name are two."""
        return (self.domain, self.space is not None, self.owner, self.app_type, self.app_name)

    @property
    def stream(self) -> str:
        """The log stream into which its server writes."""
        return f"{self.domain}/{self.owner}/{self.app_type}/{self.app_name}"

    @property
    def in_service(self) -> bool:
        """Whether it runs, so that looking at it starts nothing."""
        return self.status == IN_SERVICE

    def as_json(self) -> dict[str, Any]:
        """Every field that is not None; times in ISO 8601."""
        found = asdict(self) | {"created": iso(self.created)}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Target:
        """What `as_json` wrote; fields of other versions are ignored."""
        known = {each.name: found[each.name] for each in fields(cls) if each.name in found}
        return cls(**known | {"created": moment(found.get("created"))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a culler said of itself, in its answer or in a heartbeat line; `at` is when, as far as that is known.

    `kernels` is False when only terminals are culled, because another kernel manager is selected. `codes` has one of
    `ErrorCode` for each thing that is wrong; None for versions that wrote none.
    """

    idle_seconds: float
    keep_terminals: bool
    count: int
    version: str | None = None
    app_manager: str | None = None
    dry_run: bool = False
    kernels: bool = True
    errors: str | None = None
    codes: tuple[str, ...] | None = None
    at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Every field; the time in ISO 8601."""
        codes = None if self.codes is None else list(self.codes)
        return asdict(self) | {"codes": codes, "at": iso(self.at)}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Reading:
        """What `as_json` wrote; fields of other versions are ignored."""
        known = {each.name: found[each.name] for each in fields(cls) if each.name in found}
        codes = found.get("codes")
        return cls(**known | {"codes": None if codes is None else tuple(codes), "at": moment(found.get("at"))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one target, a sentence why, and what its culler said where it said something."""

    target: Target
    state: State
    reason: str
    reading: Reading | None = None

    def as_json(self) -> dict[str, Any]:
        """One flat object; times in ISO 8601, the timeout in minutes."""
        target, said = self.target, self.reading
        return {
            "domain": target.domain,
            "user_profile": target.profile,
            "space": target.space,
            "app_type": target.app_type,
            "app_name": target.app_name,
            "app_status": target.status,
            "created": iso(target.created),
            "state": self.state.value,
            "reason": self.reason,
            "idle_timeout_minutes": said.idle_seconds / 60 if said else None,
            "keep_terminals": said.keep_terminals if said else None,
            "count": said.count if said else None,
            "version": said.version if said else None,
            "app_manager": said.app_manager if said else None,
            "seen_at": iso(said.at) if said else None,
            "reading": said.as_json() if said else None,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Finding:
        """What `as_json` wrote."""
        names = {"profile": "user_profile", "status": "app_status"}
        target = {each.name: found.get(names.get(each.name, each.name)) for each in fields(Target)}
        said = found.get("reading")
        return cls(
            target=Target.from_json({name: value for name, value in target.items() if value is not None}),
            state=State(found["state"]),
            reason=found["reason"],
            reading=Reading.from_json(said) if said else None,
        )


def moment(text: str | None) -> datetime | None:
    """The time of an ISO 8601 text with a zone, as `iso` writes it; None stays None."""
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
