"""How long the pages' questions take on large stores, which are made for it in a temporary folder.

Opening: a store of 20 runs beside one of 2,000. Questions: 200 runs with ten million rows of
activations in all, and as many coordinates. Each question is asked cold (the first time: files are
looked through before DuckDB reads them) and warm; what the dashboard keeps is left out. Peak memory
is that of a process which asks everything.

    uv run python benchmarks/queries.py [--runs 2000] [--questions-only] [--packed]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from backend.store import Store
from backend.store.index import INDEX_NAME
from backend.store.kinds import DRIVERS, MEASURES, PROJECTIONS, SCORES
from backend.store.manifest import Manifest
from backend.store.pack import pack
from backend.types import LayerRef
from backend.views import queries, questions, store_access
from backend.views.groups import RunGroup
from backend.views.store_access import StoreView

DEMO = Path(__file__).resolve().parents[1] / "cache" / "demo"
PLACEMENTS = ("none", "full", "early", "middle", "late")
OPEN_RUNS = (20, 2_000)
QUESTION_RUNS = 200
ACTIVATION_ROWS = 10_000_000
REPEATS = 5


def manifest_of(run_id: str, placement: str, seed: int, n: int) -> Manifest:
    """The demo's run of a placement under another id and seed, with ``n`` samples."""
    manifest = Store(DEMO).run(f"macros-{placement}-s0").manifest
    dataset = manifest.dataset.model_copy(update={"n": n})
    return manifest.model_copy(update={"run_id": run_id, "seed": seed, "dataset": dataset})


def write_template(store: Store, placement: str, n: int) -> None:
    """A run of ``n`` samples with everything that a run of the demo has; vectors are noise."""
    model = Store(DEMO).run(f"macros-{placement}-s0")
    manifest = manifest_of(placement, placement, 0, 0)
    rng = np.random.default_rng(0)
    ids = [f"sample-{row:06d}" for row in range(n)]
    first = model.samples(columns=["split", "text", *_labels(manifest), "thumbnail"])
    columns = {name: np.resize(first[name].to_numpy(object), n).tolist() for name in first}
    samples = pa.table({"sample_id": ids, **columns})
    with store.writer(manifest) as writer:
        vectors = {}
        for ref, pooling in manifest.captures:
            width = manifest.stream(ref.stream).width_of(ref)
            vectors[ref, pooling] = rng.standard_normal((n, width)).astype(manifest.dtype)
        writer.write_part(samples, vectors)
        for kind in (MEASURES, DRIVERS):
            for key in model.keys(kind):
                rows = model.table(kind, [key]).drop_columns(["key"]).to_pandas()
                if kind is DRIVERS:
                    rows["sample_id"] = np.resize(np.array(ids), len(rows))
                writer.add(kind, rows, key)
        coordinates = rng.standard_normal((len(manifest.captures), n, 2)).astype(np.float32)
        for pooling in manifest.poolings:
            frames = [
                pd.DataFrame(
                    {
                        "sample_id": ids,
                        "stream": ref.stream,
                        "layer": ref.layer,
                        "site": ref.site,
                        "pooling": pooling,
                        "method": "umap",
                        "x": coordinates[at, :, 0],
                        "y": coordinates[at, :, 1],
                    }
                )
                for at, (ref, held) in enumerate(manifest.captures)
                if held == pooling
            ]
            writer.add(PROJECTIONS, pd.concat(frames, ignore_index=True), f"umap-{pooling}")
        writer.add(SCORES, model.scores())
        writer.commit()


def _labels(manifest: Manifest) -> list[str]:
    return [f"label_{task.name}" for task in manifest.tasks]


def make_store(path: Path, runs: int, n: int, *, link: bool) -> Store:
    """A store of copies of five runs; ``link`` shares the tables' bytes between them."""
    store = Store.create(path)
    for placement in PLACEMENTS:
        write_template(store, placement, n)
    for at in range(runs - len(PLACEMENTS)):
        placement, seed = PLACEMENTS[at % len(PLACEMENTS)], 1 + at // len(PLACEMENTS)
        target = store.path / "runs" / f"{placement}-s{seed}"
        copy = os.link if link else shutil.copy2
        shutil.copytree(store.path / "runs" / placement, target, copy_function=copy)
        run_json = target / "run.json"
        raw = json.loads(run_json.read_text())
        run_json.unlink()  # may be a link
        run_json.write_text(json.dumps(raw | {"run_id": target.name, "seed": seed}))
    return store


