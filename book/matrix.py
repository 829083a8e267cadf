"""The unit tests in another environment: `matrix.py newest PYTHON` or `matrix.py lowest PYTHON`.

The newest versions that pyproject.toml admits, or the lowest, of all that the library uses. torch
alone is not taken at its newest: it stays at the version of the lock. Left out are the tests of the
book and of the desk, and the slow ones. Words after PYTHON go to pytest.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = "accelerate expecttest hypothesis lightning pytest pytest-xdist setuptools".split()
ELSEWHERE = "pages extension live live_cells memory steps takeover paste".split()
ELSEWHERE += "bibliography release desk".split()
SHOW = """
import sys
from importlib.metadata import version
names = "numpy mpmath torch numba matplotlib sympy tqdm jax optax scipy".split()
print("== Python", sys.version.split()[0], *(f"{name} {version(name)}" for name in names), sep=", ")
"""

#: Not for the lowest versions: torch 2.7's FSDP, on a CPU and in float32, adds up the gradients of
#: the processes where it should average them; optax 0.2.4 has no AdEMAMix.
BROKEN = "bits_of_a_single_process or (continues_on_one and (same or low))"
BROKEN += " or (agrees_with_optax and ademamix)"


def run(*command):
    """Run a command in the checkout."""
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)


def lowest(file):
    """Write the lowest versions of the direct dependencies, and what goes with them."""
    uv = [Path(sys.executable).with_name("uv"), "pip", "compile", "pyproject.toml", "-q"]
    run(
        *uv,
        "--extra",
        "all",
        "--resolution",
        "lowest-direct",
        "--python-version",
        "3.11",
        "-o",
        file,
    )


def main(which, python, *part):
    home = ROOT / ".matrix" / which
    shutil.rmtree(home, ignore_errors=True)
    run(python or sys.exit(f"The Python for {which} was not found: name it."), "-m", "venv", home)
    pip = [home / "bin/python", "-m", "pip", "install", "-q", "--progress-bar", "off"]
    pins = home / "pins.txt"
    if which == "lowest":
        lowest(pins)
    else:
        pins.write_text(re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(), re.M)[0])
    print(f"== {which}: install (torch may bring several gigabytes)", flush=True)
    run(*pip, "-r", pins)
    run(*pip, "-c", pins, f"{ROOT}[all]", *TOOLS)
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    for folder in ROOT.glob("*.egg-info"):
        shutil.rmtree(folder)
    run(home / "bin/python", "-m", "pip", "check")
    run(home / "bin/python", "-c", SHOW)
    without = [option for name in ELSEWHERE for option in ("--ignore-glob", f"*test_{name}.py")]
    test = [home / "bin/pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not slow", *without]
    # old libraries do not know what came after them, and warn of it
    old = ["-W", "ignore::DeprecationWarning", "-k", f"not ({BROKEN})"]
    run(*test, *(old if which == "lowest" else []), *part)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"{sys.argv[1]}: {Path(error.cmd[0]).name} failed, and said why above.")
