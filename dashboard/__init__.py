"""Everything that imports Streamlit: session, caches, widgets, cards."""
