"""Dear machines on a shorter leash: idle timeouts by instance type."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError
from traitlets.config import Config

from culling_manager import CullingKernelManager
from culling_manager.apps.notebook import NotebookInstance
from culling_manager.apps.space import SpaceApp
from culling_manager.cli.simulate import by_type
from culling_manager.decisions import Reason, decide, timeout
from culling_manager.errors import CallError, SettingError
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, KernelRecord, Kind, TerminalRecord
from culling_manager.server.status import name_timeouts
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps
from tests.test_appsource import World as AppWorld
from tests.test_handlers import ask

MINUTE = 60.0
TABLE = (("ml.p*", 15 * MINUTE), ("ml.g5.*", 30 * MINUTE), ("ml.g*", 45 * MINUTE), ("ml.x*", 0.0))
POLICY = CullingPolicy(idle_timeouts=TABLE)

TYPES = {
    "ml.p4d.24xlarge": 15, "ml.g5.xlarge": 30, "ml.g4dn.xlarge": 45, "ml.t3.medium": 120, "ML.P4": 120, "ml.x1": 0,
    None: 120,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "minutes"), TYPES.items())
def test_the_first_pattern_that_matches_counts(kind, minutes):
    """For apps, for kernels on them, and, by what everything runs on, for terminals; else `idle_timeout`."""
    app = AppRecord(identity="a", name="a", state="InService", instance_type=kind)
    kernel = KernelRecord(identity="k", state="idle", last_activity=NOON, instance_type=kind)
    here = CullingPolicy(idle_timeouts=TABLE, instance_type=kind)

    assert (timeout(app, POLICY), timeout(kernel, POLICY)) == (minutes * 60, minutes * 60)
    assert timeout(TerminalRecord(identity="t", last_activity=NOON), here) == minutes * 60
    assert timeout(KernelRecord(identity="k", state="idle", last_activity=NOON), here) == minutes * 60


def test_a_kernelspecs_own_still_overrides_and_off_for_all_is_off():
    """As everywhere else."""
    own = KernelRecord(identity="k", state="idle", last_activity=NOON, instance_type="ml.p3", idle_timeout=77.0)

    assert timeout(own, POLICY) == 77.0
    assert timeout(own, CullingPolicy(idle_timeout=0, idle_timeouts=TABLE)) == 0.0


def test_off_for_a_type_is_off():
    """0 is never, there as elsewhere."""
    app = AppRecord(identity="a", name="a", state="InService", watched_since=NOON, instance_type="ml.x1")

    assert decide(app, POLICY, NOON).reason is Reason.OFF


@given(
    st.lists(st.tuples(st.sampled_from(["ml.p*", "*", "ml.t?"]), st.floats(0, 1e6)), max_size=4), st.text(max_size=9)
)
def test_no_type_has_less_than_the_shortest_of_all(table, kind):
    """What the horizon goes by: nothing is missed."""
    policy = CullingPolicy(idle_timeouts=tuple(table))

    found = policy.idle_timeout_on(kind)

    assert found == 0 or found >= policy.shortest_idle_timeout > 0


@scenario
async def test_several_apps_have_their_own_timeouts_at_once():
    """Each goes at its own deadline."""
    apps = FakeApps()
    world = AppWorld(apps=apps, idle_timeouts=(("ml.p*", 300.0), ("ml.g*", 900.0)))
    for name, kind in (("a", "ml.p3.2xlarge"), ("b", "ml.g5.xlarge"), ("c", "ml.t3.medium")):
        apps.put(name, instance_type=kind)
    world.start()
    gone = []

    for _ in range(8):
        await world.clock.run_for(130)
        gone.append(list(apps.deleted))

    assert gone[1] == []
    assert gone[2] == ["a"]
    assert gone[3] == ["a"]
    assert gone[4] == ["a", "c"]
    assert gone[6] == ["a", "c", "b"]


@scenario
async def test_what_a_user_sets_holds_for_everything_and_makes_no_short_leash_longer():
    """The rest gives way, what is named keeps its own where that is shorter, and off is no leash; until it is reset."""
    table = {"ml.p*": 15, "ml.g*": 90, "ml.x*": 0, "*": 240}
    manager = CullingKernelManager(idle_timeouts=table)
    culler = manager._culler
    before = culler.policy.idle_timeouts
    found = []
    for minutes in (60, 300, 10):
        culler.change_settings(idle_timeout=minutes * MINUTE)
        policy = culler.policy
        kinds = ("ml.p3.2xlarge", "ml.g5.xlarge", "ml.x1", "ml.t3.medium", None)
        found.append([policy.idle_timeout_on(kind) / MINUTE for kind in kinds])

    culler.reset_settings()

    assert found == [[15, 60, 60, 60, 60], [15, 90, 300, 300, 300], [10, 10, 10, 10, 10]]
    assert (culler.policy.idle_timeouts, culler.policy.idle_timeout) == (before, 7200.0)


async def test_a_user_is_told_where_another_timeout_holds(jp_fetch, jp_serverapp):
    """In the answer, by the pattern."""
    jp_serverapp.kernel_manager.idle_timeouts = {"ml.p*": 15}

    await ask(jp_fetch, "settings", {"idle_time": 60})

    _, answer = await ask(jp_fetch, "settings")
    assert (answer["idle_time"], answer["idle_timeouts"]) == (3600, {"ml.p*": 900})


def test_the_setting_refuses_nonsense_by_name():
    """In whatever place of the table."""
    with pytest.raises(TraitError, match=r"CullingKernelManager.idle_timeouts\['ml.p\*'\] = -1 is not accepted"):
        CullingKernelManager(idle_timeouts={"ml.p*": -1})
    with pytest.raises(TraitError, match="no number of minutes"):
        CullingKernelManager(config=Config({"CullingKernelManager": {"idle_timeouts": {"ml.p*": "soon"}}}))


def test_status_says_which_timeout_holds_and_why():
    """The pattern, or the setting."""
    apps = [{"instance_type": "ml.p3"}, {"instance_type": None}]

    name_timeouts(apps, POLICY)

    assert [(each["idle_timeout"], each["idle_timeout_from"]) for each in apps] == [
        (900.0, "idle_timeouts['ml.p*']"), (7200.0, "idle_timeout"),
    ]  # fmt: skip


def test_simulate_takes_the_same_table():
    """In minutes, as the setting."""
    assert by_type("ml.p*=15, *=120") == (("ml.p*", 900.0), ("*", 7200.0))
    assert by_type("") == ()
    for odd in ("ml.p*", "=5", "ml.p*=soon", "x=-1"):
        with pytest.raises(SettingError):
            by_type(odd)


class Space(SpaceApp):
    """A space whose calls a test answers."""

    def __init__(self, answer, **kwargs) -> None:
        metadata = SimpleNamespace(
            arn="arn:aws:sagemaker:eu-west-1:123456789012:app/d-x/lab/jupyterlab/default", name="default",
            app_type="JupyterLab", domain_id="d-x", owner=("SpaceName", "lab"), region="eu-west-1",
            app_arn=lambda kind, name: "arn",
        )  # fmt: skip
        super().__init__(metadata=metadata, **kwargs)
        self.answer, self.calls = answer, []

    async def call(self, operation, arn, **parameters):
        self.calls.append(operation)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"ResourceSpec": {"InstanceType": "ml.g5.xlarge"}}, "ml.g5.xlarge", ""),
        ({}, None, "SageMaker does not say its instance type: idle_timeout holds"),
        (CallError("no sagemaker:DescribeApp"), None, "its instance type is not known, so idle_timeout holds: no "),
    ],
)
def test_a_space_asks_for_its_own_type_once_and_only_for_a_table(answer, kind, words):
    """Never in the way: without the permission `idle_timeout` holds, and it is said."""
    with_table, without = Space(answer), Space(answer)
    with_table.parent = CullingKernelManager(idle_timeouts={"ml.g*": 5})

    found = [asyncio.run(with_table.list_apps())[0].instance_type for _ in range(3)]

    assert found == [kind] * 3
    assert with_table.calls == ["describe_app"]
    assert with_table.reason.startswith(words)
    assert asyncio.run(without.list_apps())[0].instance_type is None
    assert without.calls == []


class Instance(NotebookInstance):
    """A notebook instance whose calls a test answers."""

    call = Space.call

    def __init__(self, answer, **kwargs) -> None:
        arn = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/mine"
        super().__init__(metadata=SimpleNamespace(arn=arn, name="mine", is_notebook_instance=True), **kwargs)
        self.answer, self.calls = answer, []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"InstanceType": "ml.g5.xlarge", "NotebookInstanceStatus": "InService"}, "ml.g5.xlarge", ""),
        ({}, None, "SageMaker does not say its instance type: idle_timeout holds"),
        (CallError("no permission"), None, "its instance type is not known, so idle_timeout holds: no permission"),
    ],
)
def test_a_notebook_instance_asks_for_its_own_type_once_and_only_for_a_table(answer, kind, words):
    """By the call that it makes anyway before it stops; without the permission `idle_timeout` holds, and it is said."""
    with_table, without = Instance(answer), Instance(answer)
    with_table.parent = CullingKernelManager(idle_timeouts={"ml.g*": 5})

    found = [asyncio.run(with_table.list_apps())[0].instance_type for _ in range(3)]

    assert found == [kind] * 3
    assert with_table.calls == ["describe_notebook_instance"]
    assert with_table.reason.startswith(words)
    assert asyncio.run(without.list_apps())[0].instance_type is None
    assert without.calls == []


class OwnApp(FakeApps):
    """The app that the server itself runs on."""

    lists = False
    shares_kernels = False


@scenario
async def test_what_a_space_runs_on_counts_for_its_kernels_as_soon_as_it_is_known():
    """The policy says so from the first list on."""
    world = AppWorld(apps=OwnApp(), idle_timeouts=(("ml.p*", 300.0),))
    world.apps.put("a", instance_type="ml.p3.2xlarge")
    world.start()
    world.kernel("k")

    await world.clock.run_for(310)

    assert world.culler.policy.instance_type == "ml.p3.2xlarge"
    assert world.kernels.stopped == ["k"]
    assert world.culler.watches[Kind.APP] is not None
