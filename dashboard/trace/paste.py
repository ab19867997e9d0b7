"""A button that pastes an image into a file uploader; see ``element/paste.js``."""

from __future__ import annotations

import streamlit as st

from dashboard import assets

_paste = st.components.v2.component(
    "fusionscope_paste", js=assets.loader("paste.js"), isolate_styles=False
)


def paste_into(uploader: str, *, everywhere: bool) -> None:
    """An image on the clipboard goes into the file uploader of that key, as if it was chosen there.

    ``everywhere``: it is also the one that takes what is pasted by the keyboard, or dropped,
    anywhere on the page.
    """
    _paste(
        key=f"{uploader}-paste",
        data={"uploader": f"st-key-{uploader}", "everywhere": everywhere},
    )
