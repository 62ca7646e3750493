"""What there is to check: every page of every domain, its user profiles, spaces and apps, each target once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ..errors import CallError
from .calls import FleetCalls
from .options import FleetOptions, Source
from .records import BASE_PATHS, Target

#: Items per page; the service's own default is 10.
PAGE = 100
#: boto3's name, key of the list.
LISTS = {"list_apps": "Apps", "list_user_profiles": "UserProfiles", "list_spaces": "Spaces"}

#: What is done, how much of it, and of how much in all (None: nobody knows yet).
Tell = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What there is to check; `problems` say what could not be listed, `notices` what is empty."""

    targets: tuple[Target, ...]
    domains: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class _Progress:
    """Adds up what several threads have listed."""

    def __init__(self, tell: Tell | None) -> None:
        self._tell, self._seen = tell, 0

    def add(self, more: int) -> None:
        self._seen += more
        if self._tell is not None:
            self._tell("listing", self._seen, None)


def list_targets(calls: FleetCalls, options: FleetOptions, tell: Tell | None = None) -> Listing:
    """List what there is, or the domains asked for. One domain's failure is a problem of that domain only.

    Raises
    ------
    CallError
        When not even the domains can be listed.
    """
    found = [each for page in calls.pages("sagemaker", "list_domains", "Domains", "NextToken") for each in page]
    there = list(dict.fromkeys(str(each["DomainId"]) for each in found))
    domains = list(dict.fromkeys(options.domains)) or there
    unknown = [each for each in domains if each not in there]
    problems = [f"There is no domain {each} in {calls.region}." for each in unknown]
    notices = [] if domains else [f"There is no SageMaker domain in {calls.region}."]
    progress = _Progress(tell)
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="fleet-list") as pool:
        listings = list(pool.map(lambda each: _domain(calls, options, each, progress), set(domains) - set(unknown)))
    for listing in sorted(listings, key=lambda each: each.domains):
        problems += listing.problems
        notices += listing.notices
    targets = {each.key: each for listing in listings for each in listing.targets}
    return Listing(
        targets=tuple(targets[key] for key in sorted(targets)),
        domains=tuple(domains),
        problems=tuple(problems),
        notices=tuple(notices),
    )


def _domain(calls: FleetCalls, options: FleetOptions, domain: str, progress: _Progress) -> Listing:
    """What there is in one domain. Without its apps nothing can be said; without the rest something can."""
    problems: list[str] = []
    with ThreadPoolExecutor(max_workers=3, thread_name_prefix="fleet-list") as pool:
        futures = {name: pool.submit(_items, calls, name, domain, progress) for name in LISTS}
        auth = pool.submit(_auth, calls, options, domain)
    lists: dict[str, list[dict[str, Any]]] = {}
    for name, future in futures.items():
        try:
            lists[name] = future.result()
        except CallError as error:
            problems.append(f"Domain {domain}: {error}")
    login = None
    try:
        login = auth.result()
    except CallError as error:
        problems.append(f"Domain {domain}: {error}")
    if "list_apps" not in lists:
        return Listing(targets=(), domains=(domain,), problems=tuple(problems))
    apps, profiles, spaces = (lists.get(name, []) for name in LISTS)
    targets = tuple(replace(each, auth=login) for each in joined(domain, apps, profiles, spaces))
    empty = not targets and not problems
    notices = (f"Domain {domain} has no user profiles and no spaces.",) if empty else ()
    return Listing(targets=targets, domains=(domain,), problems=tuple(problems), notices=notices)


def _items(calls: FleetCalls, operation: str, domain: str, progress: _Progress) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parameters = {"DomainIdEquals": domain, "MaxResults": PAGE}
    for page in calls.pages("sagemaker", operation, LISTS[operation], "NextToken", **parameters):
        found += page
        progress.add(len(page))
    return found


def _auth(calls: FleetCalls, options: FleetOptions, domain: str) -> str | None:
    """How the domain's users log in; asked only where it matters."""
    if options.source is not Source.PRESIGNED:
        return None
    found = calls.call("sagemaker", "describe_domain", f"domain/{domain}", DomainId=domain)
    return str(found.get("AuthMode") or "") or None


def joined(
    domain: str,
    apps: Iterable[dict[str, Any]],
    profiles: Iterable[dict[str, Any]],
    spaces: Iterable[dict[str, Any]],
) -> list[Target]:
    """Every Jupyter Server app of a domain, and every user profile and space that has none; each once.

    A space without an owner that is not private is open to every user of the domain: its profile is the first of them.
    """
    names = sorted({str(each["UserProfileName"]) for each in profiles})
    rooms = {str(each["SpaceName"]): each for each in spaces}
    owners = {name: _visitor(each, names) for name, each in rooms.items()}
    found: dict[tuple[Any, ...], Target] = {}
    for app in apps:
        target = _app_target(domain, app, owners)
        known = found.get(target.key)
        if target.app_type in BASE_PATHS and (known is None or not known.in_service):
            found[target.key] = target
    have = {(each.space is not None, each.owner) for each in found.values()}
    rest = [Target(domain=domain, profile=name) for name in names if (False, name) not in have]
    rest += [
        Target(domain=domain, profile=owners[name], space=name, app_type=_app_type(space))
        for name, space in rooms.items()
        if (True, name) not in have
    ]
    return [*found.values(), *rest]


def _app_target(domain: str, app: dict[str, Any], owners: dict[str, str | None]) -> Target:
    space = app.get("SpaceName")
    return Target(
        domain=domain,
        profile=owners.get(space) if space else app.get("UserProfileName"),
        space=space,
        app_type=app["AppType"],
        app_name=app["AppName"],
        status=app.get("Status"),
        created=app.get("CreationTime"),
    )


def _visitor(space: dict[str, Any], names: list[str]) -> str | None:
    """Whom to log in as; the sharing type is absent where boto3 does not know of it yet."""
    owner = (space.get("OwnershipSettingsSummary") or {}).get("OwnerUserProfileName")
    private = (space.get("SpaceSharingSettingsSummary") or {}).get("SharingType") == "Private"
    return owner or (None if private else next(iter(names), None))


def _app_type(space: dict[str, Any]) -> str:
    return (space.get("SpaceSettingsSummary") or {}).get("AppType") or "JupyterLab"
