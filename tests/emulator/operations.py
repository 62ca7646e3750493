"""Which operations there are, and the resource that each of them needs a permission for."""

from __future__ import annotations

from collections.abc import Callable

from . import apps, lifecycle, notebooks, studio
from .account import Account
from .answers import Answer, Parameters

#: An operation is a function of the account and of lawful parameters; it gives the answer or raises a ServiceError.
OPERATIONS: dict[str, Callable[[Account, Parameters], Answer]] = {
    "CreateApp": apps.create_app,
    "CreateNotebookInstanceLifecycleConfig": lifecycle.create_for_notebooks,
    "CreatePresignedDomainUrl": studio.create_presigned_domain_url,
    "CreateStudioLifecycleConfig": lifecycle.create_studio,
    "DeleteApp": apps.delete_app,
    "DeleteStudioLifecycleConfig": lifecycle.delete_studio,
    "DescribeApp": apps.describe_app,
    "DescribeDomain": studio.describe_domain,
    "DescribeNotebookInstance": notebooks.describe_notebook_instance,
    "DescribeNotebookInstanceLifecycleConfig": lifecycle.describe_for_notebooks,
    "DescribeSpace": studio.describe_space,
    "DescribeStudioLifecycleConfig": lifecycle.describe_studio,
    "ListApps": apps.list_apps,
    "ListDomains": studio.list_domains,
    "ListSpaces": studio.list_spaces,
    "ListUserProfiles": studio.list_user_profiles,
    "StopNotebookInstance": notebooks.stop_notebook_instance,
    "UpdateDomain": lifecycle.update_domain,
    "UpdateNotebookInstance": lifecycle.update_notebook_instance,
}

#: Operation -> kind of resource and the parameters of its ARN; apps and lists stand below.
RESOURCES = {
    "CreatePresignedDomainUrl": ("user-profile", "DomainId", "UserProfileName"),
    "CreateNotebookInstanceLifecycleConfig": (
        "notebook-instance-lifecycle-config",
        "NotebookInstanceLifecycleConfigName",
    ),
    "CreateStudioLifecycleConfig": ("studio-lifecycle-config", "StudioLifecycleConfigName"),
    "DeleteStudioLifecycleConfig": ("studio-lifecycle-config", "StudioLifecycleConfigName"),
    "DescribeDomain": ("domain", "DomainId"),
    "DescribeNotebookInstanceLifecycleConfig": (
        "notebook-instance-lifecycle-config",
        "NotebookInstanceLifecycleConfigName",
    ),
    "DescribeStudioLifecycleConfig": ("studio-lifecycle-config", "StudioLifecycleConfigName"),
    "DescribeNotebookInstance": ("notebook-instance", "NotebookInstanceName"),
    "DescribeSpace": ("space", "DomainId", "SpaceName"),
    "StopNotebookInstance": ("notebook-instance", "NotebookInstanceName"),
    "UpdateDomain": ("domain", "DomainId"),
    "UpdateNotebookInstance": ("notebook-instance", "NotebookInstanceName"),
}


def resource(account: Account, operation: str, asked: Parameters) -> str:
    """The ARN of what is asked for; lists have no resource but everything."""
    if operation.startswith("List"):
        return "*"
    if operation.endswith("App"):
        return apps.resource(account, asked)
    kind, *names = RESOURCES[operation]
    return account.arn(kind, *(asked[name] for name in names))
