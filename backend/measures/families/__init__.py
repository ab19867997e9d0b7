"""The measures themselves, one file a family."""
