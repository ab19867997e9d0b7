"""Models with named streams. Importing this package does not import torch."""
