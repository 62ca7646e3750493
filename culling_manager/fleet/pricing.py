"""Prices per hour from the AWS Price List: list prices of one region, and nothing that is not surely one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..errors import CallError
from ..money.prices import Prices
from .calls import FleetCalls

#: What the price list calls the platforms, and what a price file does.
PLATFORMS = {
    "Studio-JupyterLab": "Studio:JupyterLab",
    "studio-codeeditor": "Studio:CodeEditor",
    "Studio-Notebook": "Studio:KernelGateway",
    "Notebook": "Notebook",
}
#: What a usage type has before its instance type, in lower case, by component; a region's code comes before it.
USAGE = {
    "studio:jupyterlab": "Studio:JupyterLab",
    "studio:codeeditor": "Studio:CodeEditor",
    "studio:kernelgateway": "Studio:KernelGateway",
    "studio:notebook": "Studio:KernelGateway",
    "studio-notebook": "Studio:KernelGateway",
    "notebk": "Notebook",
    "notebook": "Notebook",
}


def fetch_prices(calls: FleetCalls, now: datetime) -> Prices:
    """Read the list prices of the region; two prices for one thing mean that it is not known.

    Raises
    ------
    CallError
        When the price list cannot be read, or has none for this region, or has two currencies.
    """
    region = calls.region
    currency = "CNY" if region.startswith("cn-") else "USD"
    seen: dict[tuple[str, str], set[float]] = {}
    for platform, component in PLATFORMS.items():
        for product in _products(calls, region, platform):
            for kind, price in rates_of(product, currency):
                seen.setdefault((component, kind), set()).add(price)
    rates: dict[str, dict[str, float]] = {}
    for (component, kind), prices in sorted(seen.items()):
        if len(prices) == 1:
            rates.setdefault(component, {})[kind] = prices.pop()
    if not rates:
        raise CallError(f"pricing:GetProducts has no price in {currency} for {region}")
    return Prices(currency=currency, region=region, as_of=f"{now:%Y-%m-%d}", source="AWS Price List", rates=rates)


def _products(calls: FleetCalls, region: str, platform: str) -> Iterable[dict[str, Any]]:
    filters = {"regionCode": region, "productFamily": "ML Instance", "platoinstancetype": platform}
    asked = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()]
    pages = calls.pages(
        "pricing",
        "get_products",
        "PriceList",
        "NextToken",
        ServiceCode="AmazonSageMaker",
        Filters=asked,
        MaxResults=100,
    )
    for page in pages:
        for text in page:
            try:
                yield json.loads(text) if isinstance(text, str) else text
            except ValueError as error:
                raise CallError(f"pricing:GetProducts gave a product that is no JSON: {error}") from error


def rates_of(product: Mapping[str, Any], currency: str) -> Iterable[tuple[str, float]]:
    """Instance type and price per hour of a product; nothing for a price of 0 or another currency or unit."""
    usage = str(((product.get("product") or {}).get("attributes") or {}).get("usagetype") or "")
    kind = instance_type(usage)
    if kind is None:
        return
    for offer in ((product.get("terms") or {}).get("OnDemand") or {}).values():
        for dimension in (offer.get("priceDimensions") or {}).values():
            price = _price((dimension.get("pricePerUnit") or {}).get(currency))
            if price is not None and str(dimension.get("unit", "Hrs")).lower().startswith(("hrs", "hour")):
                yield kind, price


def _price(text: Any) -> float | None:
    try:
        found = float(text)
    except (TypeError, ValueError):
        return None
    return found if 0 < found < float("inf") else None


def instance_type(usage: str) -> str | None:
    """The instance type at the end of a usage type such as ``USE1-Studio:JupyterLab-ml.t3.medium``; None without."""
    _, there, rest = usage.rpartition("ml.")
    return f"ml.{rest}" if there and rest.count(".") == 1 and rest.replace(".", "").replace("-", "").isalnum() else None


def component_of(usage: str) -> str | None:
    """The component of a usage type; None for training, hosting and whatever else is not ours."""
    before = usage.lower().rpartition("-ml.")[0]
    return next((component for name, component in USAGE.items() if before == name or before.endswith(f"-{name}")), None)
