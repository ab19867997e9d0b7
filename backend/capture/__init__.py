"""Running a model over pairs and writing what its layers say. Needs torch."""
