"""Streaming capture: the measures of vectors that are never kept, whatever happens meanwhile."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.capture.options import CaptureOptions
from backend.capture.sinks import PooledSink, Vectors
from backend.errors import InputError
from backend.jobs import streaming
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.jobs.measure import measure_frames, measure_store
from backend.jobs.project import project_run
from backend.jobs.streaming import StreamPlan, streaming_key
from backend.measures import CKAStream
from backend.remarks import in_words
from backend.store import Run, RunWriter, Store
from backend.store.streams import StreamInfo
from backend.store.verify import verify
from backend.store.workplace import Workplace
from backend.types import LayerRef, matched_layers
from tests.tiny import tiny_checkpoint
from tests.watch import Watch

PLACES = [f"{what}_{side}" for side in "ab" for what in ("stream", "layer", "site")]
KEYS = ["measure", *PLACES, "pooling", "estimator"]
NUMBERS = ["value", "null_mean", "null_sd"]


class CrashError(BaseException):
    """What no code catches: a power cut, as far as a test can have one."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


def streaming_request(checkpoint: Path, store: Path) -> CaptureRequest:
    return CaptureRequest(
        model=str(checkpoint),
        data="macros",
        store=str(store),
        run_id="r",
        streaming=True,
        options=CaptureOptions(limit=20, batch_size=4, device="cpu"),
    )


@pytest.fixture
def request_for(checkpoint: Path, tmp_path: Path) -> Callable[..., CaptureRequest]:
    def make(**changes: object) -> CaptureRequest:
        base = streaming_request(checkpoint, tmp_path / "store")
        return replace(base, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Three parts: 8, 8 and 4 samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_FEWEST_ROWS", 8)
        yield


def capture(request: CaptureRequest, **kwargs: object) -> Run:
    run_capture(request, open_request(request), **kwargs)  # type: ignore[arg-type]
    return Store(request.store).run(request.run_id or "")


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, small_parts: None) -> Run:
    """An uninterrupted streaming capture."""
    return capture(streaming_request(checkpoint, tmp_path_factory.mktemp("whole") / "store"))


def same(run: Run, whole: Run) -> None:
    assert list(run.sample_ids()) == list(whole.sample_ids())
    assert len(set(run.sample_ids())) == run.n == 20
    pd.testing.assert_frame_equal(run.measures(), whole.measures(), rtol=1e-12, atol=1e-12)


def test_a_run_has_the_measures_of_its_vectors_and_no_vectors(
    request_for: Callable[..., CaptureRequest], whole: Run
) -> None:
    full = capture(request_for(run_id="full", streaming=False))
    measured = pd.concat(frame for _, frame in measure_frames(full))
    assert not whole.has_activations
    names = {path.name for path in whole.contents.paths.dir.rglob("*") if path.is_file()}
    keys = {f"{streaming_key(pooling)}.parquet" for pooling in ("cls", "mean")}
    parts = {f"part-{start:09d}.parquet" for start in (0, 8, 16)}
    assert names == {"run.json", "tokens.parquet", *parts, *keys}
    columns = [*full.samples().columns, "thumbnail"]
    pd.testing.assert_frame_equal(whole.samples(columns), full.samples(columns))
    both = whole.measures().merge(measured, on=KEYS, suffixes=("", "_full"))
    assert len(both) == len(whole.measures()) > 0
    for name in NUMBERS:
        np.testing.assert_allclose(both[name], both[f"{name}_full"], atol=1e-6)
    for name in ("n", "reason", "params"):
        assert both[name].equals(both[f"{name}_full"]), name
    assert verify(Store(whole.contents.paths.dir.parent.parent)) == []


