"""The download menu of every page: filled when opened, made when clicked, and true to the page."""

import io
import json
import zipfile
from urllib.parse import parse_qsl, urlsplit

import pyarrow.parquet as pq
import pytest
import streamlit as st

from backend.report.files import file_name
from backend.store import Store
from backend.views.exports import METADATA
from tests.pages.harness import charts, open_page

PAGES = (
    "runs",
    "transitions",
    "alignment",
    "dimensionality",
    "training",
    "projection",
    "compare",
    "study",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("downloads") / "small"
    store_factory.make_store(
        path,
        ("none", "late"),
        seeds=(0, 1),
        n=20,
        depth=4,
        training=lambda placement, seed: [(0, 0), (1, 8)],
    )
    return path


@pytest.fixture
def offered(monkeypatch):
    """{file name: what makes it} of the menus that were filled, and how often anything was made."""
    made = {}
    button = st.download_button

    def recorded(label, data, file_name, *args, **settings):
        made[file_name] = data
        return button(label, data, file_name, *args, **settings)

    monkeypatch.setattr(st, "download_button", recorded)
    return made


@pytest.fixture
def visit(monkeypatch, store):
    def go(page, query):
        at = open_page(monkeypatch, store, page, **query)
        assert not at.exception
        return at

    return go


@pytest.mark.parametrize("page", PAGES)
def test_the_files_hold_what_the_page_shows_and_its_address_shows_it_again(
    visit, store, offered, page
):
    at = visit(page, {"runs": "none,late-seed1"})
    assert not offered
    keys = [key_of(popover.proto.popover.id) for popover in at.get("popover")]
    (menu,) = (key for key in keys if key.endswith("-downloads"))
    at.session_state[menu] = True
    at.run()
    assert not at.exception
    (archive,) = (name for name in offered if name.endswith(".zip"))
    held = zipfile.ZipFile(io.BytesIO(offered[archive]()))
    files = {name.rpartition("/")[2]: held.read(name) for name in held.namelist()}

    sent = [json.dumps(figure, sort_keys=True) for figure in charts(at).values()]
    html = files["figures.html"].decode()
    drawn = [
        json.dumps(json.loads(part.split("</script>")[0]), sort_keys=True)
        for part in html.split('id="figure-')[1:]
        for part in [part.split(">", 1)[1]]
    ]
    assert drawn and set(drawn) <= set(sent)

    made_of = json.loads(files["provenance.json"])
    opened = Store(store)
    weights = {run["run_id"]: run["weights"] for run in made_of["runs"]}
    assert weights == {run_id: opened.run(run_id).manifest.model.digest for run_id in weights}
    for title, lines in made_of["tables"].items():
        rows = pq.read_table(io.BytesIO(files[file_name(title, "parquet")]))
        assert json.loads(rows.schema.metadata[METADATA]) == made_of
        assert rows.num_rows == sum(line["rows"] for line in lines) > 0
        if "run_id" in rows.column_names:
            assert set(rows["run_id"].to_pylist()) == set(weights)

    address = urlsplit(made_of["views"][0]["address"])
    again = charts(visit(page, dict(parse_qsl(address.query))))
    assert set(drawn) <= {json.dumps(figure, sort_keys=True) for figure in again.values()}


def key_of(widget_id):
    """The key that a widget was given, of its id."""
    return widget_id.split("-", 2)[2]
