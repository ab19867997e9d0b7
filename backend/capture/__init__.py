"""Running a model over pairs and writing what its layers say. Needs torch."""

from backend.capture.recorder import Recorder
from backend.capture.run import CaptureOptions, capture

__all__ = ["CaptureOptions", "Recorder", "capture"]
