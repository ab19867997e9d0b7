"""A report: one file with the pages' figures, the store's numbers, and nobody else's HTML."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backend.errors import InputError
from backend.report.build import SECTIONS, report, state_of, write_report
from backend.report.document import Figure, Missing
from backend.store import Store, kinds
from backend.store.pack import pack
from backend.views.state import ViewState

ROOT = Path(__file__).resolve().parents[2]
NASTY = "<b>x</b></script><script>alert(1)</script>"


def moments(placement, seed):
    return [(0, 0), (1, 8), (2, 16)] if seed == 0 else []


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("report") / "small"
    made = store_factory.make_store(
        path, ("none", "early", "late"), seeds=(0, 1), n=24, depth=4, training=moments
    )
    for run_id in made.run_ids():
        add_probes(made.run(run_id))
    return path


def add_probes(run):
    """Made-up probes of the task irony, at the places where the dimension was measured."""
    rows = run.table(kinds.MEASURES, where=pc.field("measure") == "effective_dimension")
    made = rows.drop_columns(["key"]).to_pylist()
    probes = {
        "measure": "linear_probe",
        "estimator": "irony",
        "value": 0.7,
        "null_mean": 0.5,
        "reason": "",
    }
    table = pa.Table.from_pylist([row | probes for row in made], kinds.MEASURES.schema)
    run.add(kinds.MEASURES, table, "default-linear_probe-cls-made")


@pytest.fixture(scope="module")
def document(store):
    return report(str(store), ViewState())


class Page(HTMLParser):
    """The elements of an HTML page, and the text of its scripts and of everything else."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.words = [], [], []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag
        if tag == "script":
            self.scripts.append([dict(attributes), ""])

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1][1] += data
        else:
            self.words.append(data)

    @property
    def data(self):
        return {a["id"]: json.loads(text) for a, text in self.scripts if "id" in a}


def figures(document):
    return [item for part in document.sections for item in part.items if isinstance(item, Figure)]


def values(trace, axis):
    """Numbers of a trace; Plotly packs arrays as base64."""
    packed = trace[axis]
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).astype(float)


def test_every_page_is_a_section_with_figures_and_each_figure_stands_in_the_file_once(document):
    assert [part.key for part in document.sections] == list(SECTIONS)
    for part in document.sections:
        assert any(isinstance(item, Figure) for item in part.items), part.key
    page = Page(document.to_html())
    places = [a["data-figure"] for _, a in page.tags if "data-figure" in a]
    assert len(places) == len(set(places)) == len(figures(document))
    assert [page.data[name] for name in places] == [json.loads(f.json) for f in figures(document)]
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    anchors = {a.get("id") for tag, a in page.tags if tag == "section"}
    assert {link.removeprefix("#") for link in links} == anchors


