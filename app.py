"""The dashboard: ``fusionscope serve --store DIR``, or ``streamlit run app.py -- --store DIR``.

Streamlit's server imports this file for the routes beside its own, and runs it as the script of
every visitor.
"""

import streamlit as st

from dashboard.assets import ROUTES
from dashboard.startup import lifespan

if __name__ == "__main__":
    from dashboard.main import main

    main()
else:
    app = st.App(__file__, routes=ROUTES, lifespan=lifespan)
