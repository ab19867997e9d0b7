"""Tables and figures as files: what was shown, and where it comes from."""

import io
import json
import zipfile

import pandas as pd
import pyarrow.parquet as pq
import pytest

from backend.report.files import bundle, figures_html, file_name
from backend.store import Store
from backend.views import questions
from backend.views.exports import METADATA, for_people, to_csv, to_parquet
from backend.views.provenance import provenance, settled, view_record
from backend.views.state import ViewState
from backend.views.store_access import look, overview

FIGURE = json.dumps({"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"height": 200}})


@pytest.fixture(scope="module")
def made(tmp_path_factory, store_factory):
    """A store's groups, rows of CKA, and their provenance."""
    path = tmp_path_factory.mktemp("files") / "small"
    store_factory.make_store(path, ("none", "late"), seeds=(0, 1), n=20)
    view, groups = look(str(path)), overview(str(path)).groups
    rows = questions.measures(view, groups, ("cka",), pooling="cls").answer().frame
    state = settled(ViewState(), groups, {"pooling": "cls"})
    views = [view_record("transitions", state)]
    return Store(path), groups, rows, provenance(view, groups, views, {"cka": rows})


def test_a_parquet_table_gives_back_rows_and_the_digests_of_the_right_runs(made):
    store, groups, rows, made_of = made
    table = for_people(rows, groups)
    written = pq.read_table(io.BytesIO(to_parquet(table, made_of)))
    pd.testing.assert_frame_equal(written.to_pandas(), table, check_dtype=False)
    said = json.loads(written.schema.metadata[METADATA])
    weights = {run_id: store.run(run_id).manifest.model.digest for run_id in store.run_ids()}
    assert {run["run_id"]: run["weights"] for run in said["runs"]} == weights
    assert {line["key"] for line in said["tables"]["cka"]} == set(rows["key"])
    assert sum(line["rows"] for line in said["tables"]["cka"]) == len(rows)


def test_a_csv_has_the_same_rows_with_remarks_in_words(made):
    _, groups, rows, _ = made
    coded = '[{"code": "too_few", "layers": [], "values": {"n": 3, "least": 4}}]'
    table = for_people(rows.assign(reason=coded), groups)
    read = pd.read_csv(io.BytesIO(to_csv(table)))
    assert read["value"].to_numpy() == pytest.approx(rows["value"].to_numpy(), nan_ok=True)
    assert set(read["reason"]) == {"n = 3 samples are too few: it takes 4"}


def test_the_zip_holds_the_table_twice_the_figures_and_the_provenance(made):
    _, groups, rows, made_of = made
    table = for_people(rows, groups)
    archive = zipfile.ZipFile(io.BytesIO(bundle("cka", {"cka": table}, {"one": FIGURE}, made_of)))
    assert {name.removeprefix("cka/") for name in archive.namelist()} == {
        *("provenance.json", "cka.csv", "cka.parquet", "figures.html")
    }
    assert json.loads(archive.read("cka/provenance.json"))["store"] == "small"
    assert archive.read("cka/cka.csv") == to_csv(table)


def test_a_figure_file_holds_its_figure_and_its_provenance_and_no_address_to_load(made):
    text = figures_html("a </title><script>", {"one": FIGURE}, made[3]).decode()
    assert "<script>alert" not in text and "a &lt;/title&gt;&lt;script&gt;" in text
    inside = text.split('id="figure-1">')[1].split("</script>")[0]
    assert json.loads(inside) == json.loads(FIGURE)
    assert json.loads(text.split('id="provenance">')[1].split("</script>")[0])["runs"]


@pytest.mark.parametrize(
    ("title", "name"),
    [("../../etc/passwd", "etc-passwd.csv"), ("late: 1 × 2", "late-1-2.csv"), ("~", "figure.csv")],
)
def test_a_title_becomes_a_file_name_without_a_path(title, name):
    assert file_name(title, "csv") == name
