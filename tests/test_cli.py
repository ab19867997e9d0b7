"""The command line: what scripts read, and that bad input is one line with exit code 2."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from backend.cli import main
from backend.data.registry import LAYOUTS
from backend.store import Store, kinds
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["fusionscope", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Outcome(int(left.value.code or 0), said.out, said.err)

    return call


def test_the_whole_path_from_training_to_measures(run, tmp_path: Path) -> None:
    small = "small:depth=3,width=16,heads=2"
    data = "macros:n=48,dev=24,test=24"
    trained = run(
        *("train", "--data", data, "--placement", "late", "--seeds", "0,1", "--epochs", 1),
        *("--text-encoder", small, "--vision-encoder", f"{small},patch=16"),
        *("--out", tmp_path / "out", "--device", "cpu"),
    )
    assert trained.code == 0, trained.err
    assert "irony auroc" in trained.out
    store = tmp_path / "store"
    for seed in (0, 1):
        model = tmp_path / "out" / f"seed-{seed}"
        taken = run("capture", "--model", model, "--data", data, "--store", store)
        assert taken.code == 0, taken.err
    assert run("measure", "--store", store).code == 0
    assert run("project", "--store", store, "--method", "pca").code == 0
    assert run("verify", "--store", store).code == 0
    listed = json.loads(run("runs", "--store", store, "--json").out)
    assert [row["run_id"] for row in listed] == ["macros-late-s0", "macros-late-s1"]
    first = listed[0]
    assert set(first) == {
        *("run_id", "model", "placement", "seed", "dataset", "n", "streams", "poolings"),
        *("tokens", "scores"),
    }
    assert (first["placement"], first["seed"], first["n"]) == ("late", 0, 24)
    assert first["streams"][0] == {
        "name": "vision",
        "modality": "vision",
        "depth": 3,
        "width": 16,
        "fusion_layers": [3],
    }
    assert 0 <= first["scores"]["irony.auroc"] <= 1
    run_ = Store(store).run("macros-late-s0")
    assert set(run_.measures()["measure"]) >= {"cka", "effective_dimension"}
    assert run_.manifest.origin.train.startswith("fusionscope train --data")
    assert "macros-late-s0" in run("runs", "--store", store).out


def test_runs_without_activations_keep_measures_and_maps(
    run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.projection.umap_layers.EPOCHS", 5)  # any map will do
    taken = run(
        *("capture", "--model", checkpoint, "--data", "macros:test=12", "--store", tmp_path / "s"),
        *("--run-id", "lean", "--no-activations", "--pooling", "cls"),
    )
    assert taken.code == 0, taken.err
    lean = Store(tmp_path / "s").run("lean")
    assert not lean.has_activations
    assert len(lean.measures(["linear_probe"])) and not lean.keys(kinds.PROBES)
    assert len(lean.projections("vision", 2, "cls", "umap")) == 12


def test_a_streaming_capture_says_its_memory_and_keeps_no_vectors(
    run, checkpoint: Path, tmp_path: Path
) -> None:
    taken = run(
        *("capture", "--model", checkpoint, "--data", "macros:test=12", "--store", tmp_path / "s"),
        *("--run-id", "lean", "--streaming", "--pooling", "mean"),
    )
    assert taken.code == 0, taken.err
    first, last = taken.out.strip().splitlines()
    assert first == (
        "streaming 15 layers and 22 pairs of mean vectors: 0.1 MiB of sums, however many samples"
    )
    assert last.startswith("run lean: 12 samples in ")
    lean = Store(tmp_path / "s").run("lean")
    assert not lean.has_activations
    assert set(lean.measures()["measure"]) >= {"cka", "effective_dimension", "participation_ratio"}
    assert run("verify", "--store", tmp_path / "s").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runs --store nowhere", "does not exist"),
        (
            "capture --model x --data macros --store s --streaming --no-activations",
            "--no-activations: a streaming capture keeps no vectors",
        ),
        (
            "capture --model x --data macros --store s --streaming --dtype float16",
            "--dtype: float16 is how vectors are kept, and a streaming capture keeps none. "
            "Leave out one of --dtype and --streaming",
        ),
        ("serve --store nowhere", "does not exist"),
        ("capture --model x --data macros --store s", "not a local directory"),
        (
            "train --data macros --placement soon --out o",
            "--placement: 'soon': no placement",
        ),
        (
            "train --data macros --placement late --out o --seeds one",
            "--seeds: 'one' is not",
        ),
        ("train --data macros --placement late --out o --task wit", "--task: no task 'wit'"),
        ("train --data imagenet:x --placement late --out o", "unknown layout 'imagenet'"),
        ("check --data hateful_memes:gone", "gone"),
        ("measure --store {empty} --run r", "is not a store"),
        ("measure --store {empty} --run ../r", "r"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    outcome = run(*words.format(empty=tmp_path / "empty").split())
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.strip().count("\n") == 0, outcome.err
    assert not Path("s").exists()
    assert not Path("o").exists()


def test_a_wrong_flag_is_exit_code_2(run) -> None:
    assert run("runs", "--shop", "x").code == 2


def test_verify_finds_a_damaged_file(run, checkpoint: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    words = ("capture", "--model", checkpoint, "--data", "macros:test=8", "--store", store)
    assert run(*words, "--run-id", "r").code == 0
    (victim,) = (store / "runs" / "r" / "activations" / "vision").glob("2-cls/part-*.parquet")
    data = bytearray(victim.read_bytes())
    data[len(data) // 3] ^= 0xFF
    victim.write_bytes(data)
    outcome = run("verify", "--store", store)
    assert outcome.code == 2
    assert "vision/2-cls/part-" in outcome.out


def test_check_names_the_rows_that_cannot_be_used(run, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "captions.csv").write_text("id,image,text\na,gone.png,hello\n")
    outcome = run("check", "--data", f"folder:{folder}")
    assert "gone.png" in outcome.err
    assert run("check", "--data", f"folder:{folder}", "--strict").code == 2


def test_check_says_what_belongs_together_and_refuses_a_group_in_two_splits(
    run, tmp_path: Path
) -> None:
    rows = ["id,image,text,split,group"]
    for at, (split, group) in enumerate([("dev", "g"), ("dev", "g"), ("dev", "h"), ("test", "i")]):
        Image.new("RGB", (8, 8 + at)).save(tmp_path / f"{at}.png")
        rows.append(f"{at},{at}.png,text {at},{split},{group}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    outcome = run("check", "--data", f"folder:{tmp_path}")
    assert outcome.code == 0
    assert "dev: 3 usable samples in 2 groups (given), the largest of 2 samples" in outcome.out
    (tmp_path / "captions.csv").write_text("\n".join(rows).replace("test,i", "test,g"))
    outcome = run("check", "--data", f"folder:{tmp_path}")
    assert outcome.code == 2
    assert "group in two splits: g is in dev and test" in outcome.err


def test_a_taken_port_is_named(run, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with socket.socket() as busy:
        busy.bind(("localhost", 0))
        busy.listen()
        port = busy.getsockname()[1]
        outcome = run("serve", "--store", tmp_path / "s", "--port", port)
    assert outcome.code == 2
    assert str(port) in outcome.err


def test_every_layout_can_be_imported() -> None:
    from importlib import import_module

    for where in LAYOUTS.values():
        module, _, name = where.partition(":")
        assert hasattr(import_module(module, "backend.data"), name)


def test_the_dashboard_s_commands_do_not_import_torch() -> None:
    code = """
