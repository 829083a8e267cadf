"""The package as its users get it: the wheel, alone in an empty environment."""

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from adam_nbdev.readers.diff import code
from adam_nbdev.rules import adam

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


#: Rooms and modules that are made of an optional library, and the extra that brings it.
MADE_OF = {
    **{"kernels.numba_ops": "kernels", "kernels.triton_ops": "gpu"},
    **{f"kernels.{module}": "torch" for module in ("gpu", "graphs", "lists")},
    **{"optim": "torch", "optax": "jax", "scipy": "scipy"},
}
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted((ROOT / "adam_nbdev").rglob("*.py"))
    if file.name not in ("_modidx.py", "plugin.py")  # the plugin is imported by pytest
]


def made_of(module):
    """The extra that a module needs, if any."""
    inner = module.removeprefix("adam_nbdev.")
    return next(
        (extra for room, extra in MADE_OF.items() if f"{inner}.".startswith(f"{room}.")), ""
    )


def run(python, code, folder):
    """Run code from a file, elsewhere than in the checkout; its completed process."""
    (folder / "script.py").write_text(code)
    alone = [] if python == sys.executable else ["-E"]  # without the wheel on PYTHONPATH
    return subprocess.run(
        [python, *alone, "-W", "error", "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The Python of an environment that has the wheel and what the wheel asks for."""
    folder = tmp_path_factory.mktemp("empty")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "adam_nbdev", source / "adam_nbdev", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run([*pip, *build], check=True, capture_output=True, timeout=300)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    (wheel,) = folder.glob("adam_nbdev-*.whl")
    install = [python, "-E", "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel]
    subprocess.run(install, check=True, timeout=300)
    return python


@pytest.mark.slow
def test_the_readme_runs_with_the_core_alone(empty, tmp_path):
    done = run(empty, "\n".join(BLOCKS), tmp_path)
    assert done.returncode == 0, done.stderr
    for block in BLOCKS:
        assert run(empty, block, tmp_path).returncode == 0, block
    assert len(BLOCKS) >= 4 and r"\theta_{t} &= \theta_{t-1} - \Delta_{t}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from adam_nbdev.readers.symbolic import symbolic; symbolic(adam)", "symbolic"),
        ("from adam_nbdev.readers.symbolic import prove; prove(1, 1)", "symbolic"),
        ("from adam_nbdev.lab.figures import book_style; book_style()", "figures"),
        ("from adam_nbdev.extras import require; require('torch')", "torch"),
        ("from adam_nbdev.extras import require; require('numba')", "kernels"),
        ("from adam_nbdev.lab.experiments import main; main([])", "experiments"),
        ("from adam_nbdev.kernels.cache import fuse; fuse(adam)", "kernels"),
        ("from adam_nbdev.conformance.plain import load; load(__file__)", "checkpoints"),
        *((f"import {module}", made_of(module)) for module in MODULES if made_of(module)),
    ],
)
def test_a_missing_extra_is_named_in_one_sentence(empty, tmp_path, code, extra):
    done = run(empty, f"from adam_nbdev.rules import adam\n{code}", tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: ")
    assert last.endswith(f'is needed here and is not installed: pip install "adam_nbdev[{extra}]"')


@pytest.mark.slow
def test_every_module_imports_with_the_core_alone(empty, tmp_path):
    code = "\n".join(f"import {module}" for module in MODULES if not made_of(module))
    assert run(empty, code, tmp_path).stderr == ""


@pytest.mark.long
def test_the_torch_example_of_the_readme_runs(tmp_path):
    (block,) = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    check = 'assert {row.backend for row in optimizer.explain_backend()} == {"kernel"}'
    done = run(sys.executable, f"{block}\n{check}\n", tmp_path)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_brings_in_nothing_else(tmp_path):
    code = "import sys; old = set(sys.modules); import adam_nbdev; print(set(sys.modules) - old)"
    assert run(sys.executable, code, tmp_path).stdout.strip() == "{'adam_nbdev'}"


def test_the_rules_need_no_library_at_all(tmp_path):
    code = """
import sys
from adam_nbdev.rules import RULES
from adam_nbdev.readers.latex import formula
from adam_nbdev.readers.javascript import javascript
from adam_nbdev.readers.trace import table
for rule in RULES.values():
    str(table(rule, [1.0, -2.0])), str(formula(rule)), javascript(rule)
heavy = {"numpy", "torch", "numba", "matplotlib", "sympy", "mpmath"} & set(sys.modules)
print(sorted(heavy))
"""
    assert run(sys.executable, code, tmp_path).stdout.strip() == "[]"


def test_the_rule_in_the_readme_is_that_of_the_library():
    assert str(code(adam)) in (ROOT / "README.md").read_text()


def test_the_version_is_that_of_the_settings():
    import adam_nbdev

    settings = (ROOT / "settings.ini").read_text()
    assert f"\nversion = {adam_nbdev.__version__}\n" in settings
