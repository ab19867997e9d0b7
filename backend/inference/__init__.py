"""One image-text pair through a model's layers, on demand: for the page, a notebook, a script."""