def test_samples_that_belong_together_are_told_to_the_measures(
    request_for: Callable[..., CaptureRequest], whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = np.array([f"photo {at // 2}" for at in range(20)], dtype=object)
    monkeypatch.setattr(RunWriter, "groups", lambda self: pairs)
    rows = capture(request_for()).measures(["cka"])
    assert whole.measures(["cka"])["null_mean"].notna().any()
    assert rows["null_mean"].isna().all() and rows["value"].notna().any()
    assert rows["warnings"].map(in_words).str.contains("samples that belong together").all()


def test_every_tracked_pair_and_every_site_is_measured(whole: Run) -> None:
    rows = whole.measures(["cka"])
    found = set(rows[PLACES].itertuples(index=False, name=None))
    vision, text = (whole.manifest.stream(name) for name in ("vision", "text"))
    wanted = {(a, b) for spec in (vision, text) for a, b in zip(spec.layers, spec.layers[1:])}  # noqa: B905
    wanted |= set(matched_layers(vision, text))
    for spec in (vision, text):
        for k in spec.fusion_layers:
            output = LayerRef(spec.name, k, "fusion")
            wanted |= {(spec.layers[k - 1], output), (output, spec.layers[k])}
        wanted |= {(spec.layers[-1], ref) for ref in spec.refs if ref.site == "norm"}
    assert found == {(a.stream, a.layer, a.site, b.stream, b.layer, b.site) for a, b in wanted}
    assert len(rows) == len(wanted) * 4  # two poolings, two estimators
    assert set(rows["estimator"]) == {"biased", "debiased"}
    sites = {(s.name, r.layer, r.site) for s in whole.streams for r in s.refs}
    for measure in ("effective_dimension", "participation_ratio"):
        single = whole.measures([measure])
        assert set(single[PLACES[:3]].itertuples(index=False, name=None)) == sites
    constant = rows[
        rows["stream_a"].eq("vision") & rows["layer_a"].eq(0) & rows["pooling"].eq("cls")
    ]
    assert constant["value"].isna().all()
    said = constant["reason"].map(in_words)
    assert said.str.contains("the summary token does not depend on the image").all()


def test_while_it_runs_no_vector_is_on_disk(request_for: Callable[..., CaptureRequest]) -> None:
    request = request_for()
    seen = []

    def look(*_: object) -> bool:
        for path in Path(request.store).rglob("part-*.parquet"):
            seen.append(pq.read_schema(path).names)
        return False

    capture(request, progress=Watch(look))
    assert seen
    assert all(names[0] == "sample_id" and names[-1] == "thumbnail" for names in seen)
    assert not any("vision" in name or "cls" in name for names in seen for name in names)


def test_batches_and_parts_do_not_change_the_measures(
    request_for: Callable[..., CaptureRequest], whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_GATHERED_ROWS", 3)
    monkeypatch.setattr(streaming, "_FEWEST_ROWS", 13)
    options = CaptureOptions(limit=20, batch_size=3, device="cpu")
    other = capture(request_for(options=options)).measures()
    for name in NUMBERS:  # the model rounds in float32, and otherwise in a batch of another size
        np.testing.assert_allclose(other[name], whole.measures()[name], rtol=1e-4, atol=1e-5)


def crash(owner: type, name: str, at: int, after: bool) -> Callable[[pytest.MonkeyPatch], None]:
    """Makes the ``at``-th call of a method end the capture, before or after it did its work."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        true, calls = getattr(owner, name), iter(range(1, 10**6))

        def method(*args: object, **kwargs: object) -> object:
            call = next(calls)
            if call == at and not after:
                raise CrashError
            out = true(*args, **kwargs)
            if call == at:
                raise CrashError
            return out

        monkeypatch.setattr(owner, name, method)

    return patch


# Two poolings: sums are saved twice a part. ``_forget``: on opening, then before each part.
STEPS = {
    "before the first sums": (crash(CKAStream, "save", 1, after=False), 0),
    "between the poolings of the first part": (crash(CKAStream, "save", 1, after=True), 0),
    "sums of the first part without the part": (crash(RunWriter, "write_part", 1, False), 0),
    "after the first part": (crash(RunWriter, "write_part", 1, after=True), 8),
    "while old sums are deleted": (crash(streaming.StreamBuffer, "_forget", 3, after=True), 8),
    "between the poolings of the second part": (crash(CKAStream, "save", 3, after=True), 8),
    "sums of the second part without the part": (crash(RunWriter, "write_part", 2, False), 8),
    "after the second part": (crash(RunWriter, "write_part", 2, after=True), 16),
    "while a batch is summed": (crash(CKAStream, "update", 5, after=True), 16),
    "after the last part": (crash(RunWriter, "write_part", 3, after=True), 20),
    "between the measures": (crash(RunWriter, "add", 2, after=False), 20),
    "before the commit": (crash(RunWriter, "commit", 1, after=False), 20),
    "within the commit": (crash(Workplace, "publish", 1, after=False), 20),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_changes_nothing_and_counts_nobody_twice(
    request_for: Callable[..., CaptureRequest],
    whole: Run,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    patch, safe = STEPS[step]
    with monkeypatch.context() as crashing:
        patch(crashing)
        with pytest.raises(CrashError):
            capture(request_for())
    assert "r" not in Store(request_for().store).run_ids()
    resumed = Watch()
    run = capture(request_for(), progress=resumed)
    assert resumed.told[0][0] == safe
    same(run, whole)
    assert run.measures().equals(whole.measures())


def test_a_crash_after_a_crash_with_other_batches_counts_nobody_twice(
    request_for: Callable[..., CaptureRequest], whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of a part that never came must not be taken for those of a smaller one."""
    with monkeypatch.context() as crashing:
        crash(RunWriter, "write_part", 2, after=False)(crashing)
        with pytest.raises(CrashError):
            capture(request_for())
    other = request_for(options=CaptureOptions(limit=20, batch_size=2, device="cpu"))
    with monkeypatch.context() as crashing:
        crashing.setattr(streaming, "_FEWEST_ROWS", 2)
        crash(RunWriter, "write_part", 3, after=False)(crashing)
        with pytest.raises(CrashError):
            capture(other)
    run = capture(request_for())
    assert list(run.sample_ids()) == list(whole.sample_ids())
    a, b = run.measures(), whole.measures()
    for name in NUMBERS:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5)
    assert set(a["n"]) == {20}


def state_files(request: CaptureRequest) -> list[Path]:
    return sorted(Path(request.store).rglob("sums-*.npz"))


@pytest.fixture
def cut(request_for: Callable[..., CaptureRequest]) -> Iterator[CaptureRequest]:
    """A capture that stopped after its second part (16 samples)."""
    with pytest.MonkeyPatch.context() as crashing:
        crash(RunWriter, "write_part", 2, after=True)(crashing)
        with pytest.raises(CrashError):
            capture(request_for())
    return request_for()


def test_unfinished_work_holds_the_sums_of_the_last_two_parts(cut: CaptureRequest) -> None:
    assert [path.name for path in state_files(cut)] == [
        *("sums-000001-cls.npz", "sums-000001-mean.npz"),
        *("sums-000002-cls.npz", "sums-000002-mean.npz"),
    ]
    assert {CKAStream.load(path).n for path in state_files(cut)} == {8, 16}


@pytest.mark.parametrize(
    ("damage", "safe"),
    [
        (lambda files: files[3].write_bytes(files[3].read_bytes()[:-200]), 8),
        (lambda files: files[2].unlink(), 8),
        (lambda files: files[2].write_bytes(files[0].read_bytes()), 8),
        (lambda files: [path.unlink() for path in files], 0),
    ],
    ids=["truncated", "one pooling missing", "of another part", "all missing"],
)
def test_damaged_sums_cost_their_part_and_nothing_else(
    cut: CaptureRequest,
    whole: Run,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[list[Path]], object],
    safe: int,
) -> None:
    damage(state_files(cut))
    resumed = Watch()
    with caplog.at_level(logging.WARNING):
        run = capture(cut, progress=resumed)
    assert resumed.told[0][0] == safe
    assert f"the sums of {16 - safe} samples are missing or damaged" in caplog.text
    same(run, whole)


