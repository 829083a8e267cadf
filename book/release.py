"""Make a release: `make release VERSION=1.2.3`; it stays on this machine, nothing is pushed.

The version is set where it lives, in settings.ini, and what repeats it is written anew. The
changelog's unreleased section gets today's date. The source archive and the wheel are built and
tried. Then there is a commit and a tag. With `--dry-run`, or if anything fails, the tree is put
back.
"""

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"^## .*\(unreleased\)\n(.*?)(?=^## |\Z)", flags=re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)


def run(*command, root, **options):
    """Run a command in the tree; what it printed."""
    options = {"check": True, "text": True, "stdout": subprocess.PIPE, "cwd": root, **options}
    return subprocess.run(list(map(str, command)), **options).stdout


def refusal(version, root=ROOT):
    """Why this version cannot be released from this tree, in one sentence; None if it can."""
    if run("git", "status", "--porcelain", root=root):
        return "The tree has changes that are not committed: commit them or put them away first."
    try:
        new = Version(version)
    except InvalidVersion:
        return f"{version!r} is no version as PEP 440 writes them, such as 1.2.3."
    if str(new) != version:
        return f"{version!r} is written {new} by PEP 440: give it so."
    present = re.search(r"^version = (.+)$", (root / "settings.ini").read_text(), re.M)[1]
    tags = run("git", "tag", "--list", "v*", root=root).split()
    if new < Version(present):
        return f"{version} is older than {present}, the version in settings.ini: give a newer one."
    if f"v{version}" in tags:
        return f"{version} is released already, as the tag v{version}: give a newer version."
    section = SECTION.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    if not section:
        return "CHANGELOG.md has no section '## ... (unreleased)': write what is new there."
    if not section[1].strip():
        return "The unreleased section of CHANGELOG.md is empty: write what is new there."
    return None


def replace(file, pattern, new):
    """Replace the one line of a file that the pattern finds."""
    old = file.read_text(encoding="utf-8")
    text, count = re.subn(pattern, lambda _: new, old, flags=re.MULTILINE)
    assert count == 1, f"{file.name} has {count} lines {pattern}, not one"
    file.write_text(text, encoding="utf-8")


def write(version, day, root=ROOT):
    """Set the version and the day wherever they are written."""
    replace(root / "settings.ini", r"^version = .*$", f"version = {version}")
    replace(root / "CHANGELOG.md", r"^## .*\(unreleased\)$", f"## {version} ({day})")
    dated = f"version: {version}\ndate-released: {day}\n"
    replace(root / "CITATION.cff", r"^version: .*\n(date-released: .*\n)?", dated)
    run(sys.executable, root / "book/in_step.py", "--write", root=root)


def build(source, folder, kind):
    """Build a source archive or a wheel; its file."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", folder]
    run(*command, source, root=source)
    (file,) = folder.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return file


def names(wheel):
    """The files in a wheel."""
    with ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def check(version, sdist, wheel, root):
    """Try what was built: the wheel in an empty environment, the source archive by building it."""
    if find_spec("twine"):
        run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, root=root)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run("tar", "-xzf", sdist, "-C", folder, root=root)
        again = build(folder / sdist.name.removesuffix(".tar.gz"), folder, "wheel")
        assert names(again) == names(wheel), "the source archive makes another wheel than the tree"
        venv.create(folder / "empty", with_pip=True)
        python = folder / "empty/bin/python"
        run(python, "-I", "-m", "pip", "install", "-q", wheel, root=folder)
        example = EXAMPLE.search((root / "README.md").read_text(encoding="utf-8"))[1]
        example += "\nimport adam_nbdev\nprint(adam_nbdev.__version__)\n"
        (folder / "example.py").write_text(example, encoding="utf-8")
        said = run(python, "-I", "-W", "error", "example.py", root=folder).split()
        assert said[-1] == version, f"the wheel says that it is {said[-1]}"


def main(version, dry_run=False, root=ROOT):
    if sentence := refusal(version, root):
        sys.exit(sentence)
    done, dist = False, root / "dist" / version
    try:
        write(version, datetime.date.today().isoformat(), root)
        run("rm", "-rf", dist, root / "build", root=root)
        sdist, wheel = (build(root, dist, kind) for kind in ("sdist", "wheel"))
        check(version, sdist, wheel, root)
        if not dry_run:
            run("git", "commit", "-qam", f"Version {version}", root=root)
            run("git", "tag", "-a", f"v{version}", "-m", f"Version {version}", root=root)
            done = True
    except subprocess.CalledProcessError as error:
        sys.exit(f"Nothing was released: {' '.join(error.cmd[:4])} failed, and said why above.")
    except AssertionError as error:
        sys.exit(f"Nothing was released: {error}.")
    finally:
        if not done:
            run("git", "reset", "-q", "--hard", root=root)
        run("rm", "-rf", root / "build", *root.glob("*.egg-info"), root=root)
    how = "The tree is as it was" if dry_run else f"The tag v{version} is on this machine only"
    print(f"{version} is built and tried, in {dist.relative_to(root)}. {how}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a release on this machine.")
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true", help="try it, and put the tree back")
    given = parser.parse_args()
    main(given.version, given.dry_run)
