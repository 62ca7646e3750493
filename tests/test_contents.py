"""What is done with files counts where the server serves them, whatever contents manager keeps them; and once."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from jupyter_server.services.contents import handlers as upstream
from jupyter_server.services.contents.manager import ContentsManager
from tornado.httpclient import HTTPClientError
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, HTTPError, RequestHandler

from culling_manager.engine.culler import IdleCuller
from culling_manager.records import Kind
from culling_manager.signals.contents import OTHER, SAVE, SERVED, Contents, Request
from tests.conftest import until
from tests.doubles import NOON
from tests.test_presence import long_ago, open_document

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


class SilentContents(ContentsManager):
    """Documents in a database, as far as anybody can see: nothing of them is a file, and no event is emitted."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows: dict[str, dict[str, Any]] = {}

    def get(self, path: str, content: bool = True, type: Any = None, format: Any = None, **_: Any) -> dict[str, Any]:
        if path.strip("/") not in self.rows:
            raise HTTPError(404, f"{path} is not there")
        row = dict(self.rows[path.strip("/")])
        if not content:
            return {**row, "content": None, "format": None}
        return {**row, "content": nbformat.from_dict(row["content"])} if row["type"] == "notebook" else row

    def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        if model.get("content") == "too much":
            raise HTTPError(500, "the database is full")
        fixed = {"name": path.rsplit("/", 1)[-1], "path": path.strip("/"), "created": NOON, "last_modified": NOON}
        row = {"writable": True, "mimetype": None, "format": None, "content": None, **model, **fixed}
        self.rows[path.strip("/")] = row
        return {**row, "content": None, "format": None}

    def delete_file(self, path: str) -> None:
        del self.rows[path.strip("/")]

    def rename_file(self, old_path: str, new_path: str) -> None:
        self.rows[new_path.strip("/")] = {**self.rows.pop(old_path.strip("/")), "path": new_path.strip("/")}

    def rename(self, old_path: str, new_path: str) -> None:
        self.rename_file(old_path, new_path)

    def delete(self, path: str) -> None:
        self.delete_file(path)

    def copy(self, from_path: str, to_path: str | None = None) -> dict[str, Any]:
        return self.save(self.get(from_path), f"copy-of-{from_path}")

    def dir_exists(self, path: str) -> bool:
        return path.strip("/") == ""

    def file_exists(self, path: str = "") -> bool:
        return path.strip("/") in self.rows

    def is_hidden(self, path: str) -> bool:
        return False

    def create_checkpoint(self, path: str) -> dict[str, Any]:
        return {"id": "first", "last_modified": NOON}

    def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """There is one."""

    def list_checkpoints(self, path: str) -> list[dict[str, Any]]:
        return [self.create_checkpoint(path)]

    def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Gone."""


SILENT = f"{__name__}.SilentContents"
UPSTREAMS = "jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager"
BOTH = pytest.mark.parametrize("manager", [SILENT, UPSTREAMS], ids=["a database that tells nothing", "files"])


@pytest.fixture
def manager() -> str:
    """The contents manager, by its name."""
    return SILENT


@pytest.fixture
def extensions() -> dict[str, bool]:
    """The extensions that the server has."""
    return {"culling_manager": True}


@pytest.fixture
def jp_server_config(jp_server_config, manager, extensions) -> dict[str, Any]:
    """A server with our kernel manager and that contents manager."""
    wanted = {"contents_manager_class": manager, "jpserver_extensions": extensions}
    return {**jp_server_config, "ServerApp": {**jp_server_config["ServerApp"], **wanted}}


@pytest.fixture
def told(jp_serverapp) -> list[tuple[str, str]]:
    """What is told of the server's files from now on."""
    found: list[tuple[str, str]] = []
    Contents.of(jp_serverapp).listen(lambda action, path: found.append((action, path)))
    return found


async def put(jp_fetch, path: str) -> None:
    """Save a notebook as a page does."""
    body = {"type": "notebook", "format": "json", "content": NOTEBOOK}
    await jp_fetch("api", "contents", *path.split("/"), method="PUT", body=json.dumps(body))


