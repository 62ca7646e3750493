"""The state document of one server, put together from what its culler knows, and what is not ours on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from .._version import __version__
from ..document import state_document
from ..engine.culler import IdleCuller
from ..engine.ports import Naming
from ..managers.documents import Documents
from ..managers.guests import guest_of
from ..policy import CullingPolicy
from ..records import KernelRecord, Kind, Record
from ..rules.kernel import kernel_timeout
from ..rules.own_timeout import own_timeout_from
from .given_back import GivenBack

#: Of so many terminals at most is read what runs in them, which takes about a tenth of a millisecond each.
MOST_TERMINALS = 100

HOW_TO_SELECT = {
    Kind.KERNEL: 'c.ServerApp.kernel_manager_class = "culling_manager.CullingKernelManager"',
    Kind.TERMINAL: 'c.TerminalsExtensionApp.terminal_manager_class = "culling_manager.CullingTerminalManager"',
}


def kernels_not_ours(server: Any, culler: IdleCuller) -> str | None:
    """Why no kernel is culled, and what to configure; None when they are."""
    if Kind.KERNEL in culler.watches:
        return None
    name = type(server.kernel_manager).__name__
    return f"Kernels are not culled: the kernel manager is {name}. Configure {HOW_TO_SELECT[Kind.KERNEL]}"


def terminals_not_ours(server: Any, culler: IdleCuller) -> str | None:
    """Why no terminal is culled, and what to configure; None when they are, or when there are none."""
    terminals = server.web_app.settings.get("terminal_manager")
    if terminals is None or Kind.TERMINAL in culler.watches:
        return None
    name = type(terminals).__name__
    return f"Terminals are not culled: the terminal manager is {name}. Configure {HOW_TO_SELECT[Kind.TERMINAL]}"


def notices(server: Any, culler: IdleCuller) -> list[str]:
    """What is not ours on this server, and how to make it so."""
    guest = guest_of(culler)
    found = (kernels_not_ours(server, culler), guest and guest.words, terminals_not_ours(server, culler))
    return [words for words in found if words]


def name_documents(kernels: list[dict[str, Any]], documents: Documents) -> None:
    """Say of each kernel which document it belongs to now; a record may be from before that was renamed."""
    known = documents.all() if kernels else {}
    for kernel in kernels:
        if kernel["id"] in known:
            document = known[kernel["id"]]
            kernel |= {"path": document.path, "session_name": document.name}


def name_terminals(terminals: list[dict[str, Any]], culler: IdleCuller) -> None:
    """Say of each terminal what runs in it now; of a great many, of the first ones."""
    for terminal in terminals[:MOST_TERMINALS]:
        terminal["runs"] = runs_in(culler, terminal["id"])


def runs_in(culler: IdleCuller, terminal: str) -> str | None:
    """What runs in a terminal now, as a person calls it; None where nobody can tell."""
    source = culler.watches[Kind.TERMINAL].source if Kind.TERMINAL in culler.watches else None
    return source.names(terminal).get("runs") if isinstance(source, Naming) else None


def name_timeouts(apps: list[dict[str, Any]], policy: CullingPolicy) -> None:
    """Say of each app which idle timeout (seconds) holds, and why."""
    for app in apps:
        rule = policy.timeout_rule(app["instance_type"])
        app["idle_timeout"] = policy.idle_timeout_on(app["instance_type"])
        app["idle_timeout_from"] = "idle_timeout" if rule is None else f"idle_timeouts[{rule[0]!r}]"


def name_kernels_timeouts(kernels: list[dict[str, Any]], records: Iterable[Record], policy: CullingPolicy) -> None:
    """Say of each kernel which idle timeout (seconds, 0: off) holds, and why; `records` are theirs."""
    known = {record.identity: record for record in records if isinstance(record, KernelRecord)}
    for kernel in kernels:
        record = known[kernel["id"]]
        kept = record.odd_timeout is not None and policy.max_idle_timeout <= 0
        kernel["idle_timeout"] = 0.0 if kept else max(0.0, kernel_timeout(record, policy))
        told = record.idle_timeout, record.odd_timeout
        kernel["idle_timeout_from"] = own_timeout_from(*told, policy, record.instance_type)


def state_of(
    culler: IdleCuller, told: Iterable[str], given_back: GivenBack, *, presence: bool = False
) -> Mapping[str, Any]:
    """The state document: `told` are its notices, `given_back` what was given back over all starts of this user's,
    and `presence` says whether presence counts.
    """
    now = culler.now()
    current = {kind: watch.current(now) for kind, watch in culler.watches.items()}
    found = state_document(
        version=__version__,
        now=now,
        running=culler.running,
        count=culler.count,
        watching=culler.watches,
        policy=asdict(culler.policy) if culler.watches else None,
        next_wake_up=culler.next_wake_up,
        kernels=current.get(Kind.KERNEL, ()),
        terminals=current.get(Kind.TERMINAL, ()),
        apps=current.get(Kind.APP, ()),
        warned={(kind, identity) for kind, watch in culler.watches.items() for identity in watch.warned()},
        keep_alive=culler.keep.current(now),
        app_manager=None if culler.neighbours is None else culler.neighbours.describe(),
        troubles=culler.troubles.recent(now),
        outcomes=culler.outcomes,
        notices=told,
        presence=presence,
        given_back=given_back.at(now),
    )
    records = (record for record, _ in current.get(Kind.KERNEL, ()))
    name_kernels_timeouts(found["kernels"], records, culler.policy)
    return found
