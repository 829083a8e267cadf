"""Write requirements.txt: the version of every package, and the hash of every file of it.

Versions stay as they are where they still fit; `--upgrade` takes the newest. Two things are said
of torch by hand. On Linux its file on the package index wants CUDA libraries of several gigabytes,
which its CPU build of the same version does without; so those are left out here, and `make` has
pip bring them only where torch asks for them. And the CPU build's own hash stands beside those of
the index.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
HEAD = """\
# Written by `make lock`: what pyproject.toml's extra dev resolves to, every file by its hash.
# torch's CUDA libraries on Linux are not in it; book/lock.py says why.
"""

#: What only the CUDA build of torch asks for.
CUDA = re.compile(r"(nvidia|cuda)\b")

#: The CPU builds of torch for Linux and Python 3.11, which are not on the package index.
CPU_BUILD = {
    "torch==2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
}


def blocks(text):
    """The entries of a lock: each one's requirement with the lines of its hashes."""
    lines = (line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return re.findall(r"^\S.*\n(?:[ \t].*\n)*", "".join(lines), flags=re.MULTILINE)


def finished(text):
    """The lock without torch's CUDA libraries, and with the hash of its CPU build."""
    kept = [block for block in blocks(text) if not CUDA.match(block)]
    for i, block in enumerate(kept):
        if digest := CPU_BUILD.get(block.split()[0]):
            first, *hashes = [line.rstrip(" \\") for line in block.splitlines()]
            hashes = sorted({*hashes, f"    --hash=sha256:{digest}"})
            kept[i] = " \\\n".join([first, *hashes]) + "\n"
        elif block.startswith("torch=="):
            print(f"{block.split()[0]}: book/lock.py has no hash of its CPU build")
    return HEAD + "".join(kept)


def main(options):
    old = LOCK.read_text(encoding="utf-8")
    uv = [Path(sys.executable).with_name("uv"), "pip", "compile", "pyproject.toml"]
    what = ["--extra", "dev", "--universal", "--python-version", "3.11", "--generate-hashes"]
    how = ["--no-annotate", "--no-header", "--no-emit-index-url", "--quiet", *options]
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "requirements.txt"
        new.write_text(old, encoding="utf-8")
        if subprocess.run([*uv, *what, *how, "-o", new], cwd=ROOT).returncode:
            sys.exit("The versions could not be resolved: uv's message above says why.")
        text = finished(new.read_text(encoding="utf-8"))
    if text != old:  # else the environment need not be made anew
        LOCK.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
