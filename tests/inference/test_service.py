"""The service: stages, one computation for many, cancelling, memory, a GPU that gives up."""

from __future__ import annotations

import gc
import io
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.models import Catalogue
from backend.inference.requests import (
    STAGES,
    Busy,
    Cancelled,
    CutAt,
    Done,
    Failed,
    Pair,
    Placing,
    Request,
    Work,
    tracing,
)
from backend.inference.service import Limits, Service
from backend.inference.tracing import trace_batch
from backend.inference.values import Caption, Picture
from backend.models.registry import open_model
from backend.paths import shipped_demo
from backend.store import Store

MIB = 2**20
WAIT_S = 120.0


class Models:
    """Stand-ins of models by size; what is opened where is written down."""

    def __init__(self, **megabytes: int) -> None:
        self.sizes = megabytes
        self.opened: list[tuple[str, str]] = []
        self.failing: dict[str, Exception] = {}

    def where(self, key: str) -> str:
        return f"model {key}"

    def identity(self, key: str) -> str:
        if key not in self.sizes:
            raise InputError("no such model here")
        return f"digest of {key}"

    def weights_bytes(self, key: str) -> int:
        return self.sizes[key] * MIB

    def open(self, key: str, device: str) -> Any:
        self.opened.append((key, device))
        if device in self.failing:
            raise self.failing[device]
        return SimpleNamespace(name=key, device=device, size=self.sizes[key] * MIB)


@pytest.fixture
def models() -> Models:
    return Models(small=10, other=10, large=300)


@pytest.fixture
def make(models: Models):
    """Makes services of 200 MiB a device and closes them."""
    made: list[Service] = []

    def service(devices: Sequence[str] = ("cpu",), megabytes: int = 200, **limits: Any) -> Service:
        budgets = dict.fromkeys(("cpu", *devices), megabytes * MIB)
        made.append(
            Service(
                models,
                devices,
                budgets=budgets,
                sizes=lambda adapter: adapter.size,  # type: ignore[attr-defined]
                limits=Limits(**limits),
            )
        )
        return made[-1]

    yield service
    for each in made:
        each.close()


def picture(name: str = "a", *notes: str) -> Picture:
    return Picture(Image.new("RGB", (4, 3)), f"digest of {name}", notes)


def request(
    run: Callable[[Any, Sequence[Sample]], Any],
    key: str = "work",
    *,
    model: str = "small",
    image: Picture | None = None,
    text: str = "a caption",
    placing: Placing[Any] | None = None,
) -> Request[Any]:
    return Request(model, (Pair(image or picture(), Caption(text)),), Work(key, run), placing)


def done(job: Any) -> Done[Any]:
    outcome = job.result(WAIT_S)
    assert isinstance(outcome, Done), outcome
    return outcome


class Gate:
    """Work that says when it has begun and goes on when it is let."""

    def __init__(self, value: object = 1) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.value, self.calls = value, 0

    def __call__(self, adapter: Any, samples: Any, recall: Any) -> object:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(WAIT_S)
        return self.value


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.go.set()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


# What comes of a request


def test_a_request_passes_all_stages_with_its_pair(make, models: Models) -> None:
    seen: list[Any] = []

    def run(adapter: Any, samples: Sequence[Sample], recall: Any) -> str:
        seen.append((adapter.name, samples[0].text, samples[0].images[0].size, len(samples)))
        time.sleep(0.02)
        return "value"

    job = make().submit(request(run, placing=Placing("upper", lambda value: value.upper())))
    outcome = done(job)
    assert (outcome.value, outcome.placed, outcome.device) == ("value", "VALUE", "cpu")
    assert not outcome.cached and outcome.notes == ()
    assert tuple(outcome.seconds) == STAGES and outcome.seconds["running"] >= 0.02
    assert seen == [("small", "a caption", (4, 3), 1)]
    assert models.opened == [("small", "cpu")]
    assert job.done and job.stage is None and len(job.key) == 64


