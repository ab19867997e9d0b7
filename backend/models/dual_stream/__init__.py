"""Our own fusion model: a text and a vision encoder with co-attention at chosen layers."""
