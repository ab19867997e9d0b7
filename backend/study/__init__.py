"""The study: which placement wins, by how much, and what the runs say about the thesis's claims.

Pure functions over tidy frames; no files of a store, no Streamlit, no torch.
``backend.views.study`` makes the frames from a store.
"""

from backend.study.alignment import alignment_points, alignment_tracks_score
from backend.study.dimensions import fusion_compresses_vision
from backend.study.examine import examine
from backend.study.findings import CLAIMS, Claim, ClaimResult, Finding, Part
from backend.study.formats import FORMATS, render
from backend.study.judging import judge
from backend.study.reference import (
    published_beside,
    published_claims,
    published_curves,
    published_scores,
    published_table,
)
from backend.study.runs import SCORE_COLUMNS, StudyRun, study_runs
from backend.study.scores import late_wins
from backend.study.table import Cell, Column, Difference, Published, Row, StudyTable, build_table
from backend.study.transitions import drops_at_fusion

__all__ = [
    "CLAIMS",
    "FORMATS",
    "SCORE_COLUMNS",
    "Cell",
    "Claim",
    "ClaimResult",
    "Column",
    "Difference",
    "Finding",
    "Part",
    "Published",
    "Row",
    "StudyRun",
    "StudyTable",
    "alignment_points",
    "alignment_tracks_score",
    "build_table",
    "drops_at_fusion",
    "examine",
    "fusion_compresses_vision",
    "judge",
    "late_wins",
    "published_beside",
    "published_claims",
    "published_curves",
    "published_scores",
    "published_table",
    "render",
    "study_runs",
]
