"""What a value would be by chance, and how sure it is."""
