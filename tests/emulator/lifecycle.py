"""The operations on lifecycle configurations, and on what a domain or a notebook instance has of them."""

from __future__ import annotations

from .account import Account
from .answers import Answer, Parameters, filled
from .faults import ServiceError
from .items import Domain, LifecycleConfig

#: Members of UpdateDomain that this emulator takes over.
SETTINGS = ("DefaultUserSettings", "DefaultSpaceSettings")


def create_studio(account: Account, asked: Parameters) -> Answer:
    """A name is taken once; a configuration cannot be changed."""
    name = asked["StudioLifecycleConfigName"]
    if name in account.studio_lifecycles:
        raise ServiceError("ResourceInUse", f"Studio Lifecycle Config {account.arn('studio-lifecycle-config', name)}")
    content, app_type = asked["StudioLifecycleConfigContent"], asked["StudioLifecycleConfigAppType"]
    account.studio_lifecycles[name] = _made(account, name, content=content, app_type=app_type)
    return {"StudioLifecycleConfigArn": account.arn("studio-lifecycle-config", name)}


def describe_studio(account: Account, asked: Parameters) -> Answer:
    found = _studio(account, asked)
    return filled(
        CreationTime=found.created,
        LastModifiedTime=found.modified,
        StudioLifecycleConfigArn=account.arn("studio-lifecycle-config", found.name),
        StudioLifecycleConfigName=found.name,
        StudioLifecycleConfigContent=found.content,
        StudioLifecycleConfigAppType=found.app_type,
    )


def delete_studio(account: Account, asked: Parameters) -> Answer:
    """Refused while a domain has it attached."""
    found = _studio(account, asked)
    arn = account.arn("studio-lifecycle-config", found.name)
    if any(arn in _attached(domain) for domain in account.domains.values()):
        raise ServiceError("ResourceInUse", f"Studio Lifecycle Config {arn} is attached to a domain")
    del account.studio_lifecycles[found.name]
    return {}


def update_domain(account: Account, asked: Parameters) -> Answer:
    """Each part of the settings that is given stands in place of what was there."""
    domain = account.domains.get(asked["DomainId"])
    if domain is None:
        raise ServiceError("ResourceNotFound", f"{account.arn('domain', asked['DomainId'])} does not exist.")
    for name in SETTINGS:
        domain.settings[name] = {**domain.settings.get(name, {}), **asked.get(name, {})}
    domain.modified = account.now()
    return {"DomainArn": account.arn("domain", domain.name)}


def create_for_notebooks(account: Account, asked: Parameters) -> Answer:
    name = asked["NotebookInstanceLifecycleConfigName"]
    arn = account.arn("notebook-instance-lifecycle-config", name)
    if name in account.notebook_lifecycles:
        raise ServiceError("ValidationException", f"Notebook Instance Lifecycle Config {arn} already exists")
    hooks = {hook: asked.get(hook, []) for hook in ("OnStart", "OnCreate")}
    account.notebook_lifecycles[name] = _made(account, name, hooks=hooks)
    return {"NotebookInstanceLifecycleConfigArn": arn}


def describe_for_notebooks(account: Account, asked: Parameters) -> Answer:
    found = account.notebook_lifecycles.get(asked["NotebookInstanceLifecycleConfigName"])
    if found is None:
        raise ServiceError("ValidationException", "RecordNotFound")
    return filled(
        CreationTime=found.created,
        LastModifiedTime=found.modified,
        NotebookInstanceLifecycleConfigArn=account.arn("notebook-instance-lifecycle-config", found.name),
        NotebookInstanceLifecycleConfigName=found.name,
        **found.hooks,
    )


def update_notebook_instance(account: Account, asked: Parameters) -> Answer:
    """Only one that is Stopped takes another lifecycle configuration, and only one that there is."""
    instance, name = account.notebook_instances.get(asked["NotebookInstanceName"]), asked.get("LifecycleConfigName")
    if instance is None or (name is not None and name not in account.notebook_lifecycles):
        raise ServiceError("ValidationException", "RecordNotFound")
    instance.settle(account.now())
    if instance.status != "Stopped":
        raise ServiceError("ValidationException", f"Status ({instance.status}) not in ([Stopped, Failed]).")
    instance.lifecycle_config = name or instance.lifecycle_config
    return {}


def _studio(account: Account, asked: Parameters) -> LifecycleConfig:
    found = account.studio_lifecycles.get(asked["StudioLifecycleConfigName"])
    if found is None:
        arn = account.arn("studio-lifecycle-config", asked["StudioLifecycleConfigName"])
        raise ServiceError("ResourceNotFound", f"Studio Lifecycle Config {arn} does not exist.")
    return found


def _attached(domain: Domain) -> list[str]:
    """The ARNs of all configurations that a domain has attached."""
    parts = [part for settings in domain.settings.values() for part in settings.values() if isinstance(part, dict)]
    return [arn for part in parts for arn in part.get("LifecycleConfigArns", [])]


def _made(account: Account, name: str, **more: object) -> LifecycleConfig:
    now = account.now()
    return LifecycleConfig(name=name, status="InService", created=now, modified=now, **more)  # type: ignore[arg-type]
