"""A captioner that is no transformer: convolutions, soft attention, a recurrent decoder."""

from __future__ import annotations