def test_the_stage_and_its_time_are_told_while_it_runs(make, gate: Gate) -> None:
    job = make().submit(request(gate))
    assert gate.begun.wait(WAIT_S)
    assert job.stage == "running" and not job.done
    before = job.seconds()["running"]
    time.sleep(0.02)
    assert job.seconds()["running"] >= before + 0.02
    with pytest.raises(TimeoutError):
        job.result(0.01)
    gate.go.set()
    assert done(job).seconds["running"] >= 0.02


def test_what_was_changed_in_files_is_said(make) -> None:
    image = picture("a", "The first of 12 frames.")
    pair = Pair(image, Caption("x", ("12 characters were left out.",)))
    job = make().submit(Request("small", (pair, pair), Work("n", lambda a, s, r: len(s))))
    outcome = done(job)
    assert outcome.value == 2
    assert outcome.notes == ("The first of 12 frames.", "12 characters were left out.")


def test_files_are_made_harmless_and_bad_ones_are_a_value(make) -> None:
    written = io.BytesIO()
    Image.new("RGB", (5, 2)).save(written, "PNG")
    service = make()
    sizes = Work("size", lambda a, s, r: s[0].images[0].size)
    good = service.submit(Request("small", (Pair(written.getvalue(), "x"),), sizes))
    assert done(good).value == (5, 2)
    bad = service.submit(Request("small", (Pair(b"<svg/>", "x"),), sizes)).result(WAIT_S)
    assert isinstance(bad, Failed) and not bad.fault
    assert "\n" not in str(bad.error) and bad.error.__traceback__ is None
    none = service.submit(Request("small", (), sizes)).result(WAIT_S)
    assert isinstance(none, Failed) and "no pair" in str(none.error)


def test_a_model_that_is_not_there_is_a_value(make) -> None:
    outcome = make().submit(request(lambda a, s, r: 1, model="gone")).result(WAIT_S)
    assert isinstance(outcome, Failed) and "no such model" in str(outcome.error)


def test_a_model_that_goes_while_its_request_waits_is_a_sentence(make, models: Models) -> None:
    models.failing["cpu"] = InputError("its checkpoint is gone", hint="Choose another model.")
    service = make()
    outcome = service.submit(request(lambda a, s, r: 1)).result(WAIT_S)
    assert isinstance(outcome, Failed) and not outcome.fault
    assert str(outcome.error) == "its checkpoint is gone. Choose another model."
    del models.failing["cpu"]
    assert done(service.submit(request(lambda a, s, r: 1))).value == 1


def test_a_fault_is_a_value_its_message_is_told_nobody_and_work_goes_on(make, caplog) -> None:
    def broken(adapter: Any, samples: Sequence[Sample], recall: Any) -> None:
        raise KeyError(samples[0].text)

    service = make()
    with caplog.at_level(logging.DEBUG):
        job = service.submit(request(broken, text="SECRET words"))
        outcome = job.result(WAIT_S)
    assert isinstance(outcome, Failed) and outcome.fault
    assert str(outcome.error) == "a fault of ours (KeyError). The server's log says where."
    assert "KeyError" in caplog.text and "in broken" in caplog.text
    assert "SECRET" not in caplog.text
    assert done(service.submit(request(lambda a, s, r: 5))).value == 5


@pytest.mark.parametrize("error", [InputError("cannot be used"), KeyError("a fault")])
def test_whoever_keeps_what_went_wrong_keeps_no_pixels(make, error: Exception) -> None:
    """Not even by a traceback, whose frames hold what was worked on."""
    image = picture()
    gone = weakref.ref(image.image)

    def broken(adapter: Any, samples: Sequence[Sample], recall: Any) -> None:
        raise type(error)(*error.args)

    outcome = make().submit(request(broken, image=image)).result(WAIT_S)
    assert isinstance(outcome, Failed)
    assert outcome.error.__traceback__ is outcome.error.__context__ is None
    del image
    assert_collected(gone)


