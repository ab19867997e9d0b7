"""The commands pack and doctor, and commands on a packed store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backend.cli import app
from backend.jobs import doctor
from backend.jobs.doctor import Check, examine_store
from backend.store import Store
from backend.store.kinds import COMPARISONS, PROJECTIONS


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def test_a_store_is_packed_and_listed_as_before(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out.duckdb"
    done = command("pack", store.path, file, "--without-activations", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and report["runs"] == 4 and report["vectors"] == 0
    assert report["bytes"] == file.stat().st_size
    listed = [command("runs", "--store", where, "--json").stdout for where in (store.path, file)]
    assert json.loads(listed[0]) == json.loads(listed[1])
    assert "late-seed0" in command("runs", "--store", file).stdout
    again = command("pack", store.path, file)
    assert again.exit_code != 0 and "exists already" in str(again.exception)
    assert "`" not in str(again.exception) and "--replace" in str(again.exception)
    assert command("pack", store.path, file, "--replace").exit_code == 0
    changed = command("measure", "--store", file)
    assert changed.exit_code != 0 and "is packed and read-only" in str(changed.exception)


def wrong(store: Store) -> dict[str, Check]:
    return {check.words.split(":")[0]: check for check in examine_store(store.path) if check.mend}


def test_the_doctor_names_what_is_wrong_with_a_store_and_what_mends_it(store: Store) -> None:
    runs = store.path / "runs"
    first = store.run("late-seed0")
    rows = first.measures(["cka"]).drop(columns="key").head(3)
    store.pair("late-seed0", "none-seed0").add(COMPARISONS, rows, "default-cka")
    store.pair("late-seed1", "none-seed1").add(COMPARISONS, rows, "default-cka")
    assert {words for words in wrong(store) if "replaced" in words} == set()
    run_json = runs / "none-seed0/run.json"
    run_json.write_text(run_json.read_text().replace("macros", "others"))
    shutil.rmtree(runs / "none-seed1")
    shutil.rmtree(runs / "late-seed0/projections")
    (runs / "late-seed1/run.json").write_text("{")
    (runs / ".deleted-x-1").mkdir()
    (runs / ".partial-lost").mkdir()
    (runs / "bare").mkdir()
    found = {check.about: check for check in examine_store(store.path) if check.state == "wrong"}
    assert found["late-seed1"].mend == f"rm -r {runs / 'late-seed1'}"
    assert not {".deleted-x-1", ".partial-lost"} & {path.name for path in runs.iterdir()}
    assert found["bare"].mend == f"rm -r {runs / 'bare'}"
    assert "not there" in found["late-seed1~none-seed1"].words
    stale = found["late-seed0~none-seed0"]
    assert "none-seed0 was replaced" in stale.words
    assert stale.mend.endswith(f"fusionscope compare late-seed0 none-seed0 --store {store.path}")
    missing = wrong(store)["has no projections"]
    assert missing.about == "late-seed0" and not first.keys(PROJECTIONS)
    assert missing.mend == f"fusionscope project --store {store.path} --run late-seed0"


def test_the_doctor_says_what_goes_on_with_unfinished_work(store: Store, store_factory) -> None:  # type: ignore[no-untyped-def]
    manifest = store_factory.make_manifest("half")
    with store.writer(manifest) as writer:
        writer.write_part(store_factory.make_samples(5), store_factory.make_vectors(manifest, 5))
    check = next(check for check in examine_store(store.path) if check.about == "half")
    # A command that is put together from run.json lacks options, and would begin anew.
    assert "the command that began it goes on" in check.words and check.mend == ""


def test_the_exit_code_is_1_where_something_is_wrong(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [Check("Python", "3"), Check("model hub", "cannot be reached", "note")]
    monkeypatch.setattr(doctor, "environment", lambda store: iter(checks))
    well = command("doctor", "--json")
    assert well.exit_code == 0
    assert [check["state"] for check in json.loads(well.stdout)] == ["ok", "note"]
    checks.append(Check("numpy", "is not installed", "wrong", "pip install numpy"))
    ill = command("doctor")
    assert ill.exit_code == 1 and "! numpy: is not installed" in ill.stdout
    assert "    pip install numpy" in ill.stdout and "1 thing wrong" in ill.stdout


@pytest.mark.parametrize(
    ("version", "state"), [("0.0.1", "wrong"), ("99.0", "ok"), (None, "wrong")]
)
def test_packages_are_held_against_our_own_bounds(
    monkeypatch: pytest.MonkeyPatch, version: str | None, state: str
) -> None:
    real = doctor.metadata.version

    def installed(name: str) -> str:
        if name != "duckdb":
            return real(name)
        if version is None:
            raise doctor.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(doctor.metadata, "version", installed)
    check = next(check for check in doctor._packages() if check.about == "duckdb")
    assert check.state == state
    assert ("-m pip install duckdb>=" in check.mend.replace("'", "")) == (state == "wrong")
    others = [check for check in doctor._packages() if check.about in ("Python", "numpy")]
    assert [check.state for check in others] == ["ok", "ok"]
