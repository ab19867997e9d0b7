"""Sparse autoencoders: read what others trained, train one's own, read layers through them."""
