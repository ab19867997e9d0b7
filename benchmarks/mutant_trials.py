"""Try faults one by one on tests that were collected once: the inner loop of ``mutants.py``.

    python mutant_trials.py PLAN ENDS WORKERS

``PLAN`` is JSON, {fault: the tests that run its function, quick ones first}; each end, 0 where no
test noticed, is added to ``ENDS`` as it is known, a line of JSON a fault. Every fault has a process
of its own, made from the one in which all tests stand collected: collecting takes longer than most
tests. It runs in mutmut's copy of the project.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 120
"""Processor time of one fault; whoever takes more has noticed."""

NOTICED = 1


class Trials:
    """Runs the plan in place of the tests that were collected."""

    def __init__(self, plan: dict[str, list[str]], ends: Path, workers: int) -> None:
        self._plan, self._ends, self._workers = plan, ends, workers
        self._running: dict[int, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Fork for each fault."""
        items = {item.nodeid: item for item in session.items}
        for fault, tests in self._plan.items():
            while len(self._running) >= self._workers:
                self._reap()
            child = os.fork()
            if child == 0:
                os._exit(_trial(session, fault, [items[t] for t in tests if t in items]))
            self._running[child] = fault
        while self._running:
            self._reap()
        return True

    def _reap(self) -> None:
        child, status = os.wait()
        end = os.waitstatus_to_exitcode(status)
        with self._ends.open("a", encoding="utf-8") as file:
            file.write(json.dumps([self._running.pop(child), end]) + "\n")


def _trial(session: pytest.Session, fault: str, items: list[pytest.Item]) -> int:
    """0 where all tests pass; never returns by an exception, which the parent's loop would see."""
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_S, TIMEOUT_S + 1))
    os.environ["MUTANT_UNDER_TEST"] = fault
    try:
        for at, item in enumerate(items):
            following = items[at + 1] if at + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return NOTICED
    except BaseException:
        return NOTICED
    return 0


def main() -> int:
    """Collect, then try."""
    plan, ends, workers = sys.argv[1:]
    chosen = json.loads(Path(plan).read_text(encoding="utf-8"))
    files = sorted({test.partition("::")[0] for tests in chosen.values() for test in tests})
    sys.path.insert(0, str(Path.cwd()))
    os.environ["MUTANT_UNDER_TEST"] = ""
    trials = Trials(chosen, Path(ends), int(workers))
    options = ["--rootdir=.", "-qq", "--tb=no", "-p", "no:cacheprovider", "-n", "0"]
    return int(pytest.main([*options, *files], plugins=[trials]))


if __name__ == "__main__":
    raise SystemExit(main())