async def quiet(jp_serverapp) -> None:
    """Until the event bus has told all that it has to tell."""
    await until(lambda: not jp_serverapp.event_logger._active_listeners)


# -- that it counts ----------------------------------------------------------------------------------------


@BOTH
async def test_seven_saves_in_a_row_count_for_the_notebooks_kernel_and_for_the_app(jp_fetch, jp_serverapp, manager):
    """Each of them: before each, both look as if they were not used for an hour; another kernel stays as it is."""
    saved, other = [await open_document(jp_fetch, name) for name in ("deep.ipynb", "other.ipynb")]
    culler, kernels = IdleCuller.of(jp_serverapp), jp_serverapp.kernel_manager
    signal = culler.guard.signals.signals["documents"]
    for kernel_id in (saved, other):
        await kernels.get_kernel(kernel_id).ready
        kernels.stop_watching_activity(kernel_id)  # whatever a kernel says of its start is not what this is about
    counted = []

    for _ in range(7):
        for kernel_id in (saved, other):
            long_ago(jp_serverapp, kernel_id)
            kernels._source.activity(kernel_id).noted_at = None
        signal._used_at = None
        began = culler.now()
        await put(jp_fetch, "deep.ipynb")
        await quiet(jp_serverapp)
        used, unused = (
            culler.watches[Kind.KERNEL].record_of(each, culler.now()).last_activity for each in (saved, other)
        )
        counted.append((used >= began, unused < began - timedelta(minutes=30), signal.last_use(None) >= began))

    assert counted == [(True, True, True)] * 7


@BOTH
async def test_each_thing_that_is_done_is_told_once(jp_fetch, jp_serverapp, told, manager):
    """By its request, or by the event that comes of it, whichever is first; a checkpoint is as good as a save."""
    await put(jp_fetch, "a.ipynb")
    await jp_fetch("api", "contents", "a.ipynb", "checkpoints", method="POST", allow_nonstandard_methods=True)
    checkpoint = json.loads((await jp_fetch("api", "contents", "a.ipynb", "checkpoints")).body)[0]["id"]
    place = ("api", "contents", "a.ipynb", "checkpoints", checkpoint)
    await jp_fetch(*place, method="POST", allow_nonstandard_methods=True)
    await jp_fetch(*place, method="DELETE")
    await jp_fetch("api", "contents", "a.ipynb", method="PATCH", body=json.dumps({"path": "b.ipynb"}))
    await jp_fetch("api", "contents", method="POST", body=json.dumps({"copy_from": "b.ipynb"}))
    await jp_fetch("api", "contents", "b.ipynb", method="DELETE")
    await quiet(jp_serverapp)

    assert [action for action, _ in told] == [SAVE, SAVE, SAVE, OTHER, OTHER, told[5][0], OTHER]
    assert [path for _, path in told[:4]] == ["a.ipynb"] * 4


async def test_trust_counts_and_is_told_of_its_notebook(jp_fetch, jp_serverapp, told):
    """Somebody clicked on it."""
    await put(jp_fetch, "a.ipynb")

    await jp_fetch("api", "contents", "a.ipynb", "trust", method="POST", allow_nonstandard_methods=True)

    assert told == [(SAVE, "a.ipynb")] * 2


@BOTH
async def test_looking_at_files_is_no_use_of_them(jp_fetch, jp_serverapp, told, manager):
    """An open page does that by itself."""
    await put(jp_fetch, "a.ipynb")
    told.clear()

    await jp_fetch("api", "contents", "a.ipynb")
    await jp_fetch("api", "contents", "a.ipynb", "checkpoints")
    await quiet(jp_serverapp)

    assert told == []


@pytest.mark.parametrize(
    ("path", "body", "params"),
    [
        ("nowhere/a.txt", '{"type": "file", "format": "text", "content": "too much"}', {}),
        ("a.txt", "no JSON", {}),
        ("a.txt", '{"type": "file", "format": "text", "content": "x"}', {"token": "wrong"}),
    ],
    ids=["it fails", "it is no request", "who asks is nobody"],
)
async def test_what_was_refused_is_no_use(jp_fetch, jp_serverapp, told, path, body, params):
    """Nothing was done, and a stranger keeps nothing alive."""
    headers = {"Authorization": "token wrong"} if params else None
    with pytest.raises(HTTPClientError):
        await jp_fetch("api", "contents", path, method="PUT", body=body, headers=headers)

    assert told == []


