"""What the pages are made of: the view's state, the store they look at, and what they ask of it."""
