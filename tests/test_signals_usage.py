"""Judging readings of the process table: what was used, by whom, and in which words."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.signals.network import outside
from culling_manager.signals.snapshot import START_TOLERANCE_SECONDS
from culling_manager.signals.table import LONGEST_NAME, command_of, roles_of
from culling_manager.signals.usage import (
    WANTED_SHARE,
    Row,
    Table,
    Usage,
    amount,
    shown,
    summary,
    together,
    usages,
    usages_since,
)

SERVER = 10


def table(*rows: Row, read_at: float = 1000.0) -> Table:
    return Table(rows={row.pid: row for row in rows}, read_at=read_at, count=len(rows))


def shares(first: Table, second: Table) -> dict[int, float]:
    return {usage.row.pid: round(usage.cpu_share, 6) for usage in usages(first, second)}


def row(pid: int, parent: int = 1, **what) -> Row:
    return Row(pid=pid, parent=parent, **{"name": f"p{pid}", "session": pid, **what})


def test_a_process_uses_what_its_counters_moved_by_between_two_readings():
    """Per second of the time between its own two readings, not between those of others."""
    first = table(row(5, cpu_seconds=40, moved_bytes=1e6, at=10.0))
    second = table(row(5, cpu_seconds=41, moved_bytes=3e6, at=12.0), read_at=1001)

    [found] = usages(first, second)

    assert (found.cpu_share, found.io_rate) == (0.5, 1e6)


def test_what_children_did_before_they_ended_is_their_parents():
    """A loop of short commands is work, although none of them is there twice."""
    first = table(row(5, child_seconds=3, at=0.0))
    second = table(row(5, child_seconds=3.5, at=1.0), read_at=1001)

    assert shares(first, second) == {5: 0.5}


def test_a_child_that_ends_hands_its_parent_no_past():
    """An hour of work that a child had done before the first reading is no use of now."""
    first = table(row(5, at=0.0), row(6, parent=5, cpu_seconds=3600, child_seconds=60, moved_bytes=9e9, at=0.0))
    second = table(row(5, child_seconds=3660.25, moved_bytes=9e9, at=1.0), read_at=1001)

    assert shares(first, second) == {5: 0.25}


def test_bytes_that_ended_children_had_moved_before_are_no_use_of_now():
    """All of them, and what is not known of one counts for nothing; what they and their parent moved since is use."""
    first = table(
        row(5, moved_bytes=1e6, at=0.0),
        *(
            row(6, parent=5, moved_bytes=9e9),
            row(7, parent=5, moved_bytes=4e9),
            row(8, parent=5),
            row(9, moved_bytes=1e9),
        ),
    )
    second = table(row(5, moved_bytes=1e6 + 9e9 + 4e9 + 2e6, at=1.0), read_at=1001)

    [found] = usages(first, second)

    assert found.io_rate == 2e6


def test_a_child_that_is_there_still_takes_nothing_from_what_its_parent_moved():
    """Only what ended is its parent's; and a parent cannot have moved less than nothing."""
    lives = row(6, parent=5, moved_bytes=9e9, at=0.0)
    first = table(
        row(5, moved_bytes=0.0, at=0.0), row(7, moved_bytes=5.0, at=0.0), row(8, parent=7, moved_bytes=99.0), lives
    )
    second = table(
        row(5, moved_bytes=2e6, at=1.0), row(7, moved_bytes=5.0, at=1.0), replace(lives, at=1.0), read_at=1001
    )

    assert {each.row.pid: each.io_rate for each in usages(first, second)} == {5: 2e6, 7: 0.0, 6: 0.0}


def test_what_a_new_process_moved_since_its_start_is_use():
    """In the time between the two readings of the table; where that cannot be read it is none."""
    first = table(read_at=1000)
    second = table(
        row(5, started_at=1001.0, moved_bytes=6e6, at=1.0), row(6, started_at=1001.0, at=1.0),
        row(7, started_at=1000 - START_TOLERANCE_SECONDS, moved_bytes=2.0, at=1.0), read_at=1002,
    )  # fmt: skip

    assert {each.row.pid: each.io_rate for each in usages(first, second)} == {5: 3e6, 6: 0.0, 7: 1.0}


