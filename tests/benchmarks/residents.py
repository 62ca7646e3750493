"""A look at all apps of Studio Classic, each with kernels on it: what `status`, `/metrics` and a pass do.

Kernels are stand-ins of our own manager, apps are real `KernelGatewayApps` over a list in memory. Kernels *at home*
have an image that one app runs; kernels *anywhere* do not tell where they live, so they count for every app. A look has
to be linear in apps and kernels: with twice as many of both it may take about twice as long, not four times. Figures
are CPU time, for a look waits for nothing, and growth is that of the fastest looks, which is the least disturbed.
Upstream knows no apps.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from time import thread_time
from typing import Any

from culling_manager.apps import KernelGatewayApps
from culling_manager.apps.metadata import parsed
from culling_manager.apps.source import AppSource
from culling_manager.records import Kind

from .measure import Results, Row, settled_memory, spread
from .standins import LOG, make_kernels, make_manager, utcnow

#: Apps, kernels.
SIZES = ((10, 1_000), (20, 2_000))
#: Twice as much in about twice the time; half as much again is left for a busy machine and colder caches.
GROWTH = 3.0
IMAGES = "arn:aws:sagemaker:eu-west-1:123456789012:image"
WHERE = {
    "AppType": "JupyterServer",
    "DomainId": "d-benchmark",
    "UserProfileName": "alice",
    "ResourceName": "default",
    "ResourceArn": "arn:aws:sagemaker:eu-west-1:123456789012:app/d-benchmark/alice/JupyterServer/default",
}


class Listed(KernelGatewayApps):
    """The apps of one user, without SageMaker; no gateway has other kernels on them."""

    shares_kernels = False
    count = 0

    async def call_pages(self, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """The answer to ListApps."""
        return [
            {
                "AppName": f"app-{number}",
                "AppType": "KernelGateway",
                "Status": "InService",
                "ResourceSpec": {"SageMakerImageArn": f"{IMAGES}/image-{number}", "InstanceType": "ml.t3.medium"},
            }
            for number in range(self.count)
        ]


async def run(quick: bool) -> Results:
    """Both sizes, kernels at home and anywhere; and how one grows into the other."""
    results = Results()
    for where in ("at home", "anywhere"):
        fastest = []
        for apps, kernels in SIZES:
            found = await _one(apps, kernels, where == "at home", 5 if quick else 20)
            what = f"a look at {apps} apps, {kernels:,} kernels {where}"
            fastest.append(min(found))
            results.figures[what] = spread(found)
            results.rows.append(Row(what=what, unit="s", ours=statistics.median(found)))
        results.rows.append(
            Row(
                what=f"growth with twice as many apps and kernels {where}",
                unit="",
                ours=fastest[1] / fastest[0],
                budget=GROWTH,
                budget_words=f"linear: < {GROWTH:g}",
            )
        )
    return results


async def _one(apps: int, kernels: int, at_home: bool, samples: int) -> list[float]:
    """Seconds of each look at all apps."""
    everyone = make_kernels("stand-ins", kernels)
    for number, kernel in enumerate(everyone.values()):
        image = f"__SAGEMAKER_INTERNAL__{IMAGES}/image-{number % apps}" if at_home else ""
        kernel.kernel_name = f"python3{image}"
    culler = await _watched(everyone, apps)
    watch = culler.watches[Kind.APP]
    found = []
    with settled_memory() as collect:
        for _ in range(samples):
            collect()
            start = thread_time()
            records = watch.current(utcnow())
            found.append(thread_time() - start)
            assert len(records) == apps, "an app is missing"
    await culler.pause()
    return found


async def _watched(kernels: Mapping[str, Any], apps: int) -> Any:
    """A culler over these kernels, and the apps that they live on."""
    manager: Any = make_manager("ours", kernels)
    culler = manager._culler
    listed = Listed(metadata=parsed(WHERE, "metadata.json"), log=LOG)
    listed.count = apps
    source = AppSource(listed, culler)
    culler.neighbours = source
    culler.attach(source)
    await asyncio.sleep(0.05)  # the manager's own start, and its first look
    await source.refresh()
    return culler