def test_whoever_keeps_a_job_keeps_no_pixels(make, gate: Gate) -> None:
    image = picture()
    gone = weakref.ref(image.image)
    job = make().submit(request(gate, image=image))
    del image
    gate.go.set()
    done(job)
    assert_collected(gone)


def assert_collected(gone: weakref.ref[Any]) -> None:
    def collected() -> bool:
        gc.collect()
        return gone() is None

    until(collected)


# Once for many


def test_a_result_is_had_again_without_work(make) -> None:
    calls: list[int] = []
    service = make()
    first = done(service.submit(request(lambda a, s, r: calls.append(1) or np.ones(3))))
    other = picture("a", "note")
    again = done(service.submit(request(lambda a, s, r: calls.append(1), image=other)))
    assert len(calls) == 1 and again.value is first.value
    assert again.cached and set(again.seconds) == {"decoding"}
    assert again.notes == ("note",) and first.notes == ()  # of the own file
    with pytest.raises(ValueError, match="read-only"):
        again.value[0] = 2


@pytest.mark.parametrize(
    "changed",
    [
        {"image": picture("b")},
        {"text": "another caption"},
        {"model": "other"},
        {"key": "another work"},
        {"placing": Placing("p", lambda value: value)},
    ],
)
def test_another_picture_caption_model_work_or_placing_is_another_result(make, changed) -> None:
    service = make()
    first = service.submit(request(lambda a, s, r: "first"))
    assert done(first).value == "first"
    second = service.submit(request(lambda a, s, r: "second", **{"key": "work", **changed}))
    assert done(second).value == "second" and second.key != first.key


def test_the_order_of_pairs_counts(make) -> None:
    service = make()
    work = Work("texts", lambda a, s, r: [x.text for x in s])
    a, b = Pair(None, Caption("a")), Pair(None, Caption("b"))
    assert done(service.submit(Request("small", (a, b), work))).value == ["a", "b"]
    assert done(service.submit(Request("small", (b, a), work))).value == ["b", "a"]


def test_two_of_the_same_in_flight_are_computed_once(make, gate: Gate) -> None:
    service = make()
    jobs = [service.submit(request(gate, image=picture("a", "mine")))]
    assert gate.begun.wait(WAIT_S)
    jobs += [service.submit(request(gate)) for _ in range(3)]
    until(lambda: all(job.stage == "running" for job in jobs))
    gate.go.set()
    outcomes = [done(job) for job in jobs]
    assert gate.calls == 1 and {outcome.value for outcome in outcomes} == {1}
    assert [outcome.notes for outcome in outcomes] == [("mine",), (), (), ()]


def test_what_is_forgotten_is_computed_again(make, gate: Gate) -> None:
    service = make()
    gate.go.set()
    job = service.submit(request(gate))
    done(job)
    service.forget(job.key)
    assert len(service.cache) == 0
    assert not done(service.submit(request(gate))).cached and gate.calls == 2


def test_what_is_forgotten_while_it_runs_is_not_kept(make, gate: Gate) -> None:
    service = make()
    job = service.submit(request(gate))
    assert gate.begun.wait(WAIT_S)
    service.forget(job.key)
    gate.go.set()
    assert done(job).value == 1
    assert len(service.cache) == 0


def test_results_go_when_they_are_old_though_nobody_asks(make) -> None:
    service = make(cache_age_s=0.05)
    done(service.submit(request(lambda a, s, r: np.zeros(1000))))
    until(lambda: service.cache.bytes == 0)


# The queue, and cancelling


def test_a_full_queue_says_so_and_empties(make, gate: Gate) -> None:
    service = make(queue=2)
    running = service.submit(request(gate))
    assert gate.begun.wait(WAIT_S)
    waiting = [service.submit(request(lambda a, s, r: 0, f"{n}")) for n in range(2)]
    with pytest.raises(Busy, match="2 requests are waiting already"):
        service.submit(request(lambda a, s, r: 0, "more"))
    assert issubclass(Busy, InputError) and service.waiting() == 2
    waiting[0].cancel()
    service.submit(request(lambda a, s, r: 0, "more"))
    gate.go.set()
    done(running)
    until(lambda: service.waiting() == 0)