def test_a_process_that_starts_between_the_readings_counts_from_its_start():
    """It was not there before; one that was there and could not be read is not judged by its whole life."""
    first = table(read_at=1000)
    second = table(
        row(5, started_at=1000.2, cpu_seconds=0.5, at=1.0), row(6, started_at=500, cpu_seconds=99, at=1.0), read_at=1001
    )

    assert shares(first, second) == {5: 0.5}


def test_a_number_that_was_given_to_another_process_is_another_process():
    """The new one is not charged with the difference to the old one's counters."""
    first = table(row(5, started_at=100, cpu_seconds=50, at=0.0))
    second = table(row(5, started_at=1000.9, cpu_seconds=0.1, at=1.0), read_at=1001)

    assert shares(first, second) == {5: 0.1}


def test_io_that_cannot_be_read_is_no_io():
    """Such a process is judged by its processor time alone."""
    [found] = usages(table(row(5, moved_bytes=None, at=0.0)), table(row(5, moved_bytes=7.0, at=1.0), read_at=1001))

    assert found.io_rate == 0


counters = st.floats(0, 1e6)
rows = st.builds(
    Row,
    pid=st.integers(1, 60),
    parent=st.integers(0, 60),
    session=st.integers(0, 60),
    started_at=st.sampled_from([0.0, 500.0, 999.0, 1000.5]),
    cpu_seconds=counters,
    child_seconds=counters,
    moved_bytes=st.none() | counters,
    at=st.floats(0, 3),
)
tables = st.lists(rows, max_size=40).map(lambda found: table(*found))


@given(tables, tables)
def test_no_two_readings_break_the_judging(first, second):
    """Whatever was read, even nonsense: nothing is raised, and nobody uses less than nothing."""
    for usage in [*usages(first, second), *usages_since(first, second)]:
        assert usage.cpu_share >= 0
        assert usage.io_rate >= 0


@given(tables)
def test_whoever_did_nothing_uses_nothing(before):
    """The same counters a second later are no use, whatever they are."""
    after = table(*(replace(each, at=each.at + 1) for each in before.rows.values()), read_at=before.read_at + 1)

    assert all(not usage.over(0, 0) for usage in usages(before, after))


@given(tables, st.lists(st.integers(1, 60), max_size=4), st.randoms(use_true_random=False))
def test_a_family_is_closed_and_never_has_the_server_or_one_above_it(found, roots, shuffle: random.Random):
    """Children of a member are members, in whatever order the table was read; the server's own line never is."""
    family = found.family(roots, SERVER)
    mixed = list(found.rows.values())
    shuffle.shuffle(mixed)

    assert not family & set(found.ancestors(SERVER))
    assert table(*mixed).family(roots, SERVER) == family
    line = set(found.ancestors(SERVER))
    assert all(each.pid in family or each.pid in line for each in found.rows.values() if each.parent in family)


def test_a_family_is_a_tree_and_the_sessions_of_its_members():
    """A detached job whose parent has ended is in its shell's session; another kernel's is not, nor is the server's."""
    found = table(
        row(1, parent=0),
        row(SERVER, session=1),
        row(20, parent=SERVER),
        row(21, parent=20, session=20),
        row(22, parent=1, session=20),  # detached: its parent has ended
        row(23, parent=22),  # with a session of its own, below a detached one
        row(24, parent=1, session=23),
        row(30, parent=SERVER),
        row(31, parent=1, session=30),
        row(40, parent=1),  # a session of its own and no parent: nobody's
    )

    assert found.family([20], SERVER) == {20, 21, 22, 23, 24}


def test_a_root_that_shares_the_servers_session_does_not_take_all_of_it():
    """A kernel whose launcher began no session has its tree, and not what else was started there."""
    found = table(row(1, parent=0), row(SERVER, session=1), row(20, parent=SERVER, session=1), row(30, session=1))

    assert found.family([20], SERVER) == {20}


