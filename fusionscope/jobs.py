"""What the commands do to a store, for programs: measuring, comparing and projecting its runs."""

from backend.jobs.compare import compare_runs
from backend.jobs.measure import measure_store, missing_in_store, perform_all
from backend.jobs.project import project_run

__all__ = ["compare_runs", "measure_store", "missing_in_store", "perform_all", "project_run"]