def test_a_damaged_last_part_goes_back_to_the_sums_before_it(
    cut: CaptureRequest, whole: Run
) -> None:
    last = max(Path(cut.store).rglob("part-*.parquet"))
    last.write_bytes(last.read_bytes()[:-40])
    resumed = Watch()
    run = capture(cut, progress=resumed)
    assert resumed.told[0][0] == 8
    same(run, whole)


KILLED = """
import os, signal, sys
import numpy as np
from backend.capture.options import CaptureOptions
from backend.jobs import streaming
from backend.jobs.capture import CaptureRequest, open_request, run_capture
streaming._FEWEST_ROWS = 8
step, at = sys.argv[3], int(sys.argv[4])
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "half-written sums":
    true, calls = np.savez, iter(range(1, 100))
    def savez(handle, **arrays):
        if next(calls) < at:
            return true(handle, **arrays)
        handle.write(b"PK half of a file")
        handle.flush()
        die()
    np.savez = savez
class Progress:
    def advance(self, done, total, what=""):
        if step == "forward pass" and done >= at:
            die()
request = CaptureRequest(model=sys.argv[1], data="macros", store=sys.argv[2], run_id="r",
    streaming=True, options=CaptureOptions(limit=20, batch_size=4, device="cpu"))
run_capture(request, open_request(request), progress=Progress())
"""


