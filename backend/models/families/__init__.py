"""One file a family of released models. Nothing here is imported before its model is opened."""