def test_a_waiting_job_that_is_cancelled_never_runs(make, gate: Gate) -> None:
    service = make()
    running = service.submit(request(gate))
    assert gate.begun.wait(WAIT_S)
    calls: list[int] = []
    job = service.submit(request(lambda a, s, r: calls.append(1), "other"))
    until(lambda: bool(job.key))
    job.cancel()
    assert job.result(0) == Cancelled() and service.waiting() == 0
    gate.go.set()
    done(running)
    done(service.submit(request(lambda a, s, r: 0, "last")))
    assert not calls


def test_a_running_job_that_is_cancelled_ends_at_the_next_stage(make, gate: Gate) -> None:
    placed: list[int] = []
    service = make()
    job = service.submit(request(gate, placing=Placing("p", placed.append)))
    assert gate.begun.wait(WAIT_S)
    job.cancel()
    assert job.result(0) == Cancelled()
    gate.go.set()
    done(service.submit(request(lambda a, s, r: 0, "last")))
    assert not placed and service.cache.get(job.key) is None
    job.cancel()  # again does nothing
    assert job.result(0) == Cancelled()


def test_cancelling_one_of_two_leaves_the_other(make, gate: Gate) -> None:
    service = make()
    first, second = service.submit(request(gate)), service.submit(request(gate))
    until(lambda: first.stage == second.stage == "running")
    first.cancel()
    gate.go.set()
    assert first.result(0) == Cancelled() and done(second).value == 1


def test_the_same_asked_again_after_cancelling_is_computed_anew(make, gate: Gate) -> None:
    service = make()
    first = service.submit(request(gate))
    assert gate.begun.wait(WAIT_S)
    first.cancel()
    second = service.submit(request(gate))
    gate.go.set()
    assert done(second).value == 1 and gate.calls == 2


def test_a_finished_job_stays_as_it_is(make) -> None:
    job = make().submit(request(lambda a, s, r: 3))
    assert done(job).value == 3
    job.cancel()
    assert done(job).value == 3


def test_closing_ends_everything(models: Models, gate: Gate) -> None:
    before = threading.active_count()
    service = Service(models, ["cpu"], budgets={"cpu": 200 * MIB}, sizes=lambda a: MIB)
    running = service.submit(request(gate))
    assert gate.begun.wait(WAIT_S)
    waiting = service.submit(request(lambda a, s, r: 0, "other"))
    threading.Timer(0.05, gate.go.set).start()
    service.close()
    assert running.result(0) == waiting.result(0) == Cancelled()
    with pytest.raises(InputError, match="shutting down"):
        service.submit(request(lambda a, s, r: 0))
    until(lambda: threading.active_count() <= before)
    assert service.machine.pools["cpu"].bytes == 0 and len(service.cache) == 0


# Memory


def test_models_are_opened_once_and_kept_by_a_budget(make, models: Models) -> None:
    models.sizes = dict.fromkeys("abc", 70)
    service = make()  # 200 MiB: two models with 16 MiB to run one
    for turn, name in enumerate("abaca"):
        done(service.submit(request(lambda a, s, r: a.name, f"{turn}", model=name)))
    assert [name for name, _ in models.opened] == ["a", "b", "c"]
    assert service.machine.pools["cpu"].identities == ("digest of c", "digest of a")


def test_a_request_that_can_never_fit_is_refused_with_numbers(make, models: Models) -> None:
    outcome = make().submit(request(lambda a, s, r: 0, model="large")).result(WAIT_S)
    assert isinstance(outcome, Failed)
    assert str(outcome.error) == (
        "model large: needs about 337.5 MiB (300 MiB of weights, 37.5 MiB while it runs); models "
        "may take 200 MiB here. Take a smaller model, or fewer pairs at once."
    )
    assert models.opened == []


