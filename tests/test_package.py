"""`import fusionscope` in a checkout, and the wheel: what people get who install it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import fusionscope
from backend import errors, measures, store
from backend.models import registry
from build_hook import inside_package

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "pandas", "pyarrow", "sklearn", "streamlit", "plotly")


def in_python(code: str, *, path: list[Path], cwd: Path) -> str:
    """What a fresh interpreter prints; its path is ``path`` and the installed dependencies.

    Without ``site`` the checkout is not on it, though it is installed as editable.
    """
    dependencies = sysconfig.get_paths()["purelib"]
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, path), dependencies]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def test_a_checkout_has_the_same_objects_under_both_names() -> None:
    assert fusionscope.Store is store.Store
    assert fusionscope.InputError is errors.InputError
    assert fusionscope.open_model is registry.open_model
    from fusionscope import data, figures, jobs, models, types
    from fusionscope import measures as public

    assert public.cka is measures.cka and public.__all__ == measures.__all__
    for module in (data, figures, jobs, models, types, public):
        assert all(hasattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Shop'"):
        fusionscope.Shop  # noqa: B018


def test_importing_it_costs_nothing_and_measures_need_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
import fusionscope
print([name for name in {HEAVY} if name in sys.modules])
from fusionscope import Store
from fusionscope.measures import cka
from fusionscope.figures import transition_curves
print("torch" in sys.modules, "streamlit" in sys.modules)
"""
    assert in_python(code, path=[ROOT], cwd=tmp_path) == "[]\nFalse False\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder))
    return Path(path)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pure wheel is installed by unpacking it."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder whose own package is called like one of a checkout's."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "__init__.py").write_text("WHOSE = 'somebody else'\n")
    return tmp_path


def test_the_wheel_puts_only_our_name_into_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "fusionscope",
        "fusionscope-0.1.0.dist-info",
    }
    inside = {name.split("/")[1] for name in names if name.startswith("fusionscope/")}
    assert {"backend", "dashboard", "_bundled", "measures.py", "py.typed"} <= inside
    assert "fusionscope/_bundled/app.py" in names
    assert not any("__pycache__" in name or "tests" in name.split("/") for name in names)


def test_the_installed_command_knows_its_version_and_makes_the_demo(
    installed: Path, elsewhere: Path
) -> None:
    (dist_info,) = installed.glob("*.dist-info")
    (script,) = Distribution.at(dist_info).entry_points
    assert (script.name, script.value) == ("fusionscope", "fusionscope.__main__:main")
    code = """
import sys
from fusionscope.__main__ import main
for sys.argv in (["x", "--version"], ["x", "demo", "--no-serve", "--store", "made"],
                 ["x", "runs", "--store", "made"]):
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
print(sorted({name.split(".")[0] for name in sys.modules} & {"backend", "dashboard", "torch"}))
"""
    printed = in_python(code, path=[installed, elsewhere], cwd=elsewhere)
    assert printed.startswith("fusionscope 0.1.0\n")
    assert "macros-late-s2" in printed and printed.endswith("[]\n")
    assert (elsewhere / "made" / "runs" / "macros-none-s0" / "run.json").is_file()


def test_the_installed_package_measures_opens_models_and_leaves_another_backend_alone(
    installed: Path, elsewhere: Path
) -> None:
    code = """
import sys
import fusionscope
from fusionscope import InputError, Store, open_model
from fusionscope.backend.paths import shipped_demo
from fusionscope.measures import cka
run = Store(shipped_demo()).run("macros-late-s0")
x, y = (run.vectors(stream, 12, "cls") for stream in ("text", "vision"))
print(f"{float(cka(x, x)):.3f}", 0 <= float(cka(x, y)) < 1)
checkpoint = run.checkpoint
print(type(open_model(str(checkpoint))).__module__)
try:
    open_model("nowhere/at all")
except InputError as error:
    print("InputError")
print(sorted({name.split(".")[0] for name in sys.modules} & {"backend", "dashboard"}))
import backend
print(backend.WHOSE, fusionscope.__file__)
"""
    printed = in_python(code, path=[installed, elsewhere], cwd=elsewhere).splitlines()
    assert printed == [
        "1.000 True",
        "fusionscope.backend.models.dual_stream.adapter",
        "InputError",
        "[]",
        f"somebody else {installed / 'fusionscope' / '__init__.py'}",
    ]


def test_every_page_of_the_installed_dashboard_runs(installed: Path, elsewhere: Path) -> None:
    """And the folder that Streamlit puts first on the path holds no package of ours."""
    code = """
import sys
from fusionscope.backend.paths import app_file, shipped_demo
sys.path.insert(0, str(app_file().parent))  # as `streamlit run` does
sys.argv = ["app.py", "--store", str(shipped_demo())]
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(str(app_file()), default_timeout=120).run()
for page in sorted((app_file().parent / "pages").glob("*.py")):
    app.switch_page(f"pages/{page.name}").run()
    assert not app.exception, (page.name, app.exception)
    assert not app.error, (page.name, [error.value for error in app.error])
    print(page.stem, app.title[0].value if app.title else app.header[0].value)
print(sorted({name.split(".")[0] for name in sys.modules} & {"backend", "dashboard"}))
import backend
print(backend.WHOSE)
"""
    printed = in_python(code, path=[installed, elsewhere], cwd=elsewhere).splitlines()
    assert len(printed) >= 9 + 2
    assert printed[-2:] == ["[]", "somebody else"]


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("from backend.store import Store\n", "from fusionscope.backend.store import Store\n"),
        (
            "def f():\n    from backend import x\n",
            "def f():\n    from fusionscope.backend import x\n",
        ),
        ("if a: from dashboard import b\n", "if a: from fusionscope.dashboard import b\n"),
        (
            "from backend.a import (  # b\n    c,\n)\n",
            "from fusionscope.backend.a import (  # b\n    c,\n)\n",
        ),
        *(
            (same, same)
            for same in (
                "from backends import x\n",
                "from a.backend import backend\n",
                "x = 'from backend import y'\n",
                '"""from backend import y\n"""\n',
                "# from backend import y\n",
                "yield_from = backend.x\n",
                "def f():\n    yield from backend.each()\n",
                "raise E('backend said no') from backend\n",
                "words = ['backend', 'dashboard']\n",
            )
        ),
    ],
)
def test_only_import_statements_are_rewritten(source: str, made: str) -> None:
    assert inside_package(source, "a.py") == made


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nimport backend.store\n", r"a\.py, line 2: say `from backend"),
        ("import backend as b\n", "line 1: say"),
        ("module = 'backend.store:Store'\n", "line 1: derive 'backend.store:Store' from"),
        ("import_module(f'backend.{name}')\n", "line 1: derive"),
    ],
)
def test_what_cannot_be_rewritten_stops_the_build(source: str, message: str) -> None:
    if source.startswith("import_module"):
        source = source.replace("{name}", "a.{name}")
    with pytest.raises(ValueError, match=message):
        inside_package(source, "a.py")