def test_a_shell_that_has_ended_leaves_its_jobs_in_its_session():
    """Jobs of a terminal are its own also when its shell is gone."""
    found = table(row(1, parent=0), row(SERVER), row(21, session=20))

    assert found.family([20], SERVER) == {21}


def test_the_average_since_an_earlier_reading_is_of_the_process_alone():
    """Who rests between two bursts is seen by it; children that have ended since are not counted."""
    earlier = table(row(5, at=0.0), row(6, cpu_seconds=5, at=0.0), row(7, at=0.0))
    later = table(
        row(5, cpu_seconds=30, at=60.0), row(6, cpu_seconds=5, child_seconds=50, moved_bytes=9e9, at=60.0), read_at=1060
    )

    found = {usage.row.pid: (usage.cpu_share, usage.io_rate) for usage in usages_since(earlier, later)}

    assert found == {5: (0.5, 0.0), 6: (0.0, 0.0)}


def test_an_average_is_of_one_process_that_was_there_all_the_time():
    """Not of one that is new, is another of that number, has ended, or was not read again."""
    earlier = table(
        *(row(5, moved_bytes=1e6, at=40.0), row(6, at=40.0), row(7, started_at=100, at=40.0), row(8, at=40.0)),
        row(10, moved_bytes=5e6, at=40.0),
    )
    later = table(
        *(row(5, moved_bytes=7e6, at=100.0), row(6, ended=True, at=100.0), row(7, started_at=900, at=100.0)),
        *(row(8, cpu_seconds=1, at=40.0), row(9, at=100.0), row(10, moved_bytes=2e6, at=100.0)), read_at=1060,
    )  # fmt: skip

    found = {usage.row.pid: (usage.cpu_share, usage.io_rate) for usage in usages_since(earlier, later)}

    assert found == {5: (0.0, 1e5), 10: (0.0, 0.0)}


@pytest.mark.parametrize(
    ("cpu_share", "io_rate", "words"),
    [
        (0.98, 0.0, "process train (pid 7) uses 98% of a core"),
        (0.0, 3.21e6, "process train (pid 7) moves 3.2 MB per second"),
        (2.5, 5e9, "process train (pid 7) uses 250% of a core and moves 5.0 GB per second"),
        (0.002, 20.0, "process train (pid 7) is at work"),
        (0.005, 999.0, "process train (pid 7) is at work"),
        (0.006, 1000.0, "process train (pid 7) uses 1% of a core and moves 1.0 kB per second"),
    ],
)
def test_the_sentence_says_who_uses_how_much(cpu_share, io_rate, words):
    """Name and number of the process, share of a core, bytes per second; no arguments."""
    assert Usage(row=row(7, name="train"), cpu_share=cpu_share, io_rate=io_rate).words() == words


def test_of_several_the_busiest_is_named_and_the_others_are_counted():
    """One sentence is enough, however many there are."""
    found = [Usage(row=row(pid, name=f"p{pid}"), cpu_share=pid / 10) for pid in (1, 3, 2)]

    assert summary(found) == "process p3 (pid 3) uses 30% of a core, and 2 other processes"
    assert summary(found[:1]) == "process p1 (pid 1) uses 10% of a core"
    assert summary([]) is None


@given(st.text(max_size=200))
def test_a_name_is_shown_on_one_line_whatever_it_is(name):
    """Names are chosen by whoever starts a process."""
    words = Usage(row=row(7, name=name), cpu_share=1.0).words()

    assert words.isprintable()
    assert len(words) < 100


def test_exactly_the_threshold_is_not_over_it():
    """The inequality is strict."""
    assert not Usage(row=row(7), cpu_share=0.05, io_rate=100).over(0.05, 100)
    assert not Usage(row=row(7), cpu_share=0.0).over(0.05, 0.5)
    assert not Usage(row=row(7), cpu_share=1.0).ignored
    assert Usage(row=row(7), cpu_share=0.051, io_rate=0).over(0.05, 100)
    assert Usage(row=row(7), cpu_share=0.0, io_rate=101).over(0.05, 100)
    assert not Usage(row=row(7), cpu_share=0.0, wanted_share=WANTED_SHARE).over(0.05, 100)
    assert Usage(row=row(7), cpu_share=0.0, wanted_share=WANTED_SHARE + 0.01).over(0.05, 100)


