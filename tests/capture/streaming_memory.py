"""Capture 500 samples streaming, then 4,000; print both peaks and the vectors' size in MB."""

from __future__ import annotations

import resource
import sys

from backend.capture.run import CaptureOptions
from backend.jobs.capture import CaptureRequest, open_request, run_capture

FEW, MANY = 500, 4000


def peak_mb() -> float:
    scale = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def take(model: str, store: str, n: int) -> float:
    """The megabytes of vectors that a capture of ``n`` samples passes by."""
    request = CaptureRequest(
        model=model,
        data=f"macros:n=4,dev=4,test={n}",
        store=store,
        run_id=f"n{n}",
        streaming=True,
        options=CaptureOptions(batch_size=64, device="cpu", thumbnail_px=32),
    )
    opened = open_request(request)
    assert run_capture(request, opened).dataset.n == n
    manifest = opened.manifest
    numbers = sum(len(spec.sites) * spec.width for spec in manifest.streams)
    return n * numbers * len(manifest.poolings) * 4 / 1e6


if __name__ == "__main__":
    take(sys.argv[1], sys.argv[2], FEW)
    few = peak_mb()
    vectors = take(sys.argv[1], sys.argv[2], MANY)
    print(few, peak_mb(), vectors)
