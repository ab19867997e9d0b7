"""An example of a family of models in a package of its own; docs/new-family.md goes through it."""
