"""SageMaker Studio Classic: the KernelGateway apps of this user profile or shared space."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..errors import CallError
from ..records import AppRecord, KernelRecord, TerminalRecord
from .sagemaker import SageMakerAppManager

#: An instance type that stands for whatever SageMaker takes when none is asked for.
DEFAULT_TYPE = "system"

#: Statuses in which an app has no kernels any more; it stays listed for a day.
ENDED = frozenset({"Deleted", "Failed"})

_IMAGE = re.compile(
    r"arn:[a-z-]+:sagemaker:(?P<region>[a-z0-9-]+):(?P<account>[0-9A-Za-z]*):image(?P<version_arn>-version)?"
    r"/(?P<image>[^/\s]+?)(?:/(?P<version>[^/\s]+?))?"
)
#: In names of kernelspecs: ``<kernel>__SAGEMAKER_INTERNAL__<image ARN>[/<version>]``.
_IN_KERNEL_NAME = re.compile(r"__SAGEMAKER_INTERNAL__(?P<arn>arn:\S+)")
#: Names of image terminals: ``<image ARN>[/<version>]__<id>__<instance type>``.
_IMAGE_TERMINAL = re.compile(r"(?P<arn>arn:\S+?)__(?P<id>[^_\s]+)__(?P<instance_type>\S+)")


@dataclass(frozen=True, slots=True)
class Image:
    """A SageMaker image as a kernelspec, a terminal or an app names it; the version may be a number or an alias."""

    region: str
    account: str
    name: str
    versions: frozenset[str] = frozenset()

    def is_same(self, other: Image) -> bool:
        """Whether both are versions of one image."""
        return (self.region, self.account, self.name) == (other.region, other.account, other.name)


def image_in(arn: str) -> Image | None:
    """Read an image's or image version's ARN, with a version part or without; None when it is not one."""
    found = _IMAGE.fullmatch(arn)
    if found is None:
        return None
    versions = frozenset() if found["version"] is None else frozenset({found["version"].lower()})
    return Image(found["region"], found["account"].lower(), found["image"].lower(), versions)


def image_of_spec(spec: Mapping[str, Any]) -> Image | None:
    """The image of an app's ResourceSpec, with its version's number and alias as far as it has them."""
    known = [image_in(str(spec.get(key) or "")) for key in ("SageMakerImageArn", "SageMakerImageVersionArn")]
    images = [image for image in known if image is not None]
    if not images:
        return None
    alias = str(spec.get("SageMakerImageVersionAlias") or "").lower()
    versions = frozenset().union(*(image.versions for image in images))
    return replace(images[0], versions=versions | {alias} if alias and alias != "none" else versions)


class KernelGatewayApps(SageMakerAppManager):
    """All KernelGateway apps of one owner. Needs ``sagemaker:ListApps``, and ``sagemaker:DeleteApp`` on them.

    The JupyterServer app, which is free, and apps of any other type are not looked at.
    """

    lists = True
    shares_kernels = True
    #: How long (seconds) until an accepted deletion counts as one that came to nothing: see `deletion`.
    patience = 600.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._images: dict[str, Image] = {}
        self._placed: dict[tuple[Image | None, str | None], list[str]] = {}
        self._placed_among: dict[str, AppRecord] = {}

    def runs_elsewhere(self) -> str | None:
        """A notebook instance has neither domain nor owner."""
        found = self.metadata
        return f"{found.arn}, which has no apps" if found.is_notebook_instance else None

    async def list_apps(self) -> list[AppRecord]:
        """The KernelGateway apps that SageMaker lists, whatever their status."""
        member, owner = self.metadata.owner
        filters = {"DomainIdEquals": self.metadata.domain_id, f"{member}Equals": owner}
        listed = [app for app in await self.call_pages("list_apps", "Apps", **filters) if self._is_ours(app)]
        specs = {str(app["AppName"]): app.get("ResourceSpec") or {} for app in listed}
        images = {name: image_of_spec(spec) for name, spec in specs.items()}
        self._images = {name: image for name, image in images.items() if image is not None}
        self._placed = {}
        return [_record(app, specs[str(app["AppName"])]) for app in listed]

    def _is_ours(self, app: Mapping[str, Any]) -> bool:
        """Whether it is a KernelGateway app of our owner; the filter of the request is not taken on trust."""
        member, owner = self.metadata.owner
        return app.get("AppType") == "KernelGateway" and bool(app.get("AppName")) and app.get(member, owner) == owner

    async def delete_app(self, app: AppRecord) -> None:
        """Ask SageMaker to delete it."""
        if app.app_type != "KernelGateway":
            raise CallError(f"app {app.name} is a {app.app_type}, which is never deleted")
        arn, parameters = self.named(app.app_type, app.name)
        await self.call("delete_app", arn, **parameters)

    # -- which app something lives on ------------------------------------------------------------

    def apps_of_kernel(self, kernel: KernelRecord, apps: Mapping[str, AppRecord]) -> Collection[str]:
        """By the app's name in its model, else by image and instance type; all that could be meant, in doubt all."""
        if kernel.app_name is not None and kernel.app_name in apps:
            return [kernel.app_name]
        return self._by_image(image_of_kernel(kernel.name), kernel.instance_type, apps)

    def knows_home_of(self, kernel: KernelRecord, apps: Mapping[str, AppRecord]) -> bool:
        """Whether an app in service is named by its model or runs its image on its instance type.

        True also of a kernel that says neither, for a list of apps would not help to tell.
        """
        running = {name: app for name, app in apps.items() if app.state == "InService"}
        if kernel.app_name is not None:
            return kernel.app_name in running
        image = image_of_kernel(kernel.name)
        return any(
            image is None or (self._runs(name, image) and _is_on(app, kernel.instance_type))
            for name, app in running.items()
        )

    def apps_of_terminal(self, terminal: TerminalRecord, apps: Mapping[str, AppRecord]) -> Collection[str]:
        """An image terminal's by image and instance type; a system terminal lives on none."""
        found = _IMAGE_TERMINAL.fullmatch(terminal.identity)
        if found is None:
            return list(apps) if terminal.identity.startswith("arn:") else []
        return self._by_image(image_in(found["arn"]), found["instance_type"], apps)

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """An image terminal goes with its app; a system terminal runs on the JupyterServer app, which is free."""
        if terminal.identity.startswith("arn:"):
            return terminal._replace(with_app=True)
        return terminal._replace(billed=False)

    def _by_image(self, image: Image | None, instance_type: str | None, apps: Mapping[str, AppRecord]) -> list[str]:
        """The apps that something of this image on this instance type may live on; found once per list of apps."""
        if self._placed_among != apps:
            self._placed = {}
        self._placed_among = dict(apps)  # the very same records are soon compared
        place = image, instance_type
        if place not in self._placed:
            self._placed[place] = self._narrow(image, instance_type, apps)
        return self._placed[place]

    def _narrow(self, image: Image | None, instance_type: str | None, apps: Mapping[str, AppRecord]) -> list[str]:
        """Narrow the apps down for as long as some are left."""
        found = _narrowed(list(apps), lambda name: apps[name].state not in ENDED)
        if image is not None:
            found = _narrowed(found, lambda name: self._runs(name, image))
        if instance_type:
            found = _narrowed(found, lambda name: _is_on(apps[name], instance_type))
        if image is not None and image.versions:
            found = _narrowed(found, lambda name: self._may_have(name, image.versions))
        return found

    def _runs(self, name: str, image: Image) -> bool:
        known = self._images.get(name)
        return known is None or known.is_same(image)

    def _may_have(self, name: str, versions: frozenset[str]) -> bool:
        """Whether an app's image is, or may be, one of these versions.

        A version has a number and may have aliases. What is known of them as numbers says nothing of an alias, and the
        other way round.
        """
        known = self._images.get(name)
        if known is None or known.versions & versions:
            return True
        kinds = {version.isdecimal() for version in known.versions}
        return not all(version.isdecimal() in kinds for version in versions)


@lru_cache(maxsize=1024)
def image_of_kernel(name: str) -> Image | None:
    """The image in a kernelspec's name, if it has one."""
    found = _IN_KERNEL_NAME.search(name)
    return None if found is None else image_in(found["arn"])


def _is_on(app: AppRecord, instance_type: str | None) -> bool:
    """Whether an app may run on an instance type; what is not said may be any."""
    return (
        None in (app.instance_type, instance_type)
        or DEFAULT_TYPE in (app.instance_type, instance_type)
        or (app.instance_type == instance_type)
    )


def _narrowed(names: Iterable[str], fits: Callable[[str], bool]) -> list[str]:
    """Those that fit; all when none does, for then it cannot be told."""
    names = list(names)
    return [name for name in names if fits(name)] or names


def _record(app: Mapping[str, Any], spec: Mapping[str, Any]) -> AppRecord:
    name = str(app["AppName"])
    return AppRecord(
        identity=name,
        name=name,
        app_type=str(app["AppType"]),
        state=app.get("Status"),
        created_at=app.get("CreationTime"),
        instance_type=spec.get("InstanceType"),
    )
