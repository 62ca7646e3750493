"""SageMaker Studio JupyterLab and Code Editor spaces: this server's own app."""

from __future__ import annotations

from traitlets import Bool

from ..errors import GoneError
from ..records import AppRecord
from .sagemaker import SageMakerAppManager

#: The types of a space's own app, in lower case and as SageMaker's API spells them.
SPACE_TYPES = {"jupyterlab": "JupyterLab", "codeeditor": "CodeEditor"}


class SpaceApp(SageMakerAppManager):
    """The app that this very server runs on.

    Needs ``sagemaker:DeleteApp`` on it, and for `idle_timeouts` ``DescribeApp``.
    """

    hold_native_shutdown = Bool(
        False,
        config=True,
        help="""Whether SageMaker's native idle shutdown is held off while something is kept that it cannot see: a busy
        kernel without output, a background process, a keep-alive. Every five minutes the stamp file is renewed that it
        reads (`StampFileSignal.stamp_path`), and never otherwise.""",
    )

    def runs_elsewhere(self) -> str | None:
        """Above all not the JupyterServer app."""
        fits = self.app_type in SPACE_TYPES.values()
        return None if fits else f"an app of type {self.metadata.app_type!r}, not on a space's"

    async def list_apps(self) -> list[AppRecord]:
        """The app itself, which is in service, for we run on it; that needs no call."""
        found, kind = self.metadata, await self.own_type(self._ask_type)
        return [
            AppRecord(
                identity=found.arn, name=found.name, app_type=self.app_type, state="InService", instance_type=kind
            )
        ]

    async def _ask_type(self) -> str | None:
        """The instance type, as its service says it of the app."""
        arn, parameters = self.named(self.app_type, self.metadata.name)
        answer = await self.call("describe_app", arn, **parameters)
        found: str | None = (answer.get("ResourceSpec") or {}).get("InstanceType")
        return found

    @property
    def app_type(self) -> str:
        """The app type as SageMaker's API spells it, whatever case the file has."""
        found = self.metadata.app_type
        return SPACE_TYPES.get(found.lower(), found)

    def is_protected(self, name: str) -> bool:
        """Every space's app is called 'default', so the space's name counts too."""
        return super().is_protected(name) or super().is_protected(self.metadata.owner[1])

    async def look_again(self, app: AppRecord) -> AppRecord:
        """There is nothing to look at but our own kernels and terminals; only get ready."""
        await self.prepare()
        return app

    async def delete_app(self, app: AppRecord) -> None:
        """Ask SageMaker to delete it; the process lives on until the container is stopped."""
        arn, parameters = self.named(self.app_type, self.metadata.name)
        try:
            await self.call("delete_app", arn, **parameters)
        except GoneError as error:
            raise GoneError(f"it is being deleted already ({error})") from error
