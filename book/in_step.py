"""Fail if exporting the notebooks would change a generated file, or cleaning them a notebook."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def contents():
    """The bytes of every notebook and every generated file."""
    files = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("adam_nbdev/*.py")]
    return {f.relative_to(ROOT): f.read_bytes() for f in files if "checkpoints" not in str(f)}


def main():
    before, programs = contents(), Path(sys.executable).parent
    for command in ("nbdev_export", "nbdev_clean"):
        subprocess.run([programs / command], cwd=ROOT, check=True)
    after = contents()
    changed = sorted(str(f) for f in before.keys() | after.keys() if before.get(f) != after.get(f))
    if changed:
        sys.exit(f"out of step and now written anew, look and commit: {', '.join(changed)}")


if __name__ == "__main__":
    main()
