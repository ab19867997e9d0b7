"""Memory of a capture does not grow with the number of samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("memory.py")


def test_fifty_times_the_shards_take_no_more_memory(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), str(tmp_path)]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    small, large, written = (float(word) for word in output.split())
    assert written > 50, "the large run must be large enough to show a leak"
    assert large - small < 15, f"peak grew from {small} to {large} MB over {written} MB of vectors"
