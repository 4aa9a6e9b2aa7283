from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nta

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "nta"
MODULES = sorted(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__") for path in SOURCE.rglob("*.py"))
HEAVY = ("matplotlib", "numba", "pandas", "rich", "scipy", "skimage", "tifffile", "trackpy")


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Run `code` in a fresh interpreter and return the top-level modules it loaded."""
    tail = "\nimport sys\nprint('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments], capture_output=True, text=True, timeout=100, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.rpartition("LOADED")[2].split())


def imports_at_top(path: Path) -> set[str]:
    """Return the top-level names of what a module imports when it is loaded, functions and type checks left out."""

    def statements(body: list[ast.stmt]):
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                yield from statements(node.orelse)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node
                for name in ("body", "orelse", "finalbody"):
                    yield from statements(getattr(node, name, []))
                for handler in getattr(node, "handlers", []):
                    yield from statements(handler.body)

    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


HELP = """
import sys
from nta.cli import cli
try:
    cli(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--help"], ["completion", "bash"], ["--version"]], ids=" ".join)
def test_help_is_light(arguments):
    loaded = loaded_by(HELP, *arguments)
    assert {"click", "nta"} <= loaded
    assert not loaded & {*HEAVY, "numpy"}


def test_import_nta_is_light():
    loaded = loaded_by("import nta; assert nta.__version__; assert 'analyze' in nta.__all__")
    assert "nta" in loaded
    assert not loaded & {*HEAVY, "numpy", "click"}


def test_stages_load_nothing_heavy_before_they_need_it():
    stages = [name for name in MODULES if not name.startswith(("nta.cli", "nta.__main__", "nta.kernels"))]
    assert "nta.settings" in stages
    loaded = loaded_by("\n".join(f"import {name}" for name in stages))
    assert not loaded & {"matplotlib", "numba", "pandas", "skimage", "trackpy"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_kernels_import_numba_at_the_top(path: Path):
    if path.parent.name != "kernels":
        assert "numba" not in imports_at_top(path)


def test_imports_at_top_sees_every_form_but_functions_and_type_checks(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "import a\nfrom b.c import d\ntry:\n    import e\nexcept ImportError:\n    import f\n"
        "if TYPE_CHECKING:\n    import g\ndef h():\n    import i\nclass J:\n    import k\n"
    )
    assert imports_at_top(module) == {"a", "b", "e", "f", "k"}


@pytest.mark.parametrize("name", [name for name in nta.__all__ if name != "__version__"])
def test_public_names_are_there(name):
    code = (
        f"import nta\nfirst = nta.{name}\nassert callable(getattr(first, '{name}', first)), first\nassert nta.{name} is first, nta.{name}"
    )
    assert "nta" in loaded_by(code)


def test_unknown_public_name():
    with pytest.raises(AttributeError, match=r"^module 'nta' has no attribute 'analyse'$"):
        nta.analyse  # noqa: B018


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    found = re.search(r"^version: (\S+)$", citation, re.MULTILINE)
    assert found
    assert found[1] == nta.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/nta/__init__.py"


def test_every_import_is_a_declared_dependency():
    distribution = {"skimage": "scikit-image", "PIL": "pillow", "markupsafe": "jinja2", "tomli_w": "tomli-w"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {re.split(r"[<>=~! \[]", need, maxsplit=1)[0] for need in project["project"]["dependencies"]}
    used = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                used.add((node.module or "").partition(".")[0])
    third_party = {distribution.get(name, name) for name in used - set(sys.stdlib_module_names) - {"nta"}}
    assert third_party - declared == set()
    # imagecodecs serves tifffile, which imports it by itself
    assert declared - third_party <= {"imagecodecs", "scikit-image"}