@pytest.mark.parametrize(
    ("cpu_share", "wanted", "waits"), [(0.1, 0.8, False), (0.1, 0.9, True), (0.8, 0.9, False), (0.7, 0.9, True)]
)
def test_it_is_said_to_wait_for_a_core_when_that_is_what_it_does_most(cpu_share, wanted, waits):
    """Who has it most of the time uses it."""
    words = Usage(row=row(7), cpu_share=cpu_share, wanted_share=wanted).words()

    assert ("waits for a core" in words) is waits
    assert "uses" in words


def test_a_name_has_forty_characters_at_most_and_one_without_any_is_a_question_mark():
    """Whatever becomes of each by escaping it."""
    assert shown("x" * 41) == "x" * 40
    assert shown("\n" * 40) == "\\n" * 20
    assert shown("") == "?"


@pytest.mark.parametrize(("number", "words"), [(12, "12 B"), (999, "999 B"), (1000, "1.0 kB"),
    (1500, "1.5 kB"), (1e6, "1.0 MB"), (2e6, "2.0 MB"), (1e9, "1.0 GB"), (3.25e9, "3.2 GB")])  # fmt: skip
def test_bytes_are_written_in_a_unit_that_fits(number, words):
    """A person reads it at a glance."""
    assert amount(number) == words


@pytest.mark.parametrize(
    ("name", "words", "role"),
    [
        ("node", ["/usr/bin/node", "--inspect", "/opt/pyright-langserver.js", "--stdio"], "pyright-langserver.js"),
        ("python3.11", ["/opt/conda/bin/python3.11", "-m", "pylsp"], "pylsp"),
        ("pylsp", ["/opt/conda/bin/python", "/opt/conda/bin/pylsp"], "pylsp"),
        ("sshd", ["sshd: user@pts/0"], "sshd: user@pts"),
        ("x", [], "x"),
    ],
)
def test_a_program_is_known_by_its_name_and_its_script(name, words, role):
    """So that a language server is told from other programs that node or Python runs."""
    assert role.split("@")[0] in " ".join(roles_of(name, words))


BEAT = {"cpu_seconds": 9.0, "moved_bytes": 1e6, "kept_bytes": 0.0, "state": "S", "at": 0.0}


def second_later(before: Row, cpu: float, thread: tuple[float, float, int], **what) -> Usage:
    """What a process with one thread, `(0, 0, 0)` at first, used in one second."""
    found = {"moved_bytes": before.moved_bytes, "kept_bytes": before.kept_bytes, "state": before.state, **what}
    after = replace(before, cpu_seconds=before.cpu_seconds + cpu, at=before.at + 1, threads={7: thread}, **found)
    [usage] = usages(table(before), table(after, read_at=1001))
    return usage


