"""SageMaker notebook instances: this very instance, which is stopped and keeps its volume."""

from __future__ import annotations

import re

from ..errors import CallError, DeniedError, GoneError
from ..records import AppRecord
from .sagemaker import SageMakerAppManager

#: Statuses from which an instance ends by itself, or has ended.
ENDING = frozenset({"Stopping", "Stopped", "Deleting", "Failed"})
_STATUS_IN_REFUSAL = re.compile(r"Status \((\w+)\) not in")


class NotebookInstance(SageMakerAppManager):
    """The instance that this server runs on. Needs ``sagemaker:StopNotebookInstance`` and, to look before it stops and
    for `idle_timeouts`, ``sagemaker:DescribeNotebookInstance`` on itself.
    """

    def runs_elsewhere(self) -> str | None:
        """An app may have the name of an instance."""
        found = self.metadata
        return None if found.is_notebook_instance else f"{found.arn}, which is no notebook instance"

    async def list_apps(self) -> list[AppRecord]:
        """The instance itself, which is in service, for we run on it; that needs no call."""
        found = self.metadata
        kind = await self.own_type(self._ask_type)
        return [
            AppRecord(
                identity=found.arn,
                name=found.name,
                app_type="NotebookInstance",
                state="InService",
                instance_type=kind,
            )
        ]

    async def _ask_type(self) -> str | None:
        """The instance type, as SageMaker says it of the instance."""
        found = self.metadata
        answer = await self.call("describe_notebook_instance", found.arn, NotebookInstanceName=found.name)
        kind: str | None = answer.get("InstanceType")
        return kind

    async def look_again(self, app: AppRecord) -> AppRecord:
        """Its status as SageMaker has it. Without permission to describe it, stopping it tells."""
        try:
            answer = await self.call("describe_notebook_instance", app.identity, NotebookInstanceName=app.name)
        except DeniedError as error:
            await self.prepare()
            self.log.info("Culling: %s; it is stopped without another look at its status", error)
            return app
        self.instance_type = answer.get("InstanceType") or self.instance_type
        return app._replace(state=answer.get("NotebookInstanceStatus"), instance_type=self.instance_type)

    async def delete_app(self, app: AppRecord) -> None:
        """Ask SageMaker to stop it."""
        try:
            await self.call("stop_notebook_instance", app.identity, NotebookInstanceName=app.name)
        except CallError as error:
            status = _STATUS_IN_REFUSAL.search(str(error))
            if status is not None and status[1] in ENDING:
                raise GoneError(f"it is {status[1]} already") from error
            raise
