"""What a fusion needs: the same transitions under another partner, and with untrained weights."""
