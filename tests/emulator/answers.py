"""What the operations share: lists in pages, lookups that fail as the service does, and members that leave out None."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import Any, TypeVar

from .account import Account
from .faults import ServiceError
from .items import App, Item, Space, UserProfile
from .pages import page

Parameters = dict[str, Any]
Answer = dict[str, Any]
SomeItem = TypeVar("SomeItem", bound=Item)
InDomain = TypeVar("InDomain", App, Space, UserProfile)


def filled(**members: Any) -> Answer:
    """The members that are not None; moments become seconds since 1970 with three decimals."""
    return {
        name: round(value.timestamp(), 3) if isinstance(value, datetime) else value
        for name, value in members.items()
        if value is not None
    }


def dated(item: Item) -> Answer:
    """What nearly every item tells of itself."""
    return filled(Status=item.status, CreationTime=item.created, LastModifiedTime=item.modified)


def listed(
    account: Account,
    operation: str,
    asked: Parameters,
    items: Iterable[SomeItem],
    details: Callable[[SomeItem], Answer],
) -> Answer:
    """One page of these items, told by `details`."""
    found, token = page(operation, asked, items, account.page_size, account.empty_pages)
    return filled(**{operation.removeprefix("List"): [details(item) for item in found]}, NextToken=token)


def in_domain(items: Iterable[InDomain], asked: Parameters) -> Iterable[InDomain]:
    """The items of the domain asked for; all of them if none is."""
    domain = asked.get("DomainIdEquals")
    return items if domain is None else (item for item in items if item.domain == domain)


def containing(items: Iterable[SomeItem], part: str | None) -> Iterable[SomeItem]:
    """The items with this in their names; all of them for None."""
    return (item for item in items if part is None or part in item.name)


def known(items: dict[Any, SomeItem], key: Hashable, arn: str) -> SomeItem:
    """The item of this key; an unknown one is not found."""
    if key not in items:
        raise ServiceError("ResourceNotFound", f"{arn} does not exist.")
    return items[key]


def studio_url(account: Account, domain: str) -> str:
    """Where a domain's Studio is: where the test says, else at the service's own name for it."""
    return (account.studio_url or f"https://{domain}.studio.{account.region}.sagemaker.aws").rstrip("/")
