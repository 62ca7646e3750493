"""What makes a real Jupyter Kernel Gateway look like Studio Classic's: its kernels' names, and fields of its models.

Loaded by the gateway process: ``--KernelGatewayApp.kernel_manager_class=tests.classic_gateway.Kernels`` and
``--KernelGatewayApp.kernel_spec_manager_class=tests.classic_gateway.Specs``.
"""

from __future__ import annotations

from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from kernel_gateway.services.kernels.manager import SeedingMappingKernelManager

MARK = "__SAGEMAKER_INTERNAL__"


class Specs(KernelSpecManager):
    """Takes ``<kernel>__SAGEMAKER_INTERNAL__<image ARN>`` for the kernel that it names."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The spec without the image's ARN."""
        return super().get_kernel_spec(kernel_name.partition(MARK)[0])


class Kernels(SeedingMappingKernelManager):
    """Adds to each model what Studio Classic does; an environment variable of the kernel says where it runs."""

    def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """The model with ``app_name`` and ``instance_type``."""
        found: dict[str, Any] = super().kernel_model(kernel_id)
        if MARK not in found["name"]:
            found["app_name"] = "busy-app"
        return {**found, "instance_type": "ml.t3.medium"}
