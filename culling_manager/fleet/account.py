"""What an account knows besides the log: whose a space is, what an app runs on, when the domain itself stops it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..money.runs import App
from .calls import FleetCalls
from .options import FleetOptions
from .targets import PAGE

#: Where DescribeDomain has the native idle timeout, by app type.
SETTINGS = {"jupyterlab": "JupyterLabAppSettings", "codeeditor": "CodeEditorAppSettings"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Owners by domain and space, instance types by app, native idle timeouts (seconds) by domain and app type.

    Names are in lower case.
    """

    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    types: Mapping[App, str] = field(default_factory=dict)
    native: Mapping[tuple[str, str], float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it as lists."""
        return {
            "owners": [[*key, owner] for key, owner in sorted(self.owners.items())],
            "types": [[*app, kind] for app, kind in sorted(self.types.items())],
            "native": [[*key, seconds] for key, seconds in sorted(self.native.items())],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Account:
        """What `as_json` wrote."""
        return cls(
            owners={(domain, space): owner for domain, space, owner in found["owners"]},
            types={App(*app): kind for *app, kind in found["types"]},
            native={(domain, kind): seconds for domain, kind, seconds in found["native"]},
        )


def read_account(calls: FleetCalls, options: FleetOptions) -> Account:
    """List all of it. Without any part of it the sums could be larger than they are, so each has to be had.

    Raises
    ------
    CallError
        When something cannot be listed, or there is no such domain.
    """
    found = [each for page in calls.pages("sagemaker", "list_domains", "Domains", "NextToken") for each in page]
    domains = [str(each["DomainId"]) for each in found]
    if options.domains:
        domains = [each for each in domains if each in options.domains]
    notes = [f"There is no domain {each} in {calls.region}." for each in options.domains if each not in domains]
    owners: dict[tuple[str, str], str] = {}
    types: dict[App, str] = {}
    native: dict[tuple[str, str], float] = {}
    for domain in domains:
        for space in _items(calls, "list_spaces", "Spaces", domain):
            owner = (space.get("OwnershipSettingsSummary") or {}).get("OwnerUserProfileName")
            if owner:
                owners[domain.lower(), str(space["SpaceName"]).lower()] = str(owner).lower()
        types |= types_of(domain, _items(calls, "list_apps", "Apps", domain))
        described = calls.call("sagemaker", "describe_domain", f"domain/{domain}", DomainId=domain)
        native |= {(domain.lower(), kind): seconds for kind, seconds in native_of(described).items()}
    return Account(owners=owners, types=types, native=native, notes=tuple(notes))


def types_of(domain: str, apps: Iterable[Mapping[str, Any]]) -> dict[App, str]:
    """What each app of a list runs on, where the list says it; 'system' costs nothing or is not said."""
    found = {}
    for app in apps:
        kind = (app.get("ResourceSpec") or {}).get("InstanceType")
        owner = app.get("SpaceName") or app.get("UserProfileName") or ""
        if kind and kind != "system":
            names = (domain, owner, str(app["AppType"]), str(app["AppName"]))
            found[App(*(each.lower() for each in names))] = str(kind)
    return found


def native_of(described: Mapping[str, Any]) -> dict[str, float]:
    """After how long (seconds) without use the domain itself stops apps, by app type; absent where it does not."""
    settings = described.get("DefaultUserSettings") or {}
    found = {}
    for kind, name in SETTINGS.items():
        idle = ((settings.get(name) or {}).get("AppLifecycleManagement") or {}).get("IdleSettings") or {}
        if idle.get("LifecycleManagement") == "ENABLED" and idle.get("IdleTimeoutInMinutes"):
            found[kind] = float(idle["IdleTimeoutInMinutes"]) * 60
    return found


def _items(calls: FleetCalls, operation: str, key: str, domain: str) -> list[dict[str, Any]]:
    parameters = {"DomainIdEquals": domain, "MaxResults": PAGE}
    return [each for page in calls.pages("sagemaker", operation, key, "NextToken", **parameters) for each in page]
