"""The file by which SageMaker tells a server where it runs.

The keys and where they were seen are those of AWS's own readers and samples: an app's file has AppType, DomainId,
SpaceName or UserProfileName, ResourceArn and ResourceName, a notebook instance's only the last two.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from traitlets import Unicode
from traitlets.config import LoggingConfigurable

from ..errors import CullingError

DEFAULT_PATH = "/opt/ml/metadata/resource-metadata.json"
#: The environment variable by which AWS's own Jupyter extensions have the path overridden, too.
PATH_VARIABLE = "RESOURCE_METADATA_FILE"

_ARN = r"arn:(?P<partition>aws[a-z-]*):sagemaker:(?P<region>[a-z0-9-]+):(?P<account>[0-9]*):(?P<resource>\S+)"


class MetadataError(CullingError):
    """The file is not there, cannot be read, or does not say what it should."""


class NoMetadata(MetadataError):
    """There is no such file at its usual place: this is not SageMaker."""


class ResourceMetadata(NamedTuple):
    """Where this server runs. For a notebook instance only `region`, `arn` and `name` are set.

    `owner` is the member of SageMaker's requests that names whose app it is: ``SpaceName`` or ``UserProfileName``.
    """

    arn: str
    partition: str
    region: str
    account: str
    name: str
    app_type: str = ""
    domain_id: str = ""
    owner: tuple[str, str] = ("", "")

    @property
    def is_notebook_instance(self) -> bool:
        """Whether it is a notebook instance."""
        return ":notebook-instance/" in self.arn

    def app_arn(self, app_type: str, name: str) -> str:
        """The ARN under which an app of this owner is authorized; the app type in it is in lower case."""
        place = f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:app"
        return f"{place}/{self.domain_id}/{self.owner[1]}/{app_type.lower()}/{name}"


class ResourceMetadataFile(LoggingConfigurable):
    """SageMaker's resource metadata file."""

    path = Unicode(
        "",
        config=True,
        help="""Path of SageMaker's resource metadata file. Empty: what the environment variable
        RESOURCE_METADATA_FILE says, else /opt/ml/metadata/resource-metadata.json.""",
    )

    def read(self) -> ResourceMetadata:
        """Read it.

        Raises
        ------
        NoMetadata
            When there is no file at the usual place.
        MetadataError
            When one that is configured is not there, or when it cannot be read or says something else than expected.
        """
        path = self.path or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # whatever kind of file somebody put there
            with os.fdopen(descriptor, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            kind = NoMetadata if path == DEFAULT_PATH else MetadataError
            raise kind(f"there is no resource metadata file {path}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise MetadataError(f"the resource metadata file {path} cannot be read: {error}") from error
        return parsed(found, path)


def parsed(found: Any, path: str) -> ResourceMetadata:
    """Make sense of the file's content, or raise `MetadataError` saying what is wrong with it."""
    if not isinstance(found, dict):
        raise MetadataError(f"the resource metadata file {path} holds {type(found).__name__}, not an object")
    arn = re.fullmatch(_ARN, _text(found, "ResourceArn", path))
    if arn is None:
        raise MetadataError(
            f"{path}: ResourceArn = {found.get('ResourceArn')!r} is not the ARN of a SageMaker resource"
        )
    kind, *parts = arn["resource"].split("/")
    place: dict[str, Any] = {name: arn[name] for name in ("partition", "region", "account")}
    if kind == "notebook-instance" and len(parts) == 1:
        return ResourceMetadata(arn=arn[0], name=_text(found, "ResourceName", path) or parts[0], **place)
    if kind != "app" or len(parts) != 4:
        raise MetadataError(f"{path}: ResourceArn = {arn[0]!r} is neither an app's nor a notebook instance's")
    domain, owner, _, name = parts
    return ResourceMetadata(
        arn=arn[0],
        name=_text(found, "ResourceName", path) or name,
        app_type=_text(found, "AppType", path),
        domain_id=_text(found, "DomainId", path) or domain,
        owner=_owner(found, path, owner),
        **place,
    )


def _owner(found: dict[str, Any], path: str, named: str) -> tuple[str, str]:
    """Whose app it is: a space's if the file names one, for a space app's file may name its user profile besides."""
    for member in ("SpaceName", "UserProfileName"):
        name = _text(found, member, path)
        if name:
            return member, name
    raise MetadataError(f"{path}: neither SpaceName nor UserProfileName says whether {named!r} is a space or a user")


def _text(found: dict[str, Any], key: str, path: str) -> str:
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MetadataError(f"{path}: {key} = {value!r} is not a string")
    return value
