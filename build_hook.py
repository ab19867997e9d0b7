"""Build hook: a wheel carries the dashboard and the demo store inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLED = ("app.py", "pages", ".streamlit", "cache/demo")


class BundleDashboard(BuildHookInterface):
    """Maps the files beside the package to ``backend/_bundled``, where backend/paths.py looks."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; an editable install uses the checkout as it is."""
        if version == "editable":
            return
        for name in BUNDLED:
            source = Path(self.root) / name
            if not source.exists():
                raise FileNotFoundError(f"{name} belongs into the wheel and is not there")
            build_data["force_include"][str(source)] = f"backend/_bundled/{name}"
