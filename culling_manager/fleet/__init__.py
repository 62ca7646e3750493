"""The check of a whole account: for whom it is not running.

``culling-fleet-check`` is the command; `check_fleet` does the same for Python. For machines that share the work there
are its pieces: `list_targets`, then `check_batch` for any part of the targets, then `summarise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .calls import FleetCalls
    from .check import Batch, check_batch, check_fleet
    from .command import main
    from .logs import Heartbeats, read_heartbeats
    from .options import FleetOptions, Source
    from .records import Finding, Reading, State, Target
    from .report import FleetReport, summarise
    from .targets import Listing, list_targets

_HOMES = {
    "Batch": "check",
    "Finding": "records",
    "FleetCalls": "calls",
    "FleetOptions": "options",
    "FleetReport": "report",
    "Heartbeats": "logs",
    "Listing": "targets",
    "Reading": "records",
    "Source": "options",
    "State": "records",
    "Target": "records",
    "check_batch": "check",
    "check_fleet": "check",
    "list_targets": "targets",
    "main": "command",
    "read_heartbeats": "logs",
    "summarise": "report",
}

__all__ = [
    "Batch",
    "Finding",
    "FleetCalls",
    "FleetOptions",
    "FleetReport",
    "Heartbeats",
    "Listing",
    "Reading",
    "Source",
    "State",
    "Target",
    "check_batch",
    "check_fleet",
    "list_targets",
    "main",
    "read_heartbeats",
    "summarise",
]

__getattr__, __dir__ = door(__name__, _HOMES)