import importlib, pkgutil, sys
import backend.cli, backend.jobs.demo, backend.store, dashboard
for module in pkgutil.iter_modules(dashboard.__path__):
    importlib.import_module(f"dashboard.{module.name}")
assert not {"torch", "timm", "umap", "transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def study_store(tmp_path_factory, store_factory) -> Path:
    path = tmp_path_factory.mktemp("study") / "store"
    store_factory.make_store(path, placements=("none", "early", "late"), n=16, projections=False)
    return path


def test_the_table_of_a_study_in_every_format(run, study_store: Path) -> None:
    text = run("table", "--store", study_store, "--baseline", "none")
    assert text.code == 0, text.err
    assert text.out.splitlines()[0].split()[:4] == ["placement", "seeds", "irony", "AUROC"]
    assert [line.split()[0] for line in text.out.splitlines()[2:5]] == ["none", "early", "late"]
    assert "Difference to none" in text.out
    found = json.loads(run("table", "--store", study_store, "--format", "json").out)
    assert len(found["rows"]) == 9 and found["baseline"] is None
    for form, mark in (("latex", r"\mathbf"), ("markdown", "**"), ("csv", "placement,setting")):
        assert mark in run("table", "--store", study_store, "--format", form).out
    only = json.loads(
        run("table", "--store", study_store, "--format", "json", "--metric", "auroc").out
    )
    assert {row["metric"] for row in only["rows"]} == {"auroc"}
    beside = run("table", "--store", study_store, "--published").out
    assert beside.startswith(run("table", "--store", study_store).out)
    assert "Nothing here was published under the same metric" in beside  # these are macros
    assert "Probing Layer-wise Alignment Depth" in beside


def test_the_findings_of_a_study_beside_the_published_ones(run, study_store: Path) -> None:
    text = run("findings", "--store", study_store)
    assert text.code == 0, text.err
    assert "Late fusion wins" in text.out and "Published numbers" in text.out
    found = json.loads(run("findings", "--store", study_store, "--json").out)
    assert [claim["claim"] for claim in found["claims"]] == [
        "transitions",
        "dimension",
        "scores",
        "alignment",
        "interventions",
    ]
    late = next(one for one in found["claims"][2]["findings"] if one["subject"] == "late – early")
    assert late["n"] == 3 and late["low"] < late["value"] < late["high"]
    assert late["verdict"] in ("supported", "no clear difference", "underpowered")
    assert "Probing Layer-wise Alignment Depth" in found["source"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table", "--format", "pdf"), "--format: 'pdf' is not a format. Use one of text, csv"),
        (("table", "--metric", "speed"), "--metric: no run has a score called 'speed'"),
        (("table", "--baseline", "best"), "--baseline: no run has the placement 'best'"),
        (("findings", "--pooling", "max"), "--pooling: unknown pooling 'max'"),
        (("findings", "--preset", "mine"), "--preset: 'mine' is not a preset"),
    ],
)
def test_a_study_refuses_what_is_not_there_in_one_line(
    run, study_store: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = run(words[0], "--store", study_store, *words[1:])
    assert outcome.code == 2 and said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_store_without_scores_says_how_they_come(run, tmp_path: Path, store_factory) -> None:
    store_factory.make_store(
        tmp_path / "s", placements=("late",), seeds=(0,), n=12, scores=False, measures=False
    )
    outcome = run("table", "--store", tmp_path / "s")
    assert outcome.code == 2 and "fusionscope train" in outcome.err
    asked = run("findings", "--store", tmp_path / "s", "--json")
    assert asked.code == 0
    summaries = {claim["summary"] for claim in json.loads(asked.out)["claims"]}
    assert summaries == {"not enough runs"}
