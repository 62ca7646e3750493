"""The operations on notebook instances."""

from __future__ import annotations

from .account import Account
from .answers import Answer, Parameters, filled
from .faults import ServiceError
from .items import NotebookInstance


def describe_notebook_instance(account: Account, asked: Parameters) -> Answer:
    instance = _instance(account, asked)
    return filled(
        NotebookInstanceName=instance.name,
        NotebookInstanceArn=account.arn("notebook-instance", instance.name),
        NotebookInstanceStatus=instance.status,
        InstanceType=instance.instance_type,
        NotebookInstanceLifecycleConfigName=instance.lifecycle_config,
        Url=f"{instance.name}.notebook.{account.region}.sagemaker.aws",
        RoleArn=f"arn:aws:iam::{account.account}:role/NotebookRole",
        PlatformIdentifier="notebook-al2023-v1",
        RootAccess="Enabled",
        CreationTime=instance.created,
        LastModifiedTime=instance.modified,
    )


def stop_notebook_instance(account: Account, asked: Parameters) -> Answer:
    """Stopping; Stopped comes later. Only an instance that is InService can be stopped."""
    instance = _instance(account, asked)
    if instance.status != "InService":
        arn = account.arn("notebook-instance", instance.name)
        words = f"Unable to transition to (Stopping) for Notebook Instance ({arn})."
        raise ServiceError("ValidationException", f"Status ({instance.status}) not in ([InService]). {words}")
    instance.turn("Stopping", account.now(), "Stopped", account.stopping_takes)
    return {}


def _instance(account: Account, asked: Parameters) -> NotebookInstance:
    """The instance asked for; unlike with apps, an unknown one is a ValidationException."""
    instance = account.notebook_instances.get(asked["NotebookInstanceName"])
    if instance is None:
        raise ServiceError("ValidationException", "RecordNotFound")
    instance.settle(account.now())
    return instance
