"""What README and docs say a user can do: links, commands with their options, pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from backend.cli import app
from dashboard.navigation import PAGES

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()
COMMANDS = get_command(app)


def said(page: Path) -> list[list[str]]:
    """The words behind ``fusionscope`` of every command in code, blocks and `inline`."""
    text = page.read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    lines += [f"fusionscope {words}" for words in re.findall(r"`fusionscope ([a-z][^`]*)`", prose)]
    spoken = [shlex.split(line, comments=True) for line in lines]
    return [words[words.index("fusionscope") + 1 :] for words in spoken if "fusionscope" in words]


def parse(words: list[str]) -> None:
    """Raises for a command or an option that there is not; values are placeholders."""
    context = COMMANDS.context_class(COMMANDS)
    _, command, rest = COMMANDS.resolve_command(context, words)  # type: ignore[attr-defined]
    command.make_parser(command.context_class(command)).parse_args(rest)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [page for page in DOCS if said(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for words in said(page):
        parse(words)


def test_an_option_or_a_command_that_there_is_not_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["measure", "--stoer", "x"])
    with pytest.raises(Exception, match="No such command"):
        parse(["mesure"])


def test_readme_names_every_page_and_no_other() -> None:
    table = README.partition("## What you see")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| \*\*(\w+)\*\* \|", table, flags=re.M)
    assert sorted(shown) == sorted(entry.title for entry in PAGES)
