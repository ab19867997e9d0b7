"""Capture: what lands in the store, what a kill leaves behind, and what a bad row costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from backend.capture.options import CaptureOptions
from backend.capture.run import rows_of_batches
from backend.data.images import image_digest, thumbnail
from backend.data.registry import open_source
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.store import Store
from backend.store.kinds import TOKENS
from backend.store.streams import StreamInfo
from backend.store.token_counts import token_counts
from backend.train.predictions import FILE as PREDICTIONS_FILE
from backend.train.predictions import predictions, write_predictions
from backend.types import StreamSpec, TaskSpec
from tests.tiny import tiny_checkpoint
from tests.watch import Watch


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def request_for(checkpoint: Path, tmp_path: Path) -> Callable[..., CaptureRequest]:
    def make(**changes: object) -> CaptureRequest:
        options = CaptureOptions(limit=20, batch_size=4, device="cpu")
        base = CaptureRequest(
            model=str(checkpoint), data="macros", store=str(tmp_path / "store"), options=options
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.store.vectors._PART_ROWS", 8)


def capture(request: CaptureRequest, **kwargs: object) -> Store:
    run_capture(request, open_request(request), **kwargs)  # type: ignore[arg-type]
    return Store(request.store)


def everything(store: Store, run_id: str) -> dict[str, np.ndarray]:
    run = store.run(run_id)
    return {
        f"{ref.stream} {ref.label} {pooling}": run.vectors(ref.stream, ref.label, pooling)
        for ref, pooling in run.captured()
    }


def test_a_run_holds_every_layer_of_every_sample(
    request_for: Callable[..., CaptureRequest],
) -> None:
    store = capture(request_for())
    run = store.run("macros-t2,3-v2,3-s0".replace(",", "_"))
    assert run.n == 20
    assert list(run.sample_ids()[:2]) == ["test-000000", "test-000001"]
    assert [ref.label for ref in run.layers("text", "mean")] == [
        *("0", "1", "2.fusion", "2", "3.fusion", "3", "4")
    ]
    assert run.vectors("vision", "3.fusion", "cls").shape == (20, 16)
    sample = run.sample("test-000003")
    assert sample["label_object"] in ("balloon", "book", "car", "cup", "fish", "house", "kite",
                                      "mushroom", "star", "umbrella")  # fmt: skip
    assert sample["label_irony"] in (0, 1)
    assert bytes(sample["thumbnail"])[8:12] == b"WEBP"
    source = open_source("macros:test=20")
    digests = [image_digest(pair.sample.images) for pair in source.pairs("test")]
    assert run.samples(["image_digest"])["image_digest"].tolist() == digests
    assert run.samples(["group"])["group"].isna().all() and len(set(digests)) == 20


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_knows_the_groups_that_its_data_set_gives(
    request_for: Callable[..., CaptureRequest], tmp_path: Path, streaming: bool
) -> None:
    pairs = list(open_source("macros:test=20").pairs("test"))
    rows = [{"id": "id", "image": "image", "text": "text", "split": "split", "group": "group"}]
    for at, pair in enumerate(pairs):
        pair.sample.images[0].save(tmp_path / f"{at // 2}.png")
        group = "" if at == 7 else f"photo {at // 4}"
        rows.append(
            dict(zip(rows[0], (at, f"{at // 2}.png", f"t{at}", "test", group), strict=True))
        )
    lines = (",".join(map(str, row.values())) for row in rows)
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    store = capture(request_for(data=f"folder:{tmp_path}", run_id="own", streaming=streaming))
    run = store.run("own")
    expected = ["7" if at == 7 else f"photo {at // 4}" for at in range(20)]
    assert run.groups().tolist() == expected
    assert run.grouping().holes == ("7",)
    assert run.grouping().repeats.images == 2  # 6 is of the group that 7 is not in
    assert run.samples(["image_digest"])["image_digest"].nunique() == 10


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_says_how_many_tokens_each_stream_has_a_sample(
    request_for: Callable[..., CaptureRequest], streaming: bool
) -> None:
    request = request_for(run_id="counted", streaming=streaming)
    opened = open_request(request)
    run_capture(request, opened)
    run = Store(request.store).run("counted")
    texts = run.samples(["text"])["text"]
    words = Counter(min(32, len(opened.adapter.tokenizer(text)["input_ids"])) for text in texts)
    assert len(words) > 1
    rows = run.table(TOKENS).to_pylist()
    assert {r["tokens"]: r["samples"] for r in rows if r["stream"] == "text"} == words
    (vision,) = (r for r in rows if r["stream"] == "vision")
    assert (vision["tokens"], vision["samples"]) == (1 + 2 * 2, 20)
    text = sorted(words.elements())
    expected = {"vision": (5, 5, 5), "text": (text[0], text[9], text[-1])}
    assert {count.stream: count[1:] for count in token_counts(run)} == expected


def test_batches_and_parts_do_not_change_what_is_captured(
    request_for: Callable[..., CaptureRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everything(capture(request_for(run_id="whole")), "whole")
    monkeypatch.setattr("backend.store.vectors._PART_ROWS", 6)
    options = CaptureOptions(limit=20, batch_size=3, device="cpu")
    parts = everything(capture(request_for(run_id="parts", options=options)), "parts")
    assert whole.keys() == parts.keys()
    for key in whole:
        assert np.allclose(whole[key], parts[key], atol=1e-5), key


@pytest.mark.usefixtures("small_parts")
def test_an_interrupted_capture_leaves_no_run_and_goes_on_to_the_same_result(
    request_for: Callable[..., CaptureRequest],
) -> None:
    whole = everything(capture(request_for(run_id="whole")), "whole")
    request = request_for(run_id="cut")

    def stop(done: float, *_: object) -> bool:
        if done >= 12:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        capture(request, progress=Watch(stop))
    assert "cut" not in Store(request.store).run_ids()
    resumed = Watch()
    store = capture(request, progress=resumed)
    assert resumed.told[0][0] in (8, 12)  # not from the beginning
    cut = everything(store, "cut")
    assert all(np.array_equal(whole[key], cut[key]) for key in whole)
    assert list(store.run("cut").sample_ids()) == list(store.run("whole").sample_ids())
    assert store.run("cut").table(TOKENS).equals(store.run("whole").table(TOKENS))


def test_a_killed_process_leaves_nothing_and_the_next_one_finishes(
    request_for: Callable[..., CaptureRequest], tmp_path: Path
) -> None:
    request = request_for()
    code = (
        "import sys, time\n"
        "import backend.capture.run as c\n"
        "from backend.jobs.capture import *\n"
        "import backend.store.vectors as v\n"
        "v._PART_ROWS = 4\n"
        f"r = CaptureRequest(model={request.model!r}, data='macros', store={request.store!r},"
        " run_id='killed', options=c.CaptureOptions(limit=20, batch_size=4, device='cpu'))\n"
        "class Tell:\n"
        "    def advance(self, done, total, what=''):\n"
        "        print(done, flush=True)\n"
        "        time.sleep(0.2)\n"
        "run_capture(r, open_request(r), progress=Tell())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 12:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert Store(request.store).run_ids() == ()
    rest = Watch()
    store = capture(replace(request, run_id="killed"), progress=rest)
    assert rest.told[0][0] >= 4 and rest.told[-1] == (20, 20, "")
    assert store.run("killed").n == 20


def test_memory_does_not_grow_with_the_number_of_samples(
    request_for: Callable[..., CaptureRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.store.vectors._PART_ROWS", 32)

    def peak(n: int, run_id: str) -> int:
        options = CaptureOptions(limit=n, batch_size=32, device="cpu")
        request = request_for(run_id=run_id, options=options)
        opened = open_request(request)
        tracemalloc.start()
        run_capture(request, opened)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(192, "warm")  # what is imported and cached on first use
    more = 960 - 192
    vectors = more * 14 * 2 * 16 * 4  # sites, poolings, width, bytes: what must not be held
    # What does grow is a few files a part and eight bytes an id.
    assert peak(960, "many") - peak(192, "few") < 0.2 * vectors


def test_a_part_is_bounded_in_bytes_and_holds_whole_batches(
    request_for: Callable[..., CaptureRequest],
) -> None:
    manifest = open_request(request_for()).manifest
    assert rows_of_batches(manifest, 32) == 1024
    streams = tuple(
        StreamInfo.of(StreamSpec.of(spec.name, spec.modality, spec.depth, 4096, spec.fusion_layers))
        for spec in manifest.streams
    )
    model = manifest.model.model_copy(update={"streams": streams})
    wide = manifest.model_copy(update={"model": model})
    rows = rows_of_batches(wide, 16)
    assert rows % 16 == 0
    assert rows * 4096 * 14 * 2 * 4 <= 64 * 2**20


def write_folder(path: Path, n: int = 6) -> Path:
    path.mkdir()
    for i in range(n):
        Image.new("RGB", (20, 20), (40 * i, 0, 0)).save(path / f"{i}.png")
    frame = pd.DataFrame(
        {
            "id": [f"id{i}" for i in range(n)],
            "image": [f"{i}.png" for i in range(n)],
            "text": ["the cat"] * n,
            "split": ["test"] * n,
        }
    )
    frame.to_csv(path / "captions.csv", index=False)
    return path


def test_an_unreadable_image_is_left_out_and_counted(
    request_for: Callable[..., CaptureRequest], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "pairs")
    (folder / "2.png").write_bytes(b"not an image")
    request = request_for(data=f"folder:{folder}", run_id="r")
    opened = open_request(request)
    run_capture(request, opened)
    ids = list(Store(request.store).run("r").sample_ids())
    assert ids == ["id0", "id1", "id3", "id4", "id5"]
    assert opened.source.report.count == 1
    assert "id2" in opened.source.report.summary()


def test_strict_stops_at_the_unreadable_image_and_leaves_no_run(
    request_for: Callable[..., CaptureRequest], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "pairs")
    (folder / "2.png").write_bytes(b"not an image")
    request = request_for(data=f"folder:{folder}", run_id="r", strict=True)
    with pytest.raises(InputError, match="id2"):
        capture(request)
    assert Store(request.store).run_ids() == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "nowhere"}, "is not a local directory"),
        ({"options": CaptureOptions(pooling=("max",))}, "pooling: 'max' is not one of cls, mean"),
        ({"options": CaptureOptions(dtype="int8")}, "dtype: 'int8' is not one of float32"),
        ({"options": CaptureOptions(split="holdout")}, "no split 'holdout'"),
        ({"data": "imagenet:there"}, "unknown layout 'imagenet'"),
        ({"options": CaptureOptions(device="tpu")}, "no such device"),
    ],
)
def test_what_cannot_be_captured_says_so(
    request_for: Callable[..., CaptureRequest], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        capture(request_for(**changes))


def test_a_run_is_not_captured_twice_unless_it_is_to_be_replaced(
    request_for: Callable[..., CaptureRequest],
) -> None:
    capture(request_for(run_id="r"))
    with pytest.raises(InputError, match="run r exists"):
        capture(request_for(run_id="r"))
    options = CaptureOptions(limit=5, batch_size=4, device="cpu")
    store = capture(request_for(run_id="r", replace=True, options=options))
    assert store.run("r").n == 5


def test_the_checkpoint_and_its_scores_can_travel_with_the_run(
    request_for: Callable[..., CaptureRequest], checkpoint: Path
) -> None:
    (checkpoint / "scores.json").write_text(
        '[{"task": "irony", "metric": "auroc", "split": "test", "value": 0.75}]'
    )
    irony = TaskSpec("irony", "binary", ("plain", "ironic"))
    logits = np.log([[3.0]])
    rows = predictions(irony, logits, np.array([1]), ["elsewhere"], "test")
    write_predictions([rows], checkpoint)
    run = capture(
        request_for(run_id="r", options=CaptureOptions(limit=20, with_checkpoint=True))
    ).run("r")
    assert run.scores()["value"].tolist() == [0.75]
    predicted = run.predictions()
    assert predicted["sample_id"].tolist() == ["elsewhere"] * 2, "of the split, captured or not"
    assert predicted["probability"].tolist() == pytest.approx([0.25, 0.75], abs=1e-12)
    assert predicted["target"].tolist() == [False, True]
    assert run.checkpoint is not None
    assert (run.checkpoint / "model.safetensors").is_file()
    (checkpoint / "scores.json").unlink()
    (checkpoint / PREDICTIONS_FILE).unlink()


def test_a_thumbnail_is_small_and_keeps_the_shape() -> None:
    data = thumbnail(Image.new("RGB", (400, 100)), 64)
    assert len(data) < 1000
    import io

    assert Image.open(io.BytesIO(data)).size == (64, 16)


def test_data_that_vanish_during_a_capture_make_no_run_and_are_captured_from_the_start(
    request_for: Callable[..., CaptureRequest], tmp_path: Path, small_parts: None
) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    (data / "img").mkdir(parents=True)
    rows = ["id,image,text,split"]
    for i in range(20):
        Image.new("RGB", (16, 16), (10 * i, 20, 90)).save(data / "img" / f"{i}.png")
        rows.append(f"{i},img/{i}.png,a cat,test")
    (data / "captions.csv").write_text("\n".join(rows))
    request = request_for(data=f"folder:{data}", run_id="r")
    opened = open_request(request)

    def then_gone(done: float, *_: object) -> bool:
        if done >= 8 and not away.exists():
            (data / "img").rename(away)
        return False

    with pytest.raises(
        InputError, match=r"data data: vanished while it was read: of .* 0 are left"
    ):
        run_capture(request, opened, progress=Watch(then_gone))
    assert Store(request.store).run_ids() == ()
    away.rename(data / "img")
    assert capture(request).run("r").n == 20
