"""How many tokens the streams of a run have a sample, from what its capture counted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backend.store.kinds import TOKENS
from backend.store.run import Run


class TokenCount(NamedTuple):
    """Tokens a sample of one stream, padding left out: the fewest, the median and the most.

    The median is the lower one where there are two, so that it is a number of tokens.
    """

    stream: str
    least: int
    median: int
    most: int

    @property
    def summary(self) -> dict[str, int]:
        """Without the stream's name."""
        return {"least": self.least, "median": self.median, "most": self.most}


def token_counts(run: Run) -> tuple[TokenCount, ...]:
    """Of every stream in order; none where the run does not say: earlier ones do not.

    InputError names a file that is broken.
    """
    table = run.table(TOKENS)
    counted = table["stream"].to_numpy(zero_copy_only=False)
    found = []
    for spec in run.streams:
        own = counted == spec.name
        if own.any():
            tokens, samples = (table[name].to_numpy()[own] for name in ("tokens", "samples"))
            order = np.argsort(tokens)
            tokens, below = tokens[order], np.cumsum(samples[order])
            middle = tokens[np.searchsorted(below, (below[-1] + 1) // 2)]
            found.append(TokenCount(spec.name, int(tokens[0]), int(middle), int(tokens[-1])))
    return tuple(found)