@pytest.mark.parametrize(
    ("what", "beats"),
    [
        ({}, True),
        ({"cpu": 0.108, "thread": (0.104, 0.457, 419), "moved_bytes": 1.118e6}, True),  # 16 workers
        ({"cpu": 0.06, "thread": (0.06, 0.1, 20)}, False),  # sleeps every 3 ms of work
        ({"cpu": 0.3, "thread": (0.28, 0.1, 1000)}, False),  # a third of a core
        ({"thread": (0.06, 0.8, 194)}, True),  # waits whenever it beats, in a crowd
        ({"thread": (0.15, 0.8, 194)}, False),  # wants a core all the time
        ({"moved_bytes": 3e6}, False),  # reads 2 MB
        ({"kept_bytes": 21_000.0}, False),  # writes, or reads from a disk
        ({"kept_bytes": None}, False),  # nobody knows
        ({"state": "D"}, False),  # waits for a disk or a file server
        ({"child_seconds": 0.01}, False),  # waits for short commands
        ({"thread": (0.0, 0.0, 0)}, False),  # a Linux that does not count
        ({"cpu": 0.25, "thread": (0.1, 0.1, 1000)}, False),  # a quarter of a core
        ({"cpu": 0.24, "thread": (0.1, 0.1, 1000)}, True),  # less than that
        ({"moved_bytes": 2e6}, False),  # reads 1 MB
        ({"kept_bytes": 20_000.0}, True),  # a log
        ({"kept_bytes": 20_001.0}, False),  # more than a log
        ({"thread": (0.15, 0.65, 194)}, True),  # wants a core for exactly as long as a heartbeat may
        ({"cpu": 0.2, "thread": (0.2, 0.25, 2)}, False),  # 0.1 s of work and 0.4 s of rest
        ({"thread": (0.08, 0.8, 194)}, True),  # wants a core all the time, and sleeps every 0.4 ms
    ],
)
def test_what_sleeps_all_the_time_and_leaves_no_trace_only_beats(what, beats):
    """Idle helpers of frameworks; each thing that speaks of work makes it none."""
    moved = what.pop("moved_bytes", 1.032e6)
    usage = second_later(
        row(7, **BEAT, threads={7: (0.0, 0.0, 0)}),
        what.pop("cpu", 0.06),
        what.pop("thread", (0.058, 0.14, 194)),
        moved_bytes=moved,
        **what,
    )

    assert usage.beats is beats
    assert usage.over(0.05, 20_000)


def test_what_wants_a_core_and_does_not_get_one_is_at_work():
    """By what it waited; and by its state where it did not get a single turn, for Linux counts a wait when it ends."""
    before = row(7, **{**BEAT, "state": "R"}, threads={7: (1.0, 50.0, 9)})

    waited = second_later(before, 0.0, (1.006, 50.97, 11))
    starved = second_later(before, 0.0, (1.0, 50.0, 9))
    asleep = second_later(replace(before, state="S"), 0.0, (1.0, 50.0, 9))

    assert (round(waited.wanted_share, 3), starved.wanted_share, asleep.wanted_share) == (0.976, 1.0, 0.0)
    assert [each.over(0.05, 20_000) for each in (waited, starved, asleep)] == [True, True, False]
    assert waited.words() == "process p7 (pid 7) waits for a core 98% of the time"


@pytest.mark.parametrize(
    ("before", "after", "beats"),
    [
        ({}, {}, True),
        ({"kept_bytes": 15_000.0}, {"kept_bytes": 45_000.0}, True),  # 15 kB a second
        ({"kept_bytes": 15_000.0}, {"kept_bytes": 56_000.0}, False),
        ({"kept_bytes": None}, {"kept_bytes": 0.0}, False),  # nobody knew then
        ({"state": "D"}, {"state": "S"}, False),  # it waited for a disk then
    ],
)
def test_what_only_beats_is_told_by_both_readings_and_per_second(before, after, beats):
    """Two seconds apart."""
    first = row(7, **{**BEAT, **before}, threads={7: (0.0, 0.0, 0)})
    second = replace(first, at=first.at + 2, threads={7: (0.1, 0.1, 400)}, **after)

    [usage] = usages(table(first), table(second, read_at=1002))

    assert usage.beats is beats


@pytest.mark.parametrize(
    ("threads", "beats"),
    [
        ([(0.1, 0.6, 130), (0.1, 0.6, 130)], False),  # two of Python's that take turns
        ([(0.02, 0.28, 196)] * 8, False),  # eight of them
        ([(0.06, 0.3, 194), (0.0, 0.3, 1), (0.0, 0.2, 1)], True),  # others wait now and then, for half of the time
        ([(0.06, 0.3, 194), (0.0, 0.3, 1), (0.0, 0.21, 1)], False),  # for more than that
        ([(0.15, 0.7, 200), (0.001, 0.01, 500)], False),  # one works, and another wakes all the time
        ([(0.06, 0.1, 194), (0.001, 0.01, 1)], True),  # one beats, and another has just begun
        ([(0.06, 0.1, 194), (-1.0, -1.0, -9)], True),  # another had the number of one that has ended
        ([(0.2, 0.5, 300), (0.05, 0.5, 9), (-1.0, -1.0, -9)], False),  # and hides none that take turns
    ],
)
def test_a_process_beats_when_its_busiest_thread_does_and_no_others_take_turns(threads, beats):
    """Threads that wake to ask for their turn sleep as often as heartbeats do."""
    known = dict.fromkeys(range(len(threads)), (2.0, 2.0, 20))
    later = {number: tuple(map(sum, zip(known[number], each, strict=True))) for number, each in enumerate(threads)}
    before = row(7, **BEAT, threads=known)
    after = replace(before, at=before.at + 1, cpu_seconds=before.cpu_seconds + 0.2, threads=later)

    [usage] = usages(table(before), table(after, read_at=1001))

    assert usage.beats is beats


