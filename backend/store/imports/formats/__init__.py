"""One file a format; each offers what it holds as ``Contents``."""
