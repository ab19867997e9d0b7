"""What leaves the dashboard as HTML: one figure, a page's figures, or a report of a whole store."""
