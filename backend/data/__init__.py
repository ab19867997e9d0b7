"""Reading image-text datasets: one module a layout, all of them streams of the same pairs."""

from backend.data.base import Pair, PairSource, UnreadableFile
from backend.data.check import check, check_all
from backend.data.registry import LAYOUTS, open_source
from backend.data.report import Problem, Report

__all__ = [
    "LAYOUTS",
    "Pair",
    "PairSource",
    "Problem",
    "Report",
    "UnreadableFile",
    "check",
    "check_all",
    "open_source",
]
