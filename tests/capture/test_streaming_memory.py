"""Memory of a streaming capture does not grow with the number of samples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backend.models.preprocess import Preprocessor, train_tokenizer
from tests.tiny import tiny_model

SCRIPT = Path(__file__).with_name("streaming_memory.py")
ROOT = SCRIPT.parents[2]


def test_eight_times_the_samples_take_no_more_memory(tmp_path: Path) -> None:
    model = tiny_model((2,), (2,), text_width=128, vision_width=128)
    model.save_pretrained(tmp_path / "model")
    tokenizer = train_tokenizer(["best day ever me today the pizza and a cup"], vocabulary=64)
    Preprocessor(tokenizer, model.config.image, 32).save(tmp_path / "model")
    words = [sys.executable, str(SCRIPT), str(tmp_path / "model"), str(tmp_path / "store")]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    few, many, vectors = (float(word) for word in done.stdout.split())
    assert vectors > 40, "the large capture must be large enough to show a leak"
    assert many - few < 15, f"peak grew from {few} to {many} MB over {vectors} MB of vectors"
