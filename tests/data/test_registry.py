from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.data import LAYOUTS, PairSource, open_source
from backend.data.base import Pair
from backend.data.registry import parse
from backend.errors import InputError


@pytest.mark.parametrize("spec", ["", "koko:x", "hm:x", ":x", "Hateful_Memes:x", "../x"])
def test_an_unknown_layout_names_the_known_ones(spec):
    with pytest.raises(InputError, match=r"unknown layout.*hateful_memes, mmimdb, food101, nlvr"):
        open_source(spec)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "macros"])
def test_a_layout_on_disk_needs_a_folder_that_exists(layout, tmp_path: Path):
    (tmp_path / "file").touch()
    for spec, message in [
        (layout, "no path"),
        (f"{layout}: ", "no path"),
        (f"{layout}:{tmp_path}/none", "no such folder"),
        (f"{layout}:{tmp_path}/file", "not a folder"),
        (f"{layout}:a\0b", "not a usable path"),
        (f"{layout}:{'x' * 5000}", "not a usable path|no such folder"),
    ]:
        with pytest.raises(InputError, match=message):
            open_source(spec)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "macros"])
def test_an_empty_folder_says_what_the_layout_expects(layout, tmp_path: Path):
    with pytest.raises(InputError, match="It has "):
        open_source(f"{layout}:{tmp_path}")


def test_an_unknown_option_names_the_known_ones(memes: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"no option 'colour'.*It has none"):
        open_source(f"hateful_memes:{memes}", colour="red")
    with pytest.raises(InputError, match=r"no option 'colour'.*columns"):
        open_source(f"folder:{tmp_path}", colour="red")


def test_the_path_may_hold_colons_and_a_home(memes: Path, monkeypatch):
    moved = memes.rename(memes.parent / "a:b")
    assert open_source(f"hateful_memes:{moved}").name == "a:b"
    monkeypatch.setenv("HOME", str(moved.parent))
    assert open_source("hateful_memes:~/a:b").name == "a:b"


def test_a_relative_path_survives_a_change_of_directory(memes: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(memes.parent)
    source = open_source("hateful_memes:hm")
    monkeypatch.chdir("/")
    assert isinstance(next(source.pairs("train")), Pair)
    assert isinstance(source, PairSource)


def test_importing_the_registry_imports_no_heavy_library():
    code = "import sys, backend.data; print(*(m for m in ('torch','pyarrow','pandas','numpy','PIL')"
    code += " if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_source_can_be_sent_to_another_process(memes: Path):
    import pickle

    source = pickle.loads(pickle.dumps(open_source(f"hateful_memes:{memes}")))  # noqa: S301
    assert sum(1 for _ in source.pairs("train")) == 6


def test_a_spec_is_a_path_and_the_options_of_its_layout() -> None:
    def parts(spec: str) -> tuple[str, dict[str, object]]:
        said = parse(spec)
        return said.path, said.arguments

    assert parts("folder:a, b:c,d=e") == ("a, b:c,d=e", {})
    assert parts("folder:~/x, text=Post, or title=no, image=File name,group=,label=a,label=b") == (
        "~/x",
        {
            "columns": {
                "text": ("Post, or title=no",),
                "image": ("File name",),
                "group": (),
                "label": ("a", "b"),
            }
        },
    )
    assert parts("macros:n=4,seed=2") == ("n=4,seed=2", {})
    assert parts("nlvr:scenes,text=Title") == ("scenes,text=Title", {})


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("folder:{0},title=x", "Behind a path of folder may stand these: id, image, text, audio"),
        ("nlvr:{0},text=Title", "Behind a path of nlvr may stand nothing"),
    ],
)
def test_what_is_no_option_of_the_layout_is_told_what_is(spec: str, hint: str, tmp_path: Path):
    with pytest.raises(InputError, match=f"no such folder. {hint}"):
        open_source(spec.format(tmp_path))
