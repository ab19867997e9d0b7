"""The dashboard: ``fusionscope serve --store DIR``, or ``streamlit run app.py -- --store DIR``.

Streamlit's server imports this file for what stands around its own routes and for those beside
them, and runs it as the script of every visitor.
"""

import streamlit as st
from starlette.middleware import Middleware

from dashboard.assets import ROUTES
from dashboard.door import Door
from dashboard.startup import lifespan, wait_until_loaded

if __name__ == "__main__":
    wait_until_loaded()
    from dashboard.main import main

    main()
else:
    app = st.App(__file__, routes=ROUTES, middleware=[Middleware(Door)], lifespan=lifespan)
