"""The same from batches, without keeping the arrays."""
