"""Choosing the app manager: the one that is configured, or the one for where SageMaker says that this server runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from traitlets import TraitError
from traitlets.utils.importstring import import_item

from .base import AppManager
from .metadata import MetadataError, NoMetadata, ResourceMetadata, ResourceMetadataFile
from .none import NoApps

ACCEPTED = "'auto', or a subclass of culling_manager.apps.AppManager or its import name"


def make(wanted: Any, parent: Any) -> AppManager:
    """The app manager that the trait `app_manager_class` asks for; `parent` is the kernel manager.

    One that cannot find itself, because the metadata file is missing, half-written or surprising, becomes `NoApps`
    with the reason, and a way to try again.

    Raises
    ------
    TraitError
        When `wanted` is no app manager.
    """
    if wanted == "auto":
        return _try(partial(chosen, parent), parent, may_be_elsewhere=True)
    return _try(partial(_class(wanted, parent), parent=parent), parent, may_be_elsewhere=False)


def _try(make_it: Any, parent: Any, may_be_elsewhere: bool) -> AppManager:
    try:
        found: AppManager = make_it()
        return found
    except MetadataError as error:
        nothing = NoApps(str(error), parent=parent)
        if not (may_be_elsewhere and isinstance(error, NoMetadata)):
            nothing.again = partial(_try, make_it, parent, may_be_elsewhere)
        return nothing


def _class(wanted: Any, parent: Any) -> type[AppManager]:
    found = wanted
    if isinstance(wanted, str):
        try:
            found = import_item(wanted)
        except Exception as error:
            raise _refused(wanted, parent, f" ({error})") from error
    if not (isinstance(found, type) and issubclass(found, AppManager)):
        raise _refused(wanted, parent)
    return found


def _refused(wanted: Any, parent: Any, why: str = "") -> TraitError:
    name = f"{type(parent).__name__}.app_manager_class"
    return TraitError(f"{name} = {wanted!r} is not accepted: it must be {ACCEPTED}{why}")


def chosen(parent: Any) -> AppManager:
    """The app manager for where this server runs, by SageMaker's resource metadata file."""
    found = ResourceMetadataFile(parent=parent).read()
    manager: AppManager = _class_for(found)(metadata=found, parent=parent)
    return manager


def _class_for(found: ResourceMetadata) -> Any:
    if found.is_notebook_instance:
        from .notebook import NotebookInstance

        return NotebookInstance
    match found.app_type.lower():
        case "jupyterlab" | "codeeditor":
            from .space import SpaceApp

            return SpaceApp
        case "jupyterserver":
            from .classic import KernelGatewayApps

            return KernelGatewayApps
    raise MetadataError(f"this server runs on an app of type {found.app_type!r}, for which there is no app manager")
