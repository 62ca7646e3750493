"""Prices per hour, out of a file. A price that is not known stays unknown: never 0, never another region's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ReadError, SettingError
from .lines import moment

#: How price lists call what an app type runs on; keys in lower case.
COMPONENTS = {
    "jupyterlab": "Studio:JupyterLab",
    "codeeditor": "Studio:CodeEditor",
    "kernelgateway": "Studio:KernelGateway",
    "notebookinstance": "Notebook",
}
#: A file longer than this (bytes) is no price file.
LONGEST = 5_000_000
DEAREST = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an hour costs, in one currency and one region; `rates` by component and instance type."""

    currency: str
    region: str = ""
    as_of: str = ""
    source: str = ""
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def rate(self, app_type: str, instance_type: str | None) -> float | None:
        """What an hour of an app of this type costs on this instance type; None where that is not known."""
        component = COMPONENTS.get(app_type.lower())
        return self.rates.get(component, {}).get(instance_type) if component and instance_type else None

    def as_json(self) -> dict[str, Any]:
        """The document of a price file."""
        rates = {component: dict(sorted(found.items())) for component, found in sorted(self.rates.items())}
        return {
            "currency": self.currency,
            "region": self.region,
            "as_of": self.as_of,
            "source": self.source,
            "rates": rates,
        }

    def words(self) -> str:
        """Where the prices come from, in a sentence."""
        of = f" of {self.as_of}" if self.as_of else ""
        place = f" for {self.region}" if self.region else ""
        return f"Prices{of}{place} in {self.currency}, from {self.source or 'a price file'}."


def read_prices(path: str | Path) -> Prices:
    """Read a price file.

    Raises
    ------
    ReadError
        When it cannot be read.
    SettingError
        When something in it is not as it must be: the name of it, what was seen and what is accepted.
    """
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"the price file {path} cannot be read: {error}") from error
    return prices_of(found, str(path))


def prices_of(found: Any, where: str) -> Prices:
    """The prices in a decoded price file. Raises `SettingError`."""
    shape = "{currency, region, as_of, source, rates: {component: {instance type: number per hour}}}"
    if not isinstance(found, dict) or not isinstance(found.get("rates"), dict):
        raise SettingError(where, found, shape)
    currency = found.get("currency")
    if not isinstance(currency, str) or len(currency) != 3 or not currency.isascii() or not currency.isupper():
        raise SettingError(f"currency in {where}", currency, "an ISO 4217 code such as USD, EUR or CNY")
    as_of = found.get("as_of") or ""
    if not isinstance(as_of, str) or (as_of and moment(as_of if "T" in as_of else f"{as_of}T00:00:00Z") is None):
        raise SettingError(f"as_of in {where}", as_of, "a date such as 2026-06-01")
    rates = {str(name): _rates(f"rates.{name} in {where}", each) for name, each in found["rates"].items()}
    unknown = sorted(set(rates) - set(COMPONENTS.values()))
    if unknown:
        raise SettingError(f"rates in {where}", unknown[0], f"one of {', '.join(COMPONENTS.values())}")
    return Prices(
        currency=currency,
        region=str(found.get("region") or ""),
        as_of=as_of,
        source=str(found.get("source") or ""),
        rates=MappingProxyType(rates),
    )


def _rates(name: str, found: Any) -> dict[str, float]:
    """The rates of one component; every one is a number over 0."""
    if not isinstance(found, dict):
        raise SettingError(name, found, "an object of instance types and prices per hour")
    for instance_type, rate in found.items():
        fits = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 < rate <= DEAREST
        if not fits:
            raise SettingError(f"{name}, {instance_type}", rate, "a price per hour, over 0; leave out what is unknown")
    return {str(instance_type): float(rate) for instance_type, rate in found.items()}
