"""The elements' JavaScript and Plotly itself, served from here: nothing is fetched elsewhere.

Plotly's own file comes out of the installed package. Both are compressed once, and their addresses
hold a hash of their content, so a browser asks for each of them once.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path

import plotly
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILES = {
    **{path.name: path for path in sorted((Path(__file__).parent / "element").glob("*.js"))},
    "plotly.js": Path(plotly.__file__).parent / "package_data" / "plotly.min.js",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@lru_cache(maxsize=1)
def version() -> str:
    """A hash of all files, which stands in their addresses."""
    digest = hashlib.blake2b(digest_size=8)
    for path in _FILES.values():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def loader(file: str) -> str:
    """The script of an element: it loads ``file``, whose ``show`` is what Streamlit calls."""
    return f"""
export default async element => {{
  const address = new URL("fusionscope/{version()}/{file}", document.baseURI);
  return (await import(address)).show(element);
}};
"""


@lru_cache(maxsize=len(_FILES))
def _compressed(name: str) -> bytes:
    return gzip.compress(_FILES[name].read_bytes(), compresslevel=6)


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        return Response("not found", status_code=404)
    return Response(
        _compressed(name),
        media_type="text/javascript",
        headers={"Content-Encoding": "gzip", "Cache-Control": _FOR_EVER},
    )


ROUTES = (Route("/fusionscope/{version}/{name}", _asset, methods=["GET"]),)