@pytest.mark.parametrize(
    ("step", "at", "safe"), [("forward pass", 12, 8), ("half-written sums", 4, 8)]
)
def test_a_killed_process_leaves_what_the_next_one_needs(
    request_for: Callable[..., CaptureRequest], whole: Run, step: str, at: int, safe: int
) -> None:
    request = request_for()
    words = [sys.executable, "-c", KILLED, request.model, request.store, step, str(at)]
    killed = subprocess.run(words, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = Watch()
    run = capture(request, progress=resumed)
    assert resumed.told[0][0] == safe
    same(run, whole)


@pytest.mark.parametrize("first", [True, False])
def test_a_capture_with_vectors_and_one_without_do_not_go_on_with_each_other_s_work(
    request_for: Callable[..., CaptureRequest], monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr("backend.store.vectors._PART_ROWS", 8)
    with monkeypatch.context() as crashing:
        crash(RunWriter, "write_part", 2, after=True)(crashing)
        with pytest.raises(CrashError):
            capture(request_for(streaming=first))
    resumed = Watch()
    run = capture(request_for(streaming=not first), progress=resumed)
    assert resumed.told[0][0] == 0
    assert run.n == 20
    assert run.has_activations is first
    assert bool(len(run.measures())) is not first
    assert run.manifest.streaming is not first


def test_the_manifest_of_a_capture_with_vectors_is_as_it_was(
    request_for: Callable[..., CaptureRequest], whole: Run
) -> None:
    full = open_request(request_for(streaming=False)).manifest
    assert "streaming" not in full.to_json()
    assert '"streaming": true' in whole.contents.paths.manifest.read_text()
    assert whole.manifest.streaming
    assert not full.same_work(open_request(request_for()).manifest)


def test_a_streaming_run_refuses_vectors(request_for: Callable[..., CaptureRequest]) -> None:
    opened = open_request(request_for())
    store = Store.create(request_for().store)
    samples = pa.table({"sample_id": ["a"], "split": ["test"], "text": ["b"]})
    vectors = {(LayerRef("text", 0), "cls"): np.zeros((1, 16), np.float32)}
    with (
        store.writer(opened.manifest) as writer,
        pytest.raises(ValueError, match="keeps no vectors"),
    ):
        writer.write_part(samples, vectors)  # type: ignore[arg-type]


def test_measuring_or_projecting_it_later_names_the_command_that_makes_the_vectors(
    whole: Run, caplog: pytest.LogCaptureFixture
) -> None:
    assert measure_store(Store(whole.contents.paths.dir.parent.parent), [whole.run_id]) == []
    assert project_run(whole, method="pca") == []
    assert "fusionscope capture --model" in caplog.text
    assert "--streaming" not in caplog.text


def test_memory_is_known_beforehand_and_parts_grow_with_it(
    request_for: Callable[..., CaptureRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for()
    plan = StreamPlan.of(open_request(request).manifest)
    held: list[int] = []
    true = streaming.StreamBuffer.add_measures

    def look(self: streaming.StreamBuffer) -> list[str]:
        held.append(sum(stream.nbytes for stream in self.streams.values()))
        return true(self)

    monkeypatch.setattr(streaming.StreamBuffer, "add_measures", look)
    capture(request)
    assert held == [plan.nbytes]
    assert plan.part_rows(4) == 8
    wide = tuple(
        StreamInfo.of(replace(s, sites=tuple(replace(site, width=1024) for site in s.sites)))
        for s in plan.manifest.streams
    )
    model = plan.manifest.model.model_copy(update={"streams": wide})
    large = StreamPlan.of(plan.manifest.model_copy(update={"model": model}))
    assert large.part_rows(32) % 32 == 0
    assert large.part_rows(32) == 8192


def test_a_value_that_cannot_be_summed_names_sample_and_layer(
    request_for: Callable[..., CaptureRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = PooledSink.vectors

    def with_nan(self: PooledSink) -> Vectors:
        vectors = true(self)
        vectors[LayerRef("text", 2), "mean"][1, 3] = np.nan
        return vectors

    monkeypatch.setattr(PooledSink, "vectors", with_nan)
    said = r"layer 2 of text has a NaN or infinite mean vector for sample 'test-000001'"
    with pytest.raises(InputError, match=said):
        capture(request_for())
    assert Store(request_for().store).run_ids() == ()


def test_combinations_without_sense_are_refused(
    request_for: Callable[..., CaptureRequest],
) -> None:
    with pytest.raises(InputError, match=r"^dtype: float16 is how vectors are kept"):
        open_request(request_for(options=CaptureOptions(dtype="float16")))
    with pytest.raises(InputError, match="at least 4 samples, got 3"):
        open_request(request_for(options=CaptureOptions(limit=3, batch_size=4, device="cpu")))