@pytest.mark.parametrize(
    ("threads", "share"),
    [
        ([(0.01, 0.24, 99)] * 3, 0.25),  # the others for half of the time: each by itself
        ([(0.01, 0.26, 99)] * 3, 0.81),  # for more than that: together
        ([(0.01, 0.39, 99), (0.01, 0.6, 99)], 0.61),
    ],
)
def test_threads_that_take_turns_want_a_core_together(threads, share):
    """None of them wants it for most of the time, and a job of theirs that gets next to nothing is at work."""
    before = row(7, **BEAT, threads=dict.fromkeys(range(len(threads)), (0.0, 0.0, 0)))
    after = replace(before, at=before.at + 1, threads=dict(enumerate(threads)))

    [usage] = usages(table(before), table(after, read_at=1001))

    assert round(usage.wanted_share, 3) == share
    assert usage.over(0.05, 20_000) is (share > 0.8)


def test_one_that_is_new_neither_beats_nor_wants_a_core():
    """There is nothing to compare it with; nor is there for one of which nobody knows the threads."""
    new = row(7, **{**BEAT, "state": "R", "at": 1.0}, started_at=1000.2, threads={7: (0.1, 0.1, 400)})
    unknown = row(8, **{**BEAT, "state": "R"})

    found = usages(table(unknown), table(new, replace(unknown, at=1.0), read_at=1001))

    assert {each.row.pid: (each.beats, each.wanted_share) for each in found} == {7: (False, 0.0), 8: (False, 0.0)}


def test_threads_count_from_when_they_were_seen_and_per_second():
    """A new one from its start; the busiest is held to its own sleeps, and the hungriest has a share of its own."""
    known = {7: (1.0, 0.0, 900), 8: (0.0, 0.0, 0)}
    before = row(7, **BEAT, threads=known)
    found = []
    for new in ((0.2, 0.2, 250), (0.2, 0.2, 200), (0.0, 1.2, 1)):
        threads = {**known, 9: new}
        [usage] = usages(table(before), table(replace(before, at=before.at + 2, threads=threads), read_at=1002))
        found.append((usage.beats, round(usage.wanted_share, 3)))

    assert found == [(True, 0.2), (False, 0.2), (True, 0.6)]


def test_of_those_that_use_as_much_the_one_that_moves_more_is_named():
    """It is what the others would be taken for."""
    found = [Usage(row=row(pid, name=f"p{pid}"), cpu_share=0.1, io_rate=rate) for pid, rate in ((1, 5.0), (2, 9.0))]

    assert summary(found) == "process p2 (pid 2) uses 10% of a core, and 1 other process"


@pytest.mark.parametrize(("share", "limit", "said"), [(0.25, 0.5, False), (0.375, 0.5, True)])
def test_two_are_a_job_and_exactly_the_threshold_is_not_over_it(share, limit, said):
    """The inequality is strict, as for one."""
    rows = [row(1, parent=0), row(SERVER), *(row(pid, parent=SERVER, session=20) for pid in (20, 21))]
    found = [Usage(row=each, cpu_share=share) for each in rows[2:]]

    assert (together(found, table(*rows), SERVER, limit) is not None) is said


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ([0.0025] * 40, None),  # next to nothing adds nothing
        ([0.9], None),  # one is no job
        ([0.1, 0.3, 0.2], "3 processes, p21 among them, use 60% of a core together"),
    ],
    ids=["next to nothing", "one", "three"],
)
def test_what_counts_as_a_job_and_who_is_named_of_it(each, words):
    """Several that use something, and the busiest of them."""
    rows = [row(1, parent=0), row(SERVER), *(row(20 + n, parent=SERVER, session=20) for n in range(len(each)))]
    found = [Usage(row=member, cpu_share=share) for member, share in zip(rows[2:], each, strict=True)]

    assert together(found, table(*rows), SERVER, 0.05) == words


