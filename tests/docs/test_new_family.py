"""What the pages for contributors say is so: files, names, code, commands, the order of imports."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from backend.models.families.base import Released

ROOT = Path(__file__).resolve().parents[2]
PAGES = {name: (ROOT / name).read_text() for name in ("CONTRIBUTING.md", "docs/new-family.md")}
PAGE = PAGES["docs/new-family.md"]
EXAMPLE = (ROOT / "docs/example_family/postcards/family.py").read_text()
SOURCES = "\n".join(
    path.read_text()
    for folder in ("backend", "dashboard", "docs/example_family", "tests/models")
    for path in sorted((ROOT / folder).rglob("*.py"))
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.M | re.S)


def quoted(page: str) -> set[str]:
    """Everything in `backticks` outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    return set(re.findall(r"`([^`\n]+)`", prose))


WHOLE = [block for block in blocks(PAGE, "python") if "import" in block]
EXCERPTS = [block for block in blocks(PAGE, "python") if "import" not in block]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    """Of a path with a <placeholder>, the folder."""
    named = {word for word in quoted(PAGES[page]) if re.fullmatch(r"[\w.<>-]*/[\w./<>-]*", word)}
    assert len(named) > 10
    paths = {re.sub(r"/[^/]*<.*", "", word) for word in named}
    missing = [path for path in sorted(paths) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_name_that_a_page_quotes_is_in_the_code(page: str) -> None:
    for word in quoted(PAGES[page]):
        if re.fullmatch(r"\w+\(\)", word):
            assert re.search(rf"def {word[:-2]}\b", SOURCES), word
        elif re.fullmatch(r"[A-Z][a-z]\w*", word):
            assert re.search(rf"^(class )?{word}\b", SOURCES, flags=re.M), word
        elif re.fullmatch(r"[a-z_]\w*", word):
            assert re.search(rf"\b{word}\b", SOURCES), word


@pytest.mark.parametrize("page", PAGES)
def test_every_registry_that_a_page_names_is_in_that_file(page: str) -> None:
    named = re.findall(r"`([A-Z_]+)` (?:in|of) `([\w/]+\.py)`", PAGES[page])
    assert named
    for name, file in named:
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(), flags=re.M), (name, file)


def test_the_code_that_goes_through_the_example_is_the_example_s_own() -> None:
    assert len(EXCERPTS) > 4
    for block in EXCERPTS:
        assert block in EXAMPLE


def test_the_page_s_code_runs_and_its_skeleton_is_a_whole_family(
    capsys: pytest.CaptureFixture[str],
) -> None:
    looking, skeleton = WHOLE
    exec(compile(looking, "looking", "exec"), {})  # noqa: S102
    assert "bridge.attention" in capsys.readouterr().out
    names: dict[str, object] = {}
    exec(compile(skeleton, "skeleton", "exec"), names)  # noqa: S102
    made = names["Name"]
    assert inspect.isclass(made) and issubclass(made, Released)
    assert not inspect.isabstract(made)
    steps = [int(number) for number in re.findall(r"^ *# (\d+)\. ", skeleton, flags=re.M)]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 10


def test_the_steps_are_numbered_in_order() -> None:
    steps = [int(number) for number in re.findall(r"^\*\*(\d+)\. ", PAGE, flags=re.M)]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 10


def test_every_check_of_the_suite_is_explained_and_no_other() -> None:
    suite = (ROOT / "tests/models/test_conformance.py").read_text()
    checks = re.findall(r"^def (test_\w+)\(case", suite, flags=re.M)
    assert re.findall(r"^\| `(test_\w+)` \|", PAGE, flags=re.M) == checks


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_a_page_s_commands_exists(page: str) -> None:
    lines = [line for block in blocks(PAGES[page], "bash") for line in block.splitlines()]
    assert lines
    for line in lines:
        for word in shlex.split(line, comments=True):
            if "/" in word and not word.startswith("cache/"):
                assert (ROOT / word).exists(), line


@pytest.mark.parametrize(
    "file",
    [
        "docs/example_family/postcards/family.py",
        "backend/models/families/paligemma.py",
        "backend/models/families/chinese_clip.py",
    ],
)
def test_a_family_is_a_file_of_under_120_lines_and_a_registry_entry(file: str) -> None:
    """And is not spoken of anywhere else, but where our own family shares names with it."""
    text = (ROOT / file).read_text()
    assert len(text.splitlines()) < 120
    model_type = re.search(r'^    family = "(\w+)"', text, flags=re.M)
    assert model_type is not None
    speaking = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "backend").rglob("*.py")
        if re.search(rf"\b{model_type[1]}\b", path.read_text())
    }
    assert speaking - {file} <= {"backend/models/registry.py"}


def test_packages_import_only_from_those_to_their_left() -> None:
    arrow = re.search(r"`(data -> [\w> -]+)`", PAGES["CONTRIBUTING.md"])
    assert arrow is not None
    order = arrow[1].split(" -> ")
    for at, package in enumerate(order):
        for path in (ROOT / "backend" / package).rglob("*.py"):
            imported = re.findall(r"(?:from|import) backend\.(\w+)", path.read_text())
            wrong = set(imported) & set(order[at + 1 :])
            assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"