async def test_what_is_saved_past_the_handlers_counts_by_its_event(jp_serverapp, told):
    """A collaboration saves by itself, with a manager that emits events."""
    contents = "https://events.jupyter.org/jupyter_server/contents_service/v1"
    for action in ("get", "save", "rename"):
        jp_serverapp.event_logger.emit(schema_id=contents, data={"action": action, "path": "/deep/a.ipynb"})

    await quiet(jp_serverapp)

    assert told == [(SAVE, "deep/a.ipynb"), (OTHER, "deep/a.ipynb")]


def test_an_event_long_after_its_request_is_told_too():
    """A request may leave something behind that goes on saving."""
    request = Request()

    found = [request.first(NOON + timedelta(seconds=seconds)) for seconds in (0, 0.999, 1, 1.5, 2)]

    assert found == [True, False, True, False, True]


async def test_who_fails_at_what_is_told_stops_neither_others_nor_the_request(jp_fetch, jp_serverapp, told, caplog):
    """The page has its answer, and the log has the error."""

    def failing(action: str, path: str) -> None:
        raise OSError("no space left")

    contents = Contents.of(jp_serverapp)
    contents._listeners.insert(0, failing)

    await put(jp_fetch, "a.ipynb")

    assert told == [(SAVE, "a.ipynb")]
    assert "no space left" in caplog.text


# -- where it is heard -------------------------------------------------------------------------------------


class TestWithoutTheExtension:
    """The kernel manager alone is selected."""

    @pytest.fixture
    def extensions(self) -> dict[str, bool]:
        return {}

    async def test_a_save_counts(self, jp_fetch, jp_serverapp):
        """It is the manager that listens."""
        kernel_id = await open_document(jp_fetch, "a.ipynb")
        activity = jp_serverapp.kernel_manager._source.activity(kernel_id)
        activity.noted_at = None

        await put(jp_fetch, "a.ipynb")

        assert activity.noted_at is not None
        assert activity.person_at is None


class TestWithAGuest:
    """Another kernel manager has taken the place of ours."""

    @pytest.fixture
    def extensions(self) -> dict[str, bool]:
        return {"culling_manager": True, "tests.stand_in": True}

    async def test_a_save_counts(self, jp_fetch, jp_serverapp):
        """For the kernel of its document, whoever manages that."""
        kernel_id = await open_document(jp_fetch, "a.ipynb")
        guest = IdleCuller.of(jp_serverapp).watches[Kind.KERNEL].source
        kernel = guest.guests.kernel(kernel_id)
        met = kernel._noted_at

        await put(jp_fetch, "a.ipynb")

        assert kernel._noted_at > met
        assert kernel.person_at is None


def test_the_handlers_that_serve_contents_are_found_where_the_server_looks_for_them():
    """Tornado's own way to find them, which `Contents.look` goes, under any base URL; and all that change something."""
    application = Application(
        [(f"/base{pattern}", handler) for pattern, handler in upstream.default_handlers], base_url="/base/"
    )
    server = SimpleNamespace(web_app=application, event_logger=None)

    found = [application.find_handler(HTTPServerRequest("PUT", f"/base/{place}")).handler_class for place in SERVED]
    Contents.of(server).look()

    changing = {
        handler
        for pattern, handler in upstream.default_handlers
        if pattern.startswith("/api/contents")
        and any(getattr(handler, verb) is not getattr(RequestHandler, verb) for verb in ("put", "post", "patch"))
    }
    assert set(found) == changing
    assert all("_culling_tells_contents" in vars(handler) for handler in found)


@pytest.mark.parametrize("server", [None, object(), SimpleNamespace(event_logger=None)])
def test_a_server_that_serves_no_contents_is_none_to_listen_to(server, run):
    """Nothing is heard, nothing is wrong."""

    async def listens() -> list[str]:
        found, contents = [], Contents.of(server)
        if contents is not None:
            contents.listen(found.append)
            contents.leave(found.append)
        return found

    assert run(listens()) == []
