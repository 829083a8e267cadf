"""Build the book: execute every notebook that changed, and write the pages to _build/html.

A page is built again when its notebook has changed; all are, when the library, the pinned
versions or the book's own machinery have, or with `--force`. A warning or a failed cell ends it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
PAGES = BUILD / "html"


def fingerprint():
    """A hash of all that a page depends on beside its own notebook."""
    library = Path(find_spec("adam_nbdev").origin).parent
    files = [f for f in library.rglob("*") if f.suffix in (".py", ".css", ".js")]
    files += [*(ROOT / "book").rglob("*"), ROOT / "_config.yml"]
    files += [ROOT / "requirements.txt", ROOT / "_toc.yml"]
    seen = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file() and "__pycache__" not in f.parts):
        seen.update(file.name.encode() + file.read_bytes())
    return seen.hexdigest()


def kernels():
    """A configuration of the notebooks' kernels that is the same for everyone, and quiet."""
    profile = BUILD / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n')
    return profile.parent


def main(force):
    stamp, now = BUILD / "fingerprint", fingerprint()
    if force or not stamp.exists() or stamp.read_text() != now:
        shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    stamp.unlink(missing_ok=True)
    programs = Path(sys.executable).parent
    subprocess.run([programs / "jupyter-book", "config", "sphinx", ROOT], check=True, stdout=-3)
    sphinx = [programs / "sphinx-build", "-b", "html", "-j", "2", "-W", "--keep-going"]
    path = os.pathsep.join([str(ROOT / "book/extensions"), os.environ.get("PYTHONPATH", "")])
    one = {"OPENBLAS_NUM_THREADS": "1"}  # two pages at a time: more threads would fight for cores
    environment = {**one, **os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(kernels())}
    done = subprocess.run([*sphinx, "-d", BUILD / "doctrees", ROOT, PAGES], env=environment)
    if done.returncode:
        sys.exit("The book was not built: the warnings above say why.")
    stamp.write_text(now)
    print(f"The book is built. Open {PAGES / 'index.html'}")


if __name__ == "__main__":
    main(force="--force" in sys.argv[1:])
