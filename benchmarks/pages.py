"""Server time to open a page: ``uv run python benchmarks/pages.py [STORE]`` (default cache/demo).

For every page, a fresh process imports Streamlit, pandas, Plotly and the store's reader, then opens
the page through Streamlit's own test harness. *cold* is the first run of app.py and the page with
empty caches, including the import of the dashboard's own modules; *warm* is the median of five more
runs. Times are of the script's run on the server (reading the store, building figures, sending
them), without the browser. Targets: cold under 1.0 s, warm under 0.25 s; of Compare, which draws
four placements side by side, 1.5 s and 0.4 s.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "runs",
    "transitions",
    "alignment",
    "dimensionality",
    "projection",
    "study",
    "compare",
    "probes",
    "training",
)
TARGETS_S = {page: (1.5, 0.4) if page == "compare" else (1.0, 0.25) for page in PAGES}


def measure(page: str) -> dict[str, object]:
    """Open one page in this process; seconds of the first run and of five more."""
    for module in ("pandas", "plotly.graph_objects", "backend.store"):
        importlib.import_module(module)
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.testing.v1 import AppTest

    # The harness forgets between runs that the app uses st.navigation; a server does not.
    PagesManager.uses_pages_directory = property(  # type: ignore[assignment]
        lambda _: False, lambda _self, _value: None
    )
    script = ROOT / "app.py"
    at = AppTest.from_file(str(script), default_timeout=120)
    if page != "runs":
        # Registers the pages with a store that does not exist, so that no cache is filled.
        store, os.environ["FUSIONSCOPE_STORE"] = os.environ["FUSIONSCOPE_STORE"], os.devnull
        at.run()
        os.environ["FUSIONSCOPE_STORE"] = store
        at.switch_page(f"pages/{page}.py")
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        at.run()
        seconds.append(time.perf_counter() - start)
        if at.exception:
            raise RuntimeError(at.exception[0].message)
        if not at.get("bidi_component"):
            raise RuntimeError(f"{page} drew nothing: is the store empty?")
    return {"page": page, "cold": seconds[0], "warm": statistics.median(seconds[1:])}


def main() -> int:
    """Print both times of every page; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", default=str(ROOT / "cache" / "demo"))
    parser.add_argument("--page", choices=PAGES, help="measure one page in this process")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.page:
        print(json.dumps(measure(options.page)))
        return 0
    rows = []
    for page in PAGES:
        done = subprocess.run(
            [sys.executable, __file__, options.store, "--page", page],
            env={**os.environ, "FUSIONSCOPE_STORE": str(Path(options.store).resolve())},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    if options.json:
        print(json.dumps(rows))
    else:
        print(f"{'page':<16}{'cold':>9}{'warm':>9}   (seconds, and the targets)")
        for row in rows:
            cold, warm = TARGETS_S[row["page"]]
            print(f"{row['page']:<16}{row['cold']:>9.3f}{row['warm']:>9.3f}   {cold} {warm}")
    return int(
        any(
            row[kind] > target
            for row in rows
            for kind, target in zip(("cold", "warm"), TARGETS_S[row["page"]], strict=True)
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
