"""The operations on apps."""

from __future__ import annotations

from datetime import datetime

from .account import Account
from .answers import Answer, Parameters, filled, in_domain, listed
from .faults import ServiceError
from .items import App, AppKey, app_key, usual_instance_type

#: Member of ResourceSpec -> attribute of App.
SPEC = {
    "SageMakerImageArn": "image",
    "SageMakerImageVersionArn": "image_version",
    "SageMakerImageVersionAlias": "alias",
    "InstanceType": "instance_type",
    "LifecycleConfigArn": "lifecycle_config",
    "TrainingPlanArn": "training_plan",
}


def list_apps(account: Account, asked: Parameters) -> Answer:
    apps = account.shown_apps(asked.get("UserProfileNameEquals"), asked.get("SpaceNameEquals"))
    return listed(account, "ListApps", asked, in_domain(apps, asked), details)


def describe_app(account: Account, asked: Parameters) -> Answer:
    """As with the service, LastUserActivityTimestamp is the last health check: it does not say that anybody worked."""
    app = _app(account, asked)
    checked = account.now() if app.status == "InService" else None
    return filled(
        **details(app),
        AppArn=account.app_arn(app),
        LastHealthCheckTimestamp=checked,
        LastUserActivityTimestamp=checked,
        FailureReason="The app could not be started." if app.status == "Failed" else None,
    )


def delete_app(account: Account, asked: Parameters) -> Answer:
    """The app turns to Deleting; Deleted comes later.

    ResourceInUse for an app that is Deleting or Pending is a guess: no source tells what the service answers.
    """
    app = _app(account, asked)
    if app.status == "Deleted":
        raise ServiceError("ValidationException", f"App {account.app_arn(app)} has already been deleted")
    if app.status in ("Deleting", "Pending"):
        raise ServiceError("ResourceInUse", f"App {account.app_arn(app)} is {app.status}.")
    app.turn("Deleting", account.now(), "Deleted", account.deleting_takes)
    return {}


def create_app(account: Account, asked: Parameters) -> Answer:
    """A new app; one that was deleted less than 24 hours ago comes back with the CreationTime it had.

    That a Failed app is in the way like a living one is a guess.
    """
    if not _has_owner(account, asked):
        raise ServiceError("ValidationException", "RecordNotFound: no such domain, user profile or space.")
    before = account.find_app(_key(asked))
    if before is not None and before.status != "Deleted":
        raise ServiceError("ResourceInUse", f"App {account.app_arn(before)} is {before.status}.")
    now = account.now()
    app = account.keep_app(_new(asked, now if before is None else before.created, now))
    app.turn("Pending", now, "InService", account.creating_takes)
    return {"AppArn": account.app_arn(app)}


def details(app: App) -> Answer:
    """What both ListApps and DescribeApp tell."""
    spec = filled(**{member: getattr(app, name) for member, name in SPEC.items()})
    return filled(
        DomainId=app.domain,
        UserProfileName=app.user_profile,
        SpaceName=app.space,
        AppType=app.app_type,
        AppName=app.name,
        Status=app.status,
        CreationTime=app.created,
        ResourceSpec=spec if app.resource_spec else None,
    )


def _app(account: Account, asked: Parameters) -> App:
    """The app asked for; one that was deleted 24 hours ago is as unknown as one that never was."""
    app = account.find_app(_key(asked))
    if app is None:
        raise ServiceError("ResourceNotFound", f"{resource(account, asked)} does not exist.")
    return app


def resource(account: Account, asked: Parameters) -> str:
    """The ARN of the app asked for, whether there is one or not."""
    _, _, owner, app_type, name = _key(asked)
    return account.arn("app", asked["DomainId"], owner, app_type.lower(), name)


def _key(asked: Parameters) -> AppKey:
    owners = (asked.get("UserProfileName"), asked.get("SpaceName"))
    return app_key(asked["DomainId"], *owners, asked["AppType"], asked["AppName"])


def _has_owner(account: Account, asked: Parameters) -> bool:
    domain = asked["DomainId"]
    profile, space = (domain, asked.get("UserProfileName")), (domain, asked.get("SpaceName"))
    return profile in account.user_profiles or space in account.spaces


def _new(asked: Parameters, created: datetime, now: datetime) -> App:
    wanted = asked.get("ResourceSpec", {})
    spec = {attribute: wanted.get(member) for member, attribute in SPEC.items()}
    spec["instance_type"] = spec["instance_type"] or usual_instance_type(asked["AppType"])
    return App(
        name=asked["AppName"],
        app_type=asked["AppType"],
        domain=asked["DomainId"],
        user_profile=asked.get("UserProfileName"),
        space=asked.get("SpaceName"),
        status="Pending",
        created=created,
        modified=now,
        **spec,
    )
