"""Our own fusion model: a text and a vision encoder with co-attention at chosen layers."""

OBJECTIVES = ("mlm", "alignment", "image")
"""What :mod:`backend.models.dual_stream.pretraining` can train it on, without labels."""
