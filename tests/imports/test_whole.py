"""An imported run goes the whole way: commands, measures, pages, and out again."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from backend.cli import main
from backend.errors import InputError
from backend.store import Store
from backend.store.commands import activations_command

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[..., tuple[int, str, str]]
N = 30


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line: exit code, what it printed, what it said on standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionscope", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two models' activations, counted from 0 at the first block's output, with their samples."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((N, 4))
    for name in ("one", "two"):
        arrays = {
            f"blocks.{k}.{stream}": (latent @ rng.standard_normal((4, 6))).astype(np.float32)
            for stream in ("text", "vision")
            for k in range(3)
        }
        np.savez(tmp_path / f"{name}.npz", **arrays)
    rows = {"id": [f"m{i}" for i in range(N)], "text": ["a text"] * N, "label": [0, 1] * (N // 2)}
    pd.DataFrame(rows).to_csv(tmp_path / "memes.csv", index=False)
    pd.DataFrame(
        [("label", "auroc", "all", 0.75)], columns=["task", "metric", "split", "value"]
    ).to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path


def test_two_imported_models_are_measured_compared_shown_and_exported(
    call: Call, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = files / "store"
    for name, more in (
        ("one", ("--fusion", "vision=2,3; text=2", "--scores", files / "scores.csv")),
        ("two", ()),
    ):
        code, out, err = call(
            *("import-activations", files / f"{name}.npz", "--store", store, "--pooling", "mean"),
            *("--pattern", "blocks.{layer}.{stream}", "--first-layer", 1, "--run-id", name),
            *("--samples", files / "memes.csv", *more),
        )
        assert code == 0, err
        assert f"run {name}: 30 samples" in out and "matched by position" in err
        assert ("Fusion layers: 2, 3." if more else "fusion layers were not given") in out
    for words in (("measure", "--workers", 1), ("project", "--method", "pca"), ("verify",)):
        assert call(words[0], "--store", store, *words[1:])[0] == 0, words
    assert call("compare", "one", "two", "--store", store)[0] == 0
    listed = json.loads(call("runs", "--store", store, "--json")[1])
    assert [row["scores"] for row in listed] == [{"auroc": 0.75}, {}]
    assert "one" in call("table", "--store", store, "--format", "csv")[1]
    monkeypatch.setenv("FUSIONSCOPE_STORE", str(store))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    for page in ("runs", "transitions", "compare"):
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception and not app.error, page
        texts = [
            str(item.value) for kind in ("caption", "markdown", "code") for item in app.get(kind)
        ]
        assert not any("fusionscope capture" in text for text in texts), page
        if page == "transitions":
            assert any("fusion layers were not given" in text for text in texts)
    assert (
        call("export", "two", "--store", store, "--out", files / "out", "--format", "npy")[0] == 0
    )
    back = files / "back"
    assert call("import-activations", files / "out", "--store", back)[0] == 0
    run, copy = Store(store).run("two"), Store(back).run("two")
    assert copy.captured() == run.captured()
    np.testing.assert_array_equal(copy.vectors("text", 3, "mean"), run.vectors("text", 3, "mean"))


def test_what_an_imported_run_lacks_is_made_by_importing_it_again(call: Call, files: Path) -> None:
    store = files / "store"
    words = (
        *("import-activations", files / "one.npz", "--store", store),
        *("--pattern", "blocks.{layer}.{stream}"),
    )
    assert call(*words)[0] == 0
    opened = Store(store)
    (run_id,) = opened.run_ids()
    typed = shlex.join(["fusionscope", *map(str, words)])
    assert activations_command(opened.run(run_id).manifest, str(store)) == (
        f"{typed} --run-id {run_id} --replace"
    )
    shutil.rmtree(opened.paths.run(run_id).activations)
    with pytest.raises(InputError, match="fusionscope import-activations") as lacking:
        opened.run(run_id).vectors("text", 1)
    assert "capture" not in str(lacking.value)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--pattern", "h{layer}"), "--pattern: no name matches 'h{layer}'. The names are"),
        (("--fusion", "vision"), "--fusion: 'vision' is not STREAM=VALUE"),
        (("--fusion", "vision=x"), "--fusion: 'x' is not a list of whole numbers"),
        (("--pooling", "max"), "--pooling: 'max' is unknown"),
        (("--samples", "gone.csv"), "gone.csv: no such file"),
        (("--how", "magic"), "--how: 'magic' is unknown"),
    ],
)
def test_bad_options_are_one_line_that_speaks_of_flags(
    words: tuple[str, ...], problem: str, call: Call, files: Path
) -> None:
    given = ("--pattern", "blocks.{layer}.{stream}") if "--pattern" not in words else ()
    code, _, err = call(
        "import-activations", files / "one.npz", "--store", files / "store", *given, *words
    )
    assert code == 2 and problem in err and err.count("\n") == 1
    assert not (files / "store").exists()
