"""One account in one region, and the helpers with which a test fills it in one line each."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from itertools import chain
from typing import Any, TypeVar

from .items import (
    ALICE,
    DOMAIN,
    App,
    AppKey,
    Domain,
    Item,
    LifecycleConfig,
    NotebookInstance,
    Space,
    UserProfile,
    app_key,
    aware,
    usual_instance_type,
)

SomeItem = TypeVar("SomeItem", bound=Item)


class Account:
    """Domains, user profiles, spaces, apps and notebook instances; safe to change while the server runs.

    `deleting_takes`, `creating_takes` and `stopping_takes` are seconds of the account's clock until an app is Deleted,
    an app is InService, an instance is Stopped: 0 is at once, None is when the test says so. `page_size` is the most
    that a page of a list holds, and `empty_pages` puts an empty one between any two. `studio_url` is where presigned
    URLs lead (the service's own names if it is None), and `presigned` has what was asked for by token.
    """

    def __init__(self, region: str, account: str, clock: Callable[[], datetime] | None) -> None:
        self.region = region
        self.account = account
        self.clock = clock or (lambda: datetime.now(timezone.utc))
        self.deleting_takes: float | None = None
        self.creating_takes: float | None = 0
        self.stopping_takes: float | None = None
        self.page_size: int | None = None
        self.empty_pages = False
        self.studio_url: str | None = None
        self.presigned: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self.domains: dict[str, Domain] = {}
        self.user_profiles: dict[tuple[str, str], UserProfile] = {}
        self.spaces: dict[tuple[str, str], Space] = {}
        self.notebook_instances: dict[str, NotebookInstance] = {}
        self.studio_lifecycles: dict[str, LifecycleConfig] = {}
        self.notebook_lifecycles: dict[str, LifecycleConfig] = {}
        self.apps: dict[AppKey, App] = {}
        self._apps_of: defaultdict[tuple[str, str], dict[AppKey, App]] = defaultdict(dict)

    def now(self) -> datetime:
        """The account's time; its clock must tell the zone."""
        return aware(self.clock())

    def arn(self, kind: str, *parts: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{'/'.join([kind, *parts])}"

    def app_arn(self, app: App) -> str:
        """The app type is lower-case here, as in the service's own ARNs."""
        return self.arn("app", app.domain, app.owner, app.app_type.lower(), app.name)

    def add_domain(self, domain: str = DOMAIN, auth_mode: str = "IAM", **more: Any) -> Domain:
        """A domain that logs its users in by IAM or by SSO; also settings, those that UpdateDomain changes."""
        with self.lock:
            self.domains[domain] = Domain(name=domain, auth_mode=auth_mode, **self._common(**more))
            return self.domains[domain]

    def add_user_profile(self, name: str = ALICE, domain: str = DOMAIN, **more: Any) -> UserProfile:
        """A user profile, and its domain where that is new."""
        with self.lock:
            self._need_domain(domain)
            profile = UserProfile(name=name, domain=domain, **self._common(**more))
            self.user_profiles[domain, name] = profile
            return profile

    def add_space(self, name: str = "lab", domain: str = DOMAIN, owner: str | None = ALICE, **more: Any) -> Space:
        """A space; also sharing, app_type and idle_timeout. Its domain and its owner are added where they are new."""
        with self.lock:
            self._need_domain(domain)
            self._need_user_profile(owner, domain)
            space = Space(name=name, domain=domain, owner=owner, **self._common(**more))
            self.spaces[domain, name] = space
            return space

    def add_notebook_instance(self, name: str = "notebook", status: str = "InService", **more: Any) -> NotebookInstance:
        """A notebook instance; also instance_type."""
        with self.lock:
            instance = NotebookInstance(name=name, **self._common(status, **more))
            self.notebook_instances[name] = instance
            return instance

    def add_app(
        self,
        name: str = "default",
        app_type: str = "KernelGateway",
        domain: str = DOMAIN,
        user_profile: str | None = None,
        space: str | None = None,
        status: str = "InService",
        created: datetime | None = None,
        image: str | None = None,
        image_version: str | int | None = None,
        alias: str | None = None,
        instance_type: str | None = None,
        **more: Any,
    ) -> App:
        """An app of a user profile (alice, if none is named) or of a space; what it needs is added where it is new.

        `image` is an ARN or a name, `image_version` an ARN, the text None or a number of that image. The instance type
        is ml.t3.medium if it is not given, system for a JupyterServer. Also lifecycle_config, deleted (since when) and
        resource_spec: False leaves the ResourceSpec out of every answer, as older services do.
        """
        with self.lock:
            if user_profile and space:
                raise ValueError(f"{name} has one owner: the user profile {user_profile} or the space {space}")
            user_profile = user_profile or (ALICE if space is None else None)
            self._need_owner(domain, user_profile, space)
            return self.keep_app(
                App(
                    name=name,
                    app_type=app_type,
                    domain=domain,
                    user_profile=user_profile,
                    space=space,
                    image=self.image_arn(image),
                    image_version=self.version_arn(image, image_version),
                    alias=alias,
                    instance_type=instance_type or usual_instance_type(app_type),
                    **self._common(status, created, **more),
                )
            )

    def keep_app(self, app: App) -> App:
        """Remember this app, in place of the one with the same key."""
        self.apps[app.key] = app
        self._apps_of[app.key[1:3]][app.key] = app
        return self._settled(app)

    def image_arn(self, image: str | None) -> str | None:
        return image if image is None or image.startswith("arn:") else self.arn("image", image)

    def version_arn(self, image: str | None, version: str | int | None) -> str | None:
        """The ARN of a numbered version of an image; a text stands for itself."""
        if image is None or version is None or isinstance(version, str):
            return None if version is None else str(version)
        return self.arn("image-version", image.rpartition("/")[2].lower(), str(version))

    def app(self, name: str, owner: str | None = None, app_type: str | None = None) -> App:
        """The one app of this name, to look at and to change; more words are needed where there are several."""
        with self.lock:
            found = [
                app
                for app in self.apps.values()
                if app.name == name and owner in (None, app.owner) and app_type in (None, app.app_type)
            ]
            return self._settled(_only(found, f"app {name}"))

    def set_status(self, name: str, status: str, owner: str | None = None) -> None:
        """Set the status of what has this name: app, notebook instance, space, user profile, domain; the first wins."""
        with self.lock:
            if any(app.name == name for app in self.apps.values()):
                item: Item = self.app(name, owner)
            else:
                kinds = (self.notebook_instances, self.spaces, self.user_profiles, self.domains)
                items = chain.from_iterable(kind.values() for kind in kinds)
                item = next((each for each in items if each.name == name), None) or _only([], name)
            item.turn(status, self.now())

    def finish_deleting(self, name: str | None = None) -> list[App]:
        """Every app that is Deleting, or the one of this name, is Deleted now."""
        with self.lock:
            found = [app for app in self.apps.values() if name in (None, app.name)]
            found = [app for app in found if self._settled(app).status == "Deleting"]
            for app in found:
                app.turn("Deleted", self.now())
            if name is not None and not found:
                raise LookupError(f"no app {name} is Deleting")
            return found

    def find_app(self, key: AppKey) -> App | None:
        """The app of this key, if the service still knows it."""
        app = self.apps.get(key)
        return app if app is not None and app.is_shown(self.now()) else None

    def shown_apps(self, profile: str | None = None, space: str | None = None) -> Iterator[App]:
        """Every app that the service still knows, or those of one owner; the latter without looking at all others."""
        now = self.now()
        if profile or space:
            apps: Iterable[App] = self._apps_of.get(app_key("", profile, space, "", "")[1:3], {}).values()
        else:
            apps = self.apps.values()
        return (app for app in apps if app.is_shown(now))

    def _common(self, status: str = "InService", created: datetime | None = None, **more: Any) -> dict[str, Any]:
        since = aware(created) if created is not None else self.now()
        return {"status": status, "created": since, "modified": since, **more}

    def _settled(self, item: SomeItem) -> SomeItem:
        item.settle(self.now())
        return item

    def _need_domain(self, domain: str) -> None:
        if domain not in self.domains:
            self.add_domain(domain)

    def _need_user_profile(self, name: str | None, domain: str) -> None:
        if name is not None and (domain, name) not in self.user_profiles:
            self.add_user_profile(name, domain)

    def _need_owner(self, domain: str, user_profile: str | None, space: str | None) -> None:
        self._need_user_profile(user_profile, domain)
        if space is not None and (domain, space) not in self.spaces:
            self.add_space(space, domain)


def _only(found: list[SomeItem], what: str) -> SomeItem:
    """The only one found."""
    if len(found) != 1:
        raise LookupError(f"{len(found)} items fit {what}; name more, or add it first")
    return found[0]
