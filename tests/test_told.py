"""What an admin has to be told before trusting this, is told where it is looked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Everything in which somebody may find a command to type.
PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in ("config", "lcc", "culling_manager") for path in (ROOT / folder).rglob("*")),
]
SHOWN = [path for path in PAGES if path.suffix in (".md", ".py", ".sh", ".yaml", ".json") and "lab" not in path.parts]
NAME = "sagemaker_studio_autoshutdown"


def installs(text: str) -> list[str]:
    """What is given to each `pip install` that stands in a text."""
    return re.findall(r"pip3? install([^`\n;&|]*)", text)


def from_an_index(arguments: str) -> bool:
    """Whether our package is asked for by its name, of whatever index there is, and taken unseen."""
    named = re.search(rf"(^|[\s'\"]){NAME}(\[\w+\])?(==\S*)?(?=$|[\s'\"])", arguments)
    return named is not None and "--no-index" not in arguments and "--require-hashes" not in arguments


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_tells_anybody_to_install_the_package_by_its_name_from_an_index(path):
    """The name is not registered on PyPI as far as we know: whoever registers it would be installed."""
    assert [each for each in installs(path.read_text(errors="replace")) if from_an_index(each)] == []


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (f" {NAME}", True),
        (f" '{NAME}[gpu]'", True),
        (f" {NAME}==1.0", True),
        (" '.[server]'", False),
        (f" --no-index --find-links wheels {NAME}", False),
        (f" {NAME}-1.0-py3-none-any.whl", False),
        (f" --require-hashes {NAME}==1.0 --hash=sha256:0", False),
    ],
)
def test_a_name_that_would_be_looked_for_in_an_index_is_found(arguments, taken):
    """Else the test above would prove nothing."""
    assert from_an_index(arguments) is taken


TOLD = {
    "whom bounds bind": ("README.md", r"bind nobody who runs code as the server's user"),
    "whose apps an asterisk is": ("config/iam/README.md", r"`app/DOMAIN_ID/\*/jupyterlab/default` is everybody's in"),
    "what a role may write in another's stream": ("lcc/README.md", r"may write into the stream of any other user"),
}


@pytest.mark.parametrize(("page", "words"), TOLD.values(), ids=TOLD)
def test_what_we_do_not_protect_from_is_said(page, words):
    """Plainly, and on the page where the thing is offered."""
    assert re.search(words, (ROOT / page).read_text())