def median_ms(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Milliseconds of the middle one of several."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1_000 * (time.perf_counter() - start))
    return statistics.median(times)


def opened(path: Path) -> object:
    """What the sidebar and the page Runs need, from nothing but the path."""
    store_access._opened.cache_clear()
    store_access._grouped.cache_clear()
    overview = store_access.overview(str(path))
    return [run.own_scores() for run in overview.runs], overview.groups[0].manifest


def bench_opening(folder: Path, sizes: tuple[int, int]) -> None:
    """Stores of two sizes, opened in turns."""
    paths = []
    for runs in sizes:
        make_store(folder / str(runs), runs, 12, link=True)
        paths.append(folder / str(runs))
    print("\nOpening (Store(path), every run grouped, all scores)")
    first = [median_ms(lambda path=path: opened(path), 1) for path in paths]
    warm = [
        [median_ms(lambda path=path: opened(path), 1) for path in paths] for _ in range(REPEATS)
    ]
    again = [
        median_ms(lambda path=path: store_access.overview(str(path)), REPEATS) for path in paths
    ]
    middle = [statistics.median(column) for column in zip(*warm, strict=True)]
    rows = {
        "first time ever": first,
        "by another process (index)": middle,
        "on the next click": again,
    }
    for what, times in rows.items():
        small, large = times
        line = f"{what:30} {small:9.1f} ms {large:9.1f} ms   x {large / small:.1f}"
        print(line)
    for path in paths:
        shutil.rmtree(path)


def the_questions(view: StoreView) -> dict[str, Callable[[], object]]:
    """{what is asked: the asking}, of everything that pages and commands ask for."""
    overview = store_access.overview(view.path)
    groups: tuple[RunGroup, ...] = overview.groups
    run = groups[-1].runs[0]
    at = questions.run_at(view, run.run_id)
    sample_id = str(questions.samples(view, run.run_id).answer().frame["sample_id"].iloc[7])
    cell = (LayerRef("vision", 3), LayerRef("text", 3))
    store = store_access.opened(view.path)
    streams = run.manifest.streams
    spec = next(spec for spec in streams if spec.name == "text")

    def layers() -> list[np.ndarray]:
        opened_run = store.run(run.run_id)
        return [opened_run.vectors("text", ref, "cls", [7]) for ref in spec.refs]

    def some(names: tuple[str, ...], **where: str) -> Callable[[], object]:
        return lambda: questions.measures(view, groups, names, **where).answer().frame

    chosen = {"pooling": "cls", "estimator": "debiased"}
    one = groups[-1:]
    return {
        "runs of the store, grouped": lambda: store_access.overview(view.path).runs,
        "which measures, 200 runs": lambda: [
            queries.held_measures(
                questions.run_at(view, r.run_id), questions.keys_of(view, MEASURES, r.run_id)
            )
            for r in overview.runs
        ],
        "poolings and estimators of CKA, 200 runs": lambda: (
            questions.offered(view, groups, ("cka",)).answer().frame
        ),
        "CKA, one pooling and estimator, 200 runs": some(("cka",), **chosen),
        "CKA, everything of it, 200 runs": some(("cka",)),
        "dimensions, 200 runs": some(("effective_dimension", "participation_ratio")),
        "probes, 200 runs": some(("linear_probe",)),
        "CKA, one placement (40 runs)": lambda: (
            questions.measures(view, one, ("cka",), **chosen).answer().frame
        ),
        "coordinates of a run": lambda: questions.projections(view, run.run_id).answer().frame,
        "samples and labels of a run": lambda: questions.samples(view, run.run_id).answer().frame,
        "a sample with its picture": lambda: [queries.sample(at, sample_id)],
        "what drives a cell": lambda: queries.drivers(
            at, questions.keys_of(view, DRIVERS, run.run_id), cell, "cls"
        ),
        "a layer's vectors": lambda: store.run(run.run_id).vectors("text", 6, "cls"),
        f"a sample's vectors in {len(spec.refs)} layers": layers,
        "which runs may be compared, 200": lambda: (
            queries.comparable(
                tuple(questions.run_at(view, r.run_id) for r in overview.runs)
            ).run_ids
        ),
        "a person's SQL: mean CKA by placement": lambda: store.query(
            "SELECT placement, avg(value) AS mean FROM measures JOIN runs USING (run_id) "
            "WHERE measure = 'cka' AND pooling = 'cls' AND NOT isnan(value) GROUP BY placement"
        ),
    }


def ask_everything(path: Path) -> None:
    """Ask in this process, print the table and the peak memory."""
    view = StoreView("fine", str(path))
    print(f"{'question':44} {'cold ms':>9} {'warm ms':>9} {'CPU ms':>9} {'rows':>9}")
    for what, ask in the_questions(view).items():
        rows: list[int] = []
        cold = median_ms(lambda ask=ask, rows=rows: rows.append(len(ask())), 1)  # type: ignore[arg-type]
        began = time.process_time()
        warm = median_ms(ask)
        cpu = 1_000 * (time.process_time() - began) / REPEATS
        print(f"{what:44} {cold:9.1f} {warm:9.1f} {cpu:9.1f} {rows[0]:9,}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"peak memory of the process: {peak:,.0f} MiB")


def bench_questions(folder: Path, *, packed: bool) -> None:
    """Make the store of 200 runs and ask it in a process of its own, so that memory is its own."""
    captures = len(manifest_of("x", "late", 0, 1).captures)
    n = -(-ACTIVATION_ROWS // (QUESTION_RUNS * captures))
    start = time.perf_counter()
    store = make_store(folder / "questions", QUESTION_RUNS, n, link=False)
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    print(
        f"\nQuestions: {QUESTION_RUNS} runs x {n} samples x {captures} layers and poolings = "
        f"{QUESTION_RUNS * n * captures:,} rows of activations, {size / 2**30:.2f} GiB, made in "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )
    ask = [sys.executable, __file__, "--ask"]
    subprocess.run([*ask, str(store.path)], check=True)
    if packed:
        start = time.perf_counter()
        done = pack([store], folder / "questions.duckdb")
        print(f"\nThe same as one file: {done}, {time.perf_counter() - start:.0f} s", flush=True)
        subprocess.run([*ask, str(folder / "questions.duckdb")], check=True)


def main() -> None:
    """Make the stores, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=OPEN_RUNS[1], help="of the larger store")
    parser.add_argument("--questions-only", action="store_true")
    parser.add_argument("--opening-only", action="store_true")
    parser.add_argument("--packed", action="store_true", help="also ask the store as one file")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask is not None:
        ask_everything(options.ask)
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; index: {INDEX_NAME}")
    with tempfile.TemporaryDirectory() as folder:
        if not options.questions_only:
            bench_opening(Path(folder), (OPEN_RUNS[0], options.runs))
        if not options.opening_only:
            bench_questions(Path(folder), packed=options.packed)


if __name__ == "__main__":
    main()
