"""How much fits: estimates against real models, the machine's memory, and models kept by budget."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backend.errors import InputError
from backend.inference.memory import (
    Estimate,
    ModelPool,
    available_bytes,
    budget,
    device_failed,
    loaded_bytes,
    measured,
    out_of_memory,
    pair_bytes,
    stored_bytes,
)
from backend.models.registry import open_model
from tests.models.saved import save_tiny

MIB = 2**20


def pool(megabytes: int) -> ModelPool:
    """Models say themselves how large they are."""
    return ModelPool(megabytes * MIB, size=lambda model: model.size)  # type: ignore[attr-defined]


def model(megabytes: int) -> Any:
    return SimpleNamespace(size=megabytes * MIB)


def need(weights: int, activations: int = 0) -> Estimate:
    return Estimate(weights * MIB, activations * MIB)


def use(models: ModelPool, name: str, megabytes: int, activations: int = 0) -> Any:
    with models.lease(name, need(megabytes, activations), lambda: model(megabytes)) as made:
        return made


@pytest.mark.parametrize("family", ["clip", "llava"])
def test_what_a_checkpoint_takes_is_told_from_its_headers(tmp_path: Path, family: str) -> None:
    folder = save_tiny(tmp_path / "m", family)
    loaded = loaded_bytes(open_model(str(folder)))
    # Buffers, such as positions, are not stored.
    assert 0.9 * loaded <= stored_bytes(folder, "here") <= 1.05 * loaded


def test_a_checkpoint_in_half_precision_is_counted_as_it_is_loaded(tmp_path: Path) -> None:
    whole = save_tiny(tmp_path / "whole")
    half = tmp_path / "half"
    half.mkdir()
    from safetensors.torch import load_file, save_file

    tensors = load_file(whole / "model.safetensors")
    save_file({k: v.half() for k, v in tensors.items()}, half / "model.safetensors")
    assert stored_bytes(half, "here") == stored_bytes(whole, "here")


def test_words_of_an_estimate() -> None:
    estimate = Estimate(2 * 2**30, 512 * MIB)
    assert estimate.bytes == 2.5 * 2**30
    assert estimate.text == "2.5 GiB (2 GiB of weights, 512 MiB while it runs)"
    assert pair_bytes(0) == 16 * MIB and pair_bytes(8 * 2**30) == 2**30


def machine(root: Path, free_kib: int | None, files: dict[str, str]) -> Path:
    (root / "proc").mkdir()
    if free_kib is not None:
        text = f"MemTotal: 99999999 kB\nMemAvailable:   {free_kib} kB\n"
        (root / "proc" / "meminfo").write_text(text)
    for name, content in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("free_kib", "files", "expected"),
    [
        (1000, {}, 1000 * 1024),
        (1000, {"memory.max": "max\n", "memory.current": "5\n"}, 1000 * 1024),
        (1000, {"memory.max": "600000\n", "memory.current": "200000\n"}, 400_000),
        (1000, {"memory.max": "100\n", "memory.current": "200\n"}, 0),
        (
            1000,
            {"memory/memory.limit_in_bytes": "9000", "memory/memory.usage_in_bytes": "1000"},
            8000,
        ),
    ],
)
def test_free_memory_is_the_machines_within_the_control_groups(
    tmp_path: Path, free_kib: int, files: dict[str, str], expected: int
) -> None:
    assert available_bytes(machine(tmp_path, free_kib, files)) == expected


def test_without_meminfo_all_memory_counts(tmp_path: Path) -> None:
    import os

    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_bytes(machine(tmp_path, None, {})) == whole
    assert 0 < budget("cpu") <= whole / 2


def test_errors_of_memory_and_of_a_device_are_told_apart() -> None:
    assert out_of_memory(torch.OutOfMemoryError("x")) and out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("out of memory"))
    assert device_failed(torch.AcceleratorError("x"))
    assert not device_failed(torch.OutOfMemoryError("x"))


def test_a_cpu_does_not_tell_its_peak() -> None:
    with measured("cpu") as peak:
        pass
    assert peak.bytes is None


def test_a_model_is_opened_once_and_kept() -> None:
    models = pool(100)
    first = use(models, "a", 40)
    assert use(models, "a", 40) is first
    assert models.identities == ("a",) and models.bytes == 40 * MIB
    assert models.weights("a") == 40 * MIB and models.weights("b") is None


def test_the_least_recently_used_model_goes() -> None:
    models = pool(100)
    for name in ("a", "b", "a", "c"):
        use(models, name, 40)
    assert models.identities == ("a", "c")


def test_room_to_run_counts_and_is_given_back() -> None:
    models = pool(100)
    use(models, "a", 40)
    with models.lease("b", need(40, 10), lambda: model(40)):
        assert models.bytes == 90 * MIB
    assert models.bytes == 80 * MIB
    use(models, "b", 40, activations=30)
    assert models.identities == ("b",)


def test_what_can_never_fit_is_refused_with_numbers() -> None:
    models = pool(100)
    use(models, "a", 40)
    with pytest.raises(InputError, match="needs 120 MiB, and there is 100 MiB"):
        use(models, "b", 90, activations=30)
    assert models.identities == ("a",)


def test_a_model_that_is_larger_than_was_said_drives_others_out_or_is_refused() -> None:
    models = pool(100)
    use(models, "a", 40)
    with models.lease("b", need(0), lambda: model(80)):
        pass
    assert models.identities == ("b",) and models.bytes == 80 * MIB
    with (
        pytest.raises(InputError, match="needs 130 MiB"),
        models.lease("c", need(0), lambda: model(130)),
    ):
        raise AssertionError("it was lent")
    assert "c" not in models.identities


def test_a_model_that_cannot_be_opened_leaves_nothing() -> None:
    models = pool(100)

    def broken() -> Any:
        raise InputError("gone")

    with pytest.raises(InputError, match="gone"), models.lease("a", need(40), broken):
        pass
    assert models.identities == () and models.bytes == 0


def test_a_model_in_use_is_never_dropped_and_others_wait_for_it() -> None:
    models = pool(100)
    asked: list[int] = []
    lent = threading.Event()

    def wait_for_b() -> None:
        with models.lease("b", need(60), lambda: model(60), lambda: asked.append(1)):
            lent.set()

    with models.lease("a", need(60), lambda: model(60)):
        other = threading.Thread(target=wait_for_b)
        other.start()
        assert not lent.wait(0.3) and asked
        models.drop()
        assert models.identities == ("a",)
    assert lent.wait(5)
    other.join()
    assert models.identities == ("b",)


def test_one_user_has_a_model_at_a_time() -> None:
    models = pool(100)
    inside, most = 0, 0
    lock = threading.Lock()

    def run() -> None:
        nonlocal inside, most
        for _ in range(5):
            with models.lease("a", need(10), lambda: model(10)):
                with lock:
                    inside += 1
                    most = max(most, inside)
                threading.Event().wait(0.002)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_waits_may_give_up() -> None:
    models = pool(100)

    def give_up() -> None:
        raise TimeoutError

    with (
        models.lease("a", need(60), lambda: model(60)),
        pytest.raises(TimeoutError),
        models.lease("b", need(60), lambda: model(60), give_up),
    ):
        pass
    assert models.identities == ("a",)


def test_models_are_let_go() -> None:
    models = pool(100)
    use(models, "a", 10)
    use(models, "b", 10)
    models.drop("a")
    assert models.identities == ("b",)
    models.drop()
    assert models.bytes == 0