def test_the_file_asks_nothing_of_the_network_and_holds_plotly_once(document):
    text = document.to_html()
    page = Page(text)
    policy = next(a["content"] for tag, a in page.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none';") and "http" not in policy
    outside = [a for _, a in page.tags if a.get("src") or a.get("href", "#")[0] != "#"]
    assert outside == []
    assert text.count("plotly.js v") == 1
    assert all(figure.caption or "all steps" in figure.title for figure in figures(document))


def test_a_curve_shows_the_mean_over_seeds_of_what_the_store_holds(store, document):
    drawn = next(f for f in figures(document) if f.title == "vision, consecutive layers")
    trace = next(
        t
        for t in json.loads(drawn.json)["data"]
        if t.get("name") == "late" and "lines" in t["mode"]
    )
    opened = Store(store)
    means = []
    for a, b in pairwise(range(5)):
        seeds = []
        for seed in (0, 1):
            rows = opened.run(f"late-seed{seed}").measures(["cka"])
            rows = rows[
                rows["site_a"].eq("block")
                & rows["site_b"].eq("block")
                & rows["stream_a"].eq("vision")
                & rows["stream_b"].eq("vision")
                & rows["layer_a"].eq(a)
                & rows["layer_b"].eq(b)
                & rows["pooling"].eq("cls")
                & rows["estimator"].eq("debiased")
            ]
            seeds.append(rows["value"].item())
        means.append(np.mean(seeds))
    shown = dict(zip(values(trace, "x"), values(trace, "y"), strict=True))
    assert shown == pytest.approx(dict(enumerate(means, 1)), nan_ok=True)
    assert "n = 24" in drawn.caption and "mean of 2 seeds" in drawn.caption


def test_the_provenance_names_digests_parameters_and_addresses_that_show_the_same(store, document):
    made_of = Page(document.to_html()).data["provenance"]
    opened = Store(store)
    assert {run["run_id"] for run in made_of["runs"]} == set(opened.run_ids())
    for run in made_of["runs"]:
        manifest = opened.run(run["run_id"]).manifest
        assert run["weights"] == manifest.model.digest and run["n"] == manifest.dataset.n
        assert run["fingerprint"] == manifest.dataset.fingerprint and run["seed"] == manifest.seed
    (cka,) = made_of["tables"]["transitions"]
    assert (cka["measure"], cka["pooling"], cka["estimator"]) == ("cka", "cls", "debiased")
    assert cka["n"] == [24] and cka["key"]
    assert str(store.parent) not in json.dumps(made_of)
    for view in made_of["views"]:
        # Nothing is left to defaults that may become others.
        asked = {"runs"} | ({"pooling"} if view["page"] != "runs" else set())
        assert asked <= set(view["settings"])
        address = urlsplit(view["address"])
        again = report(str(store), state_of(dict(parse_qsl(address.query))), [view["page"]])
        assert address.path in (f"/{view['page']}", "/")
        (part,) = (part for part in document.sections if part.key == view["page"])
        assert [*map(str, again.sections[0].items)] == [*map(str, part.items)]


def test_chosen_runs_pages_measure_and_pooling_are_those_of_the_file(store):
    state = state_of({"runs": "none,late-seed1", "pooling": "mean", "measure": "cka"})
    some = report(str(store), state, ["alignment"])
    assert [part.key for part in some.sections] == ["alignment"]
    assert {run.run_id for run in some.provenance.runs} == {
        *("none-seed0", "none-seed1", "late-seed1")
    }
    assert some.provenance.views[0].settings["pooling"] == "mean"


@pytest.mark.parametrize(
    ("settings", "pages", "words"),
    [
        ({}, ["transition"], r"^pages: transition is no page\. There are runs, transitions"),
        ({"runs": "nobody"}, [], r"^runs: this store has no run nobody\. Use none"),
        ({"measure": "svcca"}, [], r"^measure: no chosen run holds svcca"),
        ({"pooling": "tokens"}, [], r"^pooling: 'tokens' is not one that a view"),
    ],
)
def test_what_is_not_there_is_one_line(store, settings, pages, words):
    with pytest.raises(InputError, match=words):
        report(str(store), state_of(settings), pages)


def test_an_existing_file_is_kept_unless_forced_and_a_failed_report_leaves_none(store, tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(InputError, match="is no page"):
        write_report(str(store), out, ViewState(), ["nothing"])
    assert list(tmp_path.iterdir()) == []
    out.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_report(str(store), out, ViewState(), ["runs"])
    assert out.read_text() == "mine"
    assert write_report(str(store), out, ViewState(), ["runs"], force=True) == out.stat().st_size
    assert [*tmp_path.iterdir()] == [out]


def test_a_packed_store_gives_the_same_report(store, document, tmp_path):
    packed = tmp_path / "small.duckdb"
    pack([Store(store)], packed)
    same = report(str(packed), ViewState())
    for ours, theirs in zip(document.sections, same.sections, strict=True):
        drawn = [i for i in ours.items if not isinstance(i, Missing)]
        assert [str(i) for i in drawn] == [
            str(i) for i in theirs.items if not isinstance(i, Missing)
        ], ours.key


def test_a_store_without_measures_says_which_command_makes_them(tmp_path, store_factory):
    path = tmp_path / "bare"
    store_factory.make_store(
        path, ("late",), seeds=(0,), n=20, measures=False, projections=False, scores=False
    )
    bare = report(str(path), ViewState())
    asked = {
        part.key: [line for i in part.items if isinstance(i, Missing) for line in i.commands]
        for part in bare.sections
    }
    for page in ("transitions", "alignment", "dimensionality"):
        assert asked[page] == [f"fusionscope measure --store {path}"]
    assert asked["projection"] == [f"fusionscope project --store {path}"]
    assert any("train" in line for line in asked["training"])
    bare.to_html()


def test_text_from_data_is_never_html(tmp_path, store_factory):
    path = tmp_path / "nasty"
    store_factory.make_released_store(path, ("two", "three"), n=20)
    for file in path.glob("runs/*/run.json"):
        raw = json.loads(file.read_text())
        raw["model"]["name"] = f"{NASTY} {raw['model']['name']}"
        raw["dataset"]["name"] = NASTY
        for task in raw["dataset"]["tasks"]:
            task["classes"] = [NASTY, *task["classes"][1:]]
        file.write_text(json.dumps(raw))
    document = report(str(path), ViewState())
    page = Page(document.to_html())
    assert not [tag for tag, _ in page.tags if tag == "b"]
    # Figures, provenance, Plotly and ours: no script more than we wrote.
    assert len(page.scripts) == len(figures(document)) + 3
    assert any(NASTY in words for words in page.words)
    # Plotly shows a part of HTML in its texts, so there it must be escaped a second time.
    shown = [json.dumps(page.data[name]) for name in page.data if name != "provenance"]
    assert any("&lt;b&gt;" in text for text in shown)
    assert not [text for text in shown if re.search(r"<script|<b>x", text)]


def test_the_command_needs_neither_torch_nor_streamlit(store, tmp_path):
    out = tmp_path / "report.html"
    code = (
        "import sys; from backend.cli import app\n"
        f"app(['report', {str(store)!r}, '--out', {str(out)!r}, '--pages', 'runs,compare'],"
        " standalone_mode=False)\n"
        "print([m for m in ('torch', 'streamlit', 'transformers', 'umap') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Compare" in out.read_text()
