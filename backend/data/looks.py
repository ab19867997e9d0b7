"""Which images look the same, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.data.groups import Codes

CELLS = 8
TOLERANCE = 8.0
"""Of 255, in every cell and channel. Of 60 memes of 100 px saved again as JPEG (quality 75, 85) or
made smaller, nine of ten change by at most 6; of 400 the two most alike are 37 apart."""

_SHAPE = 400  # how much a difference in log(width / height) counts: 2 % of it is the tolerance

Look = NDArray[np.float32]
"""The means of the cells, (8 x 8 x 3) of 0..255, then the weighed shape of the image."""


def look_of(images: Sequence[Image.Image]) -> Look | None:
    """What the first of some RGB images looks like at 8 x 8 pixels; None for no image."""
    if not images:
        return None
    image = images[0]
    small = image.resize((CELLS, CELLS), Image.Resampling.BOX)
    shape = _SHAPE * np.log(image.width / image.height)
    return np.append(np.asarray(small, dtype=np.float32).ravel(), np.float32(shape))


def looks_alike(looks: Sequence[Look | None]) -> Codes:
    """(n,) numbers that are equal for images that look the same, -1 for none.

    Those do whose looks differ by at most :data:`TOLERANCE` everywhere, and so do those that are
    connected by others. Memory: 800 bytes an image, however many look the same.
    """
    out = np.full(len(looks), -1, dtype=np.intp)
    rows = np.array([row for row, look in enumerate(looks) if look is not None], dtype=np.intp)
    if not len(rows):
        return out
    values = np.stack([look for look in looks if look is not None])
    # Equal looks once: a thousand copies are one place.
    kinds, of_kind = np.unique(values, axis=0, return_inverse=True)
    out[rows] = _connected(kinds)[of_kind.ravel()]
    return out


def _connected(points: NDArray[np.float32]) -> Codes:
    """(n,) the number of the component of each point, by steps of at most the tolerance.

    Asks for the neighbours of one point at a time, never for all pairs; what was reached leaves the
    tree as soon as it costs more to meet it again than to build the tree anew.
    """
    from scipy.spatial import cKDTree

    labels = np.full(len(points), -1, dtype=np.intp)
    left, tree, again = np.arange(len(points)), cKDTree(points), 0
    for seed in range(len(points)):
        if labels[seed] >= 0:
            continue
        labels[seed] = seed
        reached = [seed]
        while reached:
            near = left[tree.query_ball_point(points[reached.pop()], TOLERANCE, p=np.inf)]
            new = near[labels[near] < 0]
            labels[new] = seed
            reached += new.tolist()
            again += len(near) - len(new)
            if again > 2 * len(left):
                left, again = np.flatnonzero(labels < 0), 0
                tree = cKDTree(points[left])
    return labels
