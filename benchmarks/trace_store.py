"""A store with one run whose model can be traced, for the benchmarks of the Trace page.

The model has a MiniLM and a ViT-S/14 at 112 px, fused late and not trained further: what a trace
costs does not depend on the weights. The encoders are read from the folder of real data and weights
(``FUSIONSCOPE_SHARED``, else ``../shared``); where it is missing, random ones of the same sizes
stand in, with a vocabulary of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

from watching import ROOT

PIXELS = 112
SAMPLES = 300
_DATA = f"macros:n=300,dev=10,test={SAMPLES}"


def traced_store(work: Path) -> Path:
    """The store in ``work``, made there if it is not there yet: a minute or two."""
    store = work / "store"
    if store.is_dir():
        return store
    from backend.capture.options import CaptureOptions
    from backend.jobs.capture import CaptureRequest, measure_and_project, open_request, run_capture
    from backend.store import RunWriter

    request = CaptureRequest(
        model=str(checkpoint(work)),
        data=_DATA,
        store=str(work / "unfinished"),
        replace=True,
        options=CaptureOptions(limit=SAMPLES, with_checkpoint=True),
    )

    def measure(writer: RunWriter) -> None:
        measure_and_project(writer, keep_probes=True)

    run_capture(request, open_request(request), before_commit=measure)
    return (work / "unfinished").rename(store)


def checkpoint(work: Path) -> Path:
    """The model in ``work``, made there if it is not there yet."""
    folder = work / "model"
    if folder.is_dir():
        return folder
    from backend.data.registry import open_source
    from backend.train.build import build
    from backend.train.plan import chosen_tasks
    from backend.train.recipe import TrainPlan

    text, vision = encoders()
    plan = TrainPlan(
        data=_DATA,
        placement="late",
        text_encoder=text,
        vision_encoder=vision,
        image_size=PIXELS,
    )
    source = open_source(plan.data)
    model, preprocessor = build(plan, source, chosen_tasks(plan, source), 0)
    model.save_pretrained(work / "unsaved")
    preprocessor.save(work / "unsaved")
    return (work / "unsaved").rename(folder)


def encoders() -> tuple[str, str]:
    """(text, vision), as a recipe names them."""
    weights = Path(os.environ.get("FUSIONSCOPE_SHARED", ROOT.parent / "shared")) / "weights"
    text = weights / "minilm_l6"
    vision = weights / "vit_small_patch14" / "model.safetensors"
    if text.is_dir() and vision.is_file():
        return str(text), f"vit_small_patch14_dinov2:{vision}"
    size = "width=384,heads=6"
    return f"small:depth=6,{size}", f"small:depth=12,{size},patch=14"
