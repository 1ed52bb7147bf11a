import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import interp

ROOT = Path(interp.__file__).parent.parent
HEAVY = ("torch", "matplotlib", "transformer_lens", "scipy", "sklearn", "networkx")


def test_every_public_name_is_what_its_table_says_and_the_stub_agrees():
    assert set(interp.__all__) == {"__version__", *interp._WHERE}
    for name in interp._WHERE:
        assert getattr(interp, name) is getattr(importlib.import_module(interp._WHERE[name]), name)
        assert name in dir(interp)
    stub = ast.parse((ROOT / "interp" / "__init__.pyi").read_text())
    said = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert said.pop("__version__") == "interp._version" and said == interp._WHERE
    with pytest.raises(AttributeError, match=r"no attribute 'fixpoints'; it has .*alignment"):
        _ = interp.fixpoints


def test_no_public_name_is_shadowed_by_a_file():
    assert not {path.stem for path in (ROOT / "interp").glob("*.py")} & set(interp.__all__)


@pytest.mark.parametrize("doing", ["import interp; dir(interp)", "import interp.cli", "run --help"])
def test_importing_and_help_stay_light(doing):
    if doing == "run --help":
        doing = "import sys; sys.argv = ['interp', '--help']\nfrom interp.cli import main\ntry: main()\nexcept SystemExit: pass"
    code = f"{doing}\nimport sys, json; print('\\n' + json.dumps(sorted(m for m in {HEAVY} if m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_imports_run_one_way():
    order = ["hooks", "analyses", "interp", "case_studies"]
    for package in order:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                for name in (name.split(".")[0] for name in names):
                    if name in order:
                        assert order.index(name) <= order.index(package), f"{path} imports {name}"


def test_torch_ends_where_analyses_end_and_only_interp_prints():
    for package in ("hooks", "analyses"):
        for path in (ROOT / package).rglob("*.py"):
            calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls), path
