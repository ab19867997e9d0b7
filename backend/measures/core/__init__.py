"""Arrays, sums and records that every measure stands on."""
