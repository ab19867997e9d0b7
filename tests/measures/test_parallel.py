"""How many threads array work takes, and what comes back of it."""

import threading

import pytest

from backend.measures.core import parallel
from backend.measures.core.parallel import WORTH_THREADS, map_pieces, worker_count


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, 8), ("1", 1), ("3", 3), (" 2 ", 2), ("4,2", 4), ("64", 8)]
    + [(text, 8) for text in ("", "0", "-1", "many", "2.5", "²")],
)
@pytest.mark.usefixtures("eight_cores")
def test_no_more_workers_than_omp_num_threads(monkeypatch, asked, expected):
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert worker_count() == expected


@pytest.mark.usefixtures("eight_cores")
def test_a_process_of_one_thread_starts_no_other(monkeypatch):
    def thread(_):
        return threading.get_ident()

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert set(map_pieces(thread, range(4), WORTH_THREADS)) == {threading.get_ident()}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threading.get_ident() not in map_pieces(thread, range(4), WORTH_THREADS)


def test_values_come_in_order_and_the_first_exception_is_raised(monkeypatch):
    monkeypatch.setattr(parallel, "worker_count", lambda: 3)
    assert map_pieces(lambda k: k * k, range(20), WORTH_THREADS) == [k * k for k in range(20)]
    with pytest.raises(ZeroDivisionError):
        map_pieces(lambda k: 1 // k, [1, 0, 2], WORTH_THREADS)