def test_a_job_counts_as_a_sum_and_heartbeats_do_not_add_to_it():
    """Sixty workers of one kernel; two that were detached from it are in its session; others are other jobs."""
    rows = [row(1, parent=0), row(SERVER), row(20, parent=SERVER)]
    rows += [row(100 + number, parent=20, session=20, name="train") for number in range(8)]
    rows += [row(200, session=20), row(201, session=20), row(300, parent=SERVER, name="other")]
    found = table(*rows)
    small = [Usage(row=each, cpu_share=0.006) for each in rows[3:]]

    words = together(small, found, SERVER, 0.05)

    assert words == "10 processes, train among them, use 6% of a core together"
    assert together(small[:8], found, SERVER, 0.05) is None
    assert together([replace(each, beats=True) for each in small], found, SERVER, 0.05) is None
    assert together([replace(each, cpu_share=0.002) for each in small * 9], found, SERVER, 0.05) is None


LOCAL = "0: 0100007F:1F90 {far} {state} 00000000:00000000 00:00000000 00000000 1000 0 {inode} 1 0000 20 4 30 10 -1"


def test_a_connection_is_outside_when_its_other_end_is_not_on_this_machine():
    """Loopback in both families, and an address that a socket here has, are here; so is what only listens."""
    ends = {
        "1": "0200007F:C000",
        "2": "00000000000000000000000001000000:C000",
        "3": "0000000000000000FFFF00000100007F:C000",
        "4": "020200C0:C000",
        "5": "08080808:01BB",
    }
    lines = [LOCAL.format(far=far, state="01", inode=inode) for inode, far in ends.items()]
    lines.append(LOCAL.replace("0100007F:1F90", "020200C0:1F90").format(far="00000000:0000", state="0A", inode="6"))
    lines.append(LOCAL.format(far="09090909:01BB", state="06", inode="7"))

    assert outside(["", "nonsense", *lines]) == {"5"}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/usr/bin/python3", "/home/u/train.py", "--password=x"], "train.py"),
        (["python", "-m", "torch.distributed.run", "train.py"], "torch.distributed.run"),
        (["python", "-W", "error", "-u", "train.py"], "train.py"),
        (["python", "-Ic", "import secret"], "python3.11"),
        (["bash", "-lc", "curl https://secret"], "python3.11"),
        (["node", "--require", "x", "build.js"], "build.js"),
        (
            ["java", "-cp", "/a:/b", "-Xmx1g", "org.apache.spark.deploy.SparkSubmit"],
            "org.apache.spark.deploy.SparkSubmit",
        ),
        (["python", "-i"], "python3.11"),
        (["/opt/train", "secret"], "python3.11"),
        ([], "python3.11"),
    ],
)
def test_a_program_is_called_by_its_script_and_no_argument_is_told(words, command):
    """As the person who started it would call it; code on a command line is no name."""
    assert command_of("python3.11", words) == command


def test_control_characters_of_a_name_are_escaped():
    """A name cannot paint a terminal, nor forge a line of a log."""
    usage = Usage(row=row(7), cpu_share=1.0, command="\x1b[31mtrain\n.py" + "x" * 99)

    assert usage.words().startswith(r"process \x1b[31mtrain\n.pyxx")
    assert len(usage.words()) < 100


def test_a_long_command_line_is_cut():
    """Names are matched against patterns, each character of each."""
    roles = roles_of("x", ["/bin/python" + "x" * 100_000, "y" * 100_000])

    assert max(len(role) for role in roles) == LONGEST_NAME
