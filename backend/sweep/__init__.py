"""Sweeps: datasets x placements x seeds, each cell from training to measures in one store."""
