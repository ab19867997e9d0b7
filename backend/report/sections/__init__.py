"""One file a page of the report: a function of what is asked that gives figures and tables."""