def test_pairs_at_once_count(make) -> None:
    service = make()
    pairs = (Pair(picture(), Caption("x")),) * 20

    def ask(at_once: int) -> Any:
        work = Work(f"{at_once}", lambda a, s, r: 7, at_once)
        return service.submit(Request("small", pairs, work)).result(WAIT_S)

    assert isinstance(ask(0), Failed)  # 20 x 16 MiB
    assert ask(4).value == 7


def out_of_memory_on(device: str, error: Exception) -> Callable[[Any, Any], str]:
    def run(adapter: Any, samples: Any, recall: Any) -> str:
        if adapter.device == device:
            raise error
        return adapter.device

    return run


def test_a_gpu_out_of_memory_lets_go_and_the_cpu_goes_on(make, models: Models, caplog) -> None:
    service = make(["cuda:0"])
    run = out_of_memory_on("cuda:0", torch.OutOfMemoryError("SECRET"))
    outcome = done(service.submit(request(run)))
    assert outcome.value == outcome.device == "cpu"
    assert outcome.notes == ("The GPU ran out of memory: it ran on the CPU, which takes longer.",)
    assert models.opened == [("small", "cuda:0"), ("small", "cpu")]
    assert service.machine.pools["cuda:0"].bytes == 0
    assert "small ran out of memory on cuda:0" in caplog.text and "SECRET" not in caplog.text
    on_gpu = done(service.submit(request(lambda a, s, r: a.device, "another")))
    assert on_gpu.value == "cuda:0" and on_gpu.notes == ()


def test_out_of_memory_while_a_model_is_loaded_is_the_same(make, models: Models) -> None:
    models.failing["cuda:0"] = torch.OutOfMemoryError("full")
    outcome = done(make(["cuda:0"]).submit(request(lambda a, s, r: a.device)))
    assert outcome.value == "cpu" and "ran out of memory" in outcome.notes[0]


def test_what_does_not_fit_on_the_gpu_goes_to_the_cpu_at_once(models: Models) -> None:
    budgets = {"cuda:0": 100 * MIB, "cpu": 400 * MIB}
    with Service(models, ["cuda:0"], budgets=budgets, sizes=lambda a: a.size) as service:  # type: ignore[attr-defined]
        outcome = done(service.submit(request(lambda a, s, r: a.device, model="large")))
    assert outcome.value == "cpu" and "more than the GPU has" in outcome.notes[0]
    assert models.opened == [("large", "cpu")]


@pytest.mark.parametrize("told", [torch.OutOfMemoryError("full"), MemoryError()])
def test_out_of_memory_that_is_told_as_a_fault_of_the_files_is_the_same(
    make, models: Models, told: Exception
) -> None:
    error = InputError("the weights cannot be loaded")
    error.__cause__ = told
    models.failing["cuda:0"] = error
    outcome = done(make(["cuda:0"]).submit(request(lambda a, s, r: a.device)))
    assert outcome.value == "cpu" and "ran out of memory" in outcome.notes[0]
    models.failing["cpu"] = error
    failed = make().submit(request(lambda a, s, r: 0)).result(WAIT_S)
    assert str(failed.error).startswith("model small: this machine's memory does not suffice.")


