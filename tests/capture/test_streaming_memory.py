"""Memory of a streaming capture does not grow with the number of samples."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from backend.capture.options import CaptureOptions
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from tests.tiny import tiny_checkpoint

WARM_UP, FEW, MANY = 600, 500, 4000


def test_eight_times_the_samples_take_no_more_memory(tmp_path: Path) -> None:
    model = tiny_checkpoint(tmp_path / "model")

    def peak(n: int) -> tuple[int, int]:
        """Bytes at the highest, and of the vectors that passed by."""
        request = CaptureRequest(
            model=str(model),
            data=f"macros:n=4,dev=4,test={n}",
            store=str(tmp_path / "store"),
            run_id=f"n{n}",
            streaming=True,
            options=CaptureOptions(batch_size=64, device="cpu", thumbnail_px=16),
        )
        opened = open_request(request)
        tracemalloc.start()
        assert run_capture(request, opened).dataset.n == n
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        manifest = opened.manifest
        numbers = sum(len(spec.sites) * spec.width for spec in manifest.streams)
        return found, n * numbers * len(manifest.poolings) * 4

    peak(WARM_UP)  # what is imported and cached on first use
    few, some = peak(FEW)
    many, all_ = peak(MANY)
    print(f"peak {few / 1e6:.2f} MB of {FEW}, {many / 1e6:.2f} MB of {MANY} samples")
    # What does grow is a path a shard and eight bytes an id.
    assert many - few < 0.1 * (all_ - some)
