"""All measures of a model as the tidy rows that a store keeps."""
