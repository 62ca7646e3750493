"""What all findings amount to: counts, an exit code, a JSON document and plain lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..errors import ErrorCode
from ..policy import plain
from ..report import iso
from .records import Finding, State

EXIT_FINE, EXIT_SOME_NOT, EXIT_USAGE, EXIT_FAILED, EXIT_BILLED = 0, 1, 2, 3, 4

#: What is found of an app that stays billed because its role may not do what is needed: first of all, and one grant.
BILLED = "stays billed: permission missing"

#: From so many on that have the same reason it is told once.
MANY = 3
#: More than so many that are fine are nobody's reading: a few are named, for the rest there is a number.
FINE = 10
#: What it means to have no running app.
NOTHING_RUNS = "nothing runs there that could be checked or costs anything"
#: The worst first.
ORDER = {state: place for place, state in enumerate(State)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """One check: findings (the worst first), what could not be checked, what is worth a remark, and what it cost."""

    source: str
    checked_at: datetime
    findings: tuple[Finding, ...] = ()
    domains: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    calls: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[State, int]:
        """How many findings there are of each state, the worst first."""
        found = Counter(each.state for each in self.findings)
        return {state: found[state] for state in State}

    @property
    def needing_care(self) -> tuple[Finding, ...]:
        """For whom it does not run as it should."""
        return tuple(each for each in self.findings if each.state.needs_care)

    @property
    def billed(self) -> tuple[Finding, ...]:
        """Those that stay billed because a permission is missing."""
        return tuple(each for each in self.findings if lacks_permission(each))

    @property
    def exit_code(self) -> int:
        """0 when all is well, 1 when somebody needs care, 4 when of them one stays billed for a missing permission.

        3 when something could not be checked at all.
        """
        if self.problems:
            return EXIT_FAILED
        if self.billed:
            return EXIT_BILLED
        return EXIT_SOME_NOT if self.needing_care else EXIT_FINE

    def as_json(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "source": self.source,
            "checked_at": iso(self.checked_at),
            "exit_code": self.exit_code,
            "summary": self.summary(),
            "stays_billed": len(self.billed),
            "counts": {state.value: number for state, number in self.counts.items()},
            "domains": list(self.domains),
            "problems": list(self.problems),
            "notices": list(self.notices),
            "seconds": round(self.seconds, 3),
            "calls": dict(self.calls),
            "findings": [each.as_json() | {"category": category(each)} for each in self.findings],
        }

    def summary(self) -> str:
        """One line: '3 of 5 running apps are fine; 1 not installed, 1 unreachable; 7 without a running app'."""
        counts = self.counts
        judged = len(self.findings) - counts[State.NO_APP]
        billed = len(self.billed)
        counts[State.WRONG_SETTINGS] -= billed
        bad = [f"{billed} stay{'s' if billed == 1 else ''} billed: permission missing"] if billed else []
        bad += [f"{number} {state.value}" for state, number in counts.items() if number and state.needs_care]
        words = f"{counts[State.RUNNING]} of {judged} running apps are culled as they should be"
        if judged == 0:
            words = "No app is running"
        young = [f"{counts[State.STARTING]} starting"] if counts[State.STARTING] else []
        idle = [f"{counts[State.NO_APP]} without a running app ({NOTHING_RUNS})"] if counts[State.NO_APP] else []
        return "; ".join([words, *([", ".join(bad)] if bad else []), *young, *idle]) + "."

    def lines(self, findings: Iterable[Finding] | None = None) -> list[str]:
        """The report as plain text; of the findings only those that need care, unless they are given.

        Where `MANY` have the same reason it is told once, with how many they are and who: whoever needs care by name,
        of the others the first few.
        """
        chosen = self.needing_care if findings is None else findings
        same: dict[tuple[str, str, bool], list[str]] = {}
        for each in chosen:
            same.setdefault((category(each), each.reason, each.state.needs_care), []).append(name(each))
        told = [self.summary(), *self.problems, *self.notices]
        for (found, reason, bad), names in same.items():
            if not bad and len(names) > FINE:
                few = ", ".join(names[:MANY])
                told.append(f"{found}. {reason} {few} and {len(names) - MANY} more (--json names all)")
            elif len(names) < MANY:
                told += [f"{each}: {found}. {reason}" for each in names]
            else:
                told.append(f"{len(names)} times {found}. {reason} {', '.join(names)}")
        return told


def summarise(
    findings: Iterable[Finding],
    *,
    source: str,
    checked_at: datetime,
    domains: Iterable[str] = (),
    problems: Iterable[str] = (),
    notices: Iterable[str] = (),
    seconds: float = 0.0,
    calls: Mapping[str, int] | None = None,
) -> FleetReport:
    """Make one report of the findings of one or many batches; one found twice counts once, and the first time."""
    once = {each.target.key: each for each in reversed(list(findings))}
    return FleetReport(
        source=source,
        checked_at=checked_at,
        findings=tuple(sorted(once.values(), key=_place)),
        domains=tuple(domains),
        problems=tuple(dict.fromkeys(problems)),
        notices=tuple(dict.fromkeys(notices)),
        seconds=seconds,
        calls=calls or {},
    )


def lacks_permission(finding: Finding) -> bool:
    """Whether its app stays billed because its role may not do what is needed: one grant puts that right."""
    codes = None if finding.reading is None else finding.reading.codes
    return finding.state is State.WRONG_SETTINGS and ErrorCode.PERMISSION_MISSING.value in (codes or ())


def category(finding: Finding) -> str:
    """What it is told as: its state, but for those that stay billed because a permission is missing."""
    return BILLED if lacks_permission(finding) else finding.state.value


def _place(finding: Finding) -> tuple[bool, int, tuple[str, bool, str, str, str]]:
    """Where it stands: those that stay billed for a missing permission first, then the worst."""
    return (not lacks_permission(finding), ORDER[finding.state], finding.target.key)


def name(finding: Finding) -> str:
    """Whom a finding is about: 'd-1/alice (JupyterServer)', 'd-1/lab of alice (JupyterLab)'."""
    target = finding.target
    of = f" of {target.profile}" if target.space and target.profile else ""
    return f"{target.domain}/{target.owner}{of} ({target.app_type})"


def settings(finding: Finding) -> tuple[str, str, str, str]:
    """Timeout (minutes), keep_terminals, count and version as they are shown; empty where they are not known."""
    said = finding.reading
    if said is None:
        return ("", "", "", "")
    timeout = plain(round(said.idle_seconds / 60, 2))
    return (timeout, "kept" if said.keep_terminals else "culled", str(said.count), said.version or "")
