"""The house: arrows point down, private names stay private, no module is hidden by a name."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import adam_nbdev

ROOT = Path(__file__).resolve().parents[2] / "adam_nbdev"
FILES = sorted(file for file in ROOT.rglob("*.py") if file.name != "_modidx.py")

#: For each room, the rooms that its modules may import from; all may use `extras`.
MAY_IMPORT = {
    "extras": set(),
    "language": set(),
    "readers": {"language"},
    "rules": {"language"},
    "kernels": {"language", "readers"},
    "around": {"language"},
    "optim": {"language", "readers", "rules", "kernels"},
    "lab": {"language", "readers", "rules", "kernels"},
    "optax": {"language"},
    "scipy": {"language", "readers"},
    "conformance": {"language", "readers", "rules", "optim"},
}


def module(file):
    """The parts of the name of a module: `["language", "rule"]`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return list(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file):
    """(module, name) for all that a file imports from the package; of a whole module, no name."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((a.name.split(".")[1:], "") for a in node.names if _ours(a.name))
        elif isinstance(node, ast.ImportFrom) and (node.level or _ours(node.module)):
            inner = (node.module or "").split(".") if node.module else []
            start = package[: len(package) + 1 - node.level] if node.level else ()
            parts = [*start, *(inner if node.level else inner[1:])]
            yield from ((parts, a.name) for a in node.names)


def _ours(name):
    return name.split(".")[0] == "adam_nbdev"


@pytest.mark.parametrize("file", FILES, ids=lambda file: ".".join(module(file)) or "adam_nbdev")
def test_arrows_point_down_and_private_names_stay_where_they_are(file):
    found = list(imported(file))
    assert not [name for _, name in found if name.startswith("_")], "imports a private name"
    room = module(file)[:1]
    if not room:
        assert not found, "the package itself imports nothing until it is asked"
        return
    rooms = {(parts or [name])[0] for parts, name in found}
    assert room[0] in MAY_IMPORT, f"say in MAY_IMPORT what {room[0]} may import"
    assert rooms <= {*room, "extras"} | MAY_IMPORT[room[0]]


def test_the_imports_of_the_house_are_found():
    found = list(imported(ROOT / "lab" / "figures.py"))
    assert (["language", "catalogue"], "ENTRIES") in found and (["rules"], "RULES") in found
    (room,) = {parts[0] for parts, _ in imported(ROOT / "rules" / "_adam.py")}
    assert room == "language" and len(FILES) > 30


@pytest.mark.parametrize("room", ["", *MAY_IMPORT])
def test_no_module_is_hidden_by_a_name(room):
    package = importlib.import_module(f"adam_nbdev.{room}".removesuffix("."))
    if not hasattr(package, "__path__"):
        return
    modules = {m.name for m in pkgutil.iter_modules(package.__path__)}
    assert modules and not modules & set(getattr(package, "__all__", ()))
    for name in modules - {"_modidx"}:
        inner = importlib.import_module(f"{package.__name__}.{name}")
        assert getattr(package, name) is inner


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import adam_nbdev"
    code += "; print(*(set(sys.modules) - before))"
    found = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT.parent, text=True)
    assert found.split() == ["adam_nbdev"]


@pytest.mark.parametrize("name", adam_nbdev.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(adam_nbdev, name).__doc__ or name == "RULES"
