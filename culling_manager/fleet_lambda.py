"""The door by which ``config/fleet-check.template.yaml`` names its Lambda functions; they are in `fleet.handlers`."""

from __future__ import annotations

from .fleet.handlers import check_handler, list_handler, report_handler

__all__ = ["check_handler", "list_handler", "report_handler"]