@pytest.mark.parametrize("said", [10, 90])
def test_a_model_that_is_larger_on_the_gpu_than_was_said_goes_to_the_cpu(
    models: Models, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    budgets = {"cuda:0": 150 * MIB, "cpu": 400 * MIB}
    with Service(models, ["cuda:0"], budgets=budgets, sizes=lambda a: a.size) as service:  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(models, "weights_bytes", lambda key: said * MIB)
            outcome = done(service.submit(request(lambda a, s, r: a.device, model="large")))
        assert outcome.value == "cpu"
        assert outcome.notes == ("It needs more than the GPU has: it ran on the CPU.",)
        assert service.machine.pools["cuda:0"].bytes == 0
        # Now that its size is known the GPU is not tried again.
        again = done(service.submit(request(lambda a, s, r: a.device, "another", model="large")))
        assert again.value == "cpu" and "more than the GPU has" in again.notes[0]
        assert models.opened == [("large", "cuda:0"), ("large", "cpu")]
        small = done(service.submit(request(lambda a, s, r: a.device, "a small one")))
        assert small.value == "cuda:0" and small.notes == ()


def test_a_gpu_that_failed_is_not_asked_again(make, models: Models) -> None:
    service = make(["cuda:0"])
    run = out_of_memory_on("cuda:0", torch.AcceleratorError("an illegal access"))
    assert done(service.submit(request(run))).notes == ("The GPU failed: it ran on the CPU.",)
    later = done(service.submit(request(lambda a, s, r: a.device, "another")))
    assert later.value == "cpu" and "until a restart" in later.notes[0]
    assert models.opened.count(("small", "cuda:0")) == 1


def test_a_cpu_out_of_memory_is_one_line(make) -> None:
    run = out_of_memory_on("cpu", MemoryError())
    outcome = make().submit(request(run)).result(WAIT_S)
    assert isinstance(outcome, Failed) and not outcome.fault
    assert str(outcome.error).startswith("model small: this machine's memory does not suffice.")


# Real models


def test_many_sessions_at_once_get_each_their_own(make) -> None:
    service = make(queue=400)
    wrong: list[object] = []

    def session(name: int) -> None:
        for turn in range(10):
            text = f"{name} {turn % 4}"
            job = service.submit(request(lambda a, s, r: s[0].text, text=text))
            if turn == 7:
                job.cancel()
            elif (outcome := job.result(WAIT_S)) and getattr(outcome, "value", None) != text:
                wrong.append(outcome)

    threads = [threading.Thread(target=session, args=(name,)) for name in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and service.waiting() == 0 and not service._computations


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    path = Store(shipped_demo()).run("macros-late-s0").checkpoint
    assert path is not None
    return path


def test_a_run_of_the_demo_is_traced_as_by_hand(checkpoint: Path) -> None:
    catalogue = Catalogue(Store(shipped_demo()))
    key = catalogue.run("macros-late-s0").key
    image = Picture(Image.effect_noise((64, 48), 90).convert("RGB"), "noise")
    with Service(catalogue) as service:
        pairs = (Pair(image, Caption("best day ever")),)
        outcome = done(service.submit(Request(key, pairs, tracing())))
        cut = done(service.submit(Request(key, pairs, tracing([CutAt("vision", 10)]))))
    adapter = open_model(str(checkpoint))
    (expected,) = trace_batch(adapter, [Sample("best day ever", (image.image,))])
    (trace,) = outcome.value
    assert trace.vectors.keys() == expected.vectors.keys() and trace.digest == adapter.digest
    for site, vector in expected.vectors.items():
        np.testing.assert_allclose(trace.vectors[site], vector, rtol=1e-5, atol=1e-6)
    (other,) = cut.value
    apart = [
        ref.label
        for ref in trace.stream("vision").refs
        if not np.allclose(trace.vectors[ref, "cls"], other.vectors[ref, "cls"], atol=1e-5)
    ]
    assert apart[0] == "10.fusion"


def test_while_others_wait_a_model_takes_one_core(make, gate):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        service = make()
        jobs = [service.submit(request(gate, "first"))]
        assert gate.begun.wait(WAIT_S)
        for name in ("second", "third"):
            jobs.append(service.submit(request(lambda *_: torch.get_num_threads(), name)))
        while service.waiting() < 2 or any(job.stage == "decoding" for job in jobs):
            time.sleep(0.01)
        gate.go.set()
        _, second, third = (done(job).value for job in jobs)
        assert (second, third) == (1, torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
