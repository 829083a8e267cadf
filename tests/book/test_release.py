"""The release as a command, on a copy of the checkout."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve()
ROOT = next(folder for folder in ROOT.parents if (folder / "settings.ini").exists())
sys.path.append(str(ROOT / "book"))

import release  # noqa: E402


def git(root, *command):
    subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)


def commit(root):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    git(root, *identity, "commit", "-q", "--allow-empty", "-am", "a change")


@pytest.fixture
def root(tmp_path):
    """A small checkout: what a release reads and writes."""
    for name in ("settings.ini", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.2.0 (unreleased)\n\n- News.\n")
    release.replace(tmp_path / "settings.ini", r"^version = .*$", "version = 0.1.0")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    commit(tmp_path)
    return tmp_path


def test_a_newer_version_can_be_released(root):
    assert release.refusal("0.2.0", root) is None
    assert release.refusal("0.2.0rc1", root) is None


def test_the_present_version_can_be_released_once(root):
    assert release.refusal("0.1.0", root) is None
    git(root, "tag", "v0.1.0")
    assert "released already" in release.refusal("0.1.0", root)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("", "is no version as PEP 440"),
        ("new", "is no version as PEP 440"),
        ("v0.2.0", "is written 0.2.0"),
        ("0.2.0-rc1", "is written 0.2.0rc1"),
        ("0.0.9", "is older than 0.1.0"),
        ("0.1.0rc1", "is older than 0.1.0"),
    ],
)
def test_another_version_is_refused(root, version, words):
    assert words in release.refusal(version, root)


@pytest.mark.parametrize(
    ("changelog", "words"),
    [
        ("# Changelog\n\n## 0.1.0 (2026-01-01)\n\n- News.\n", "has no section"),
        ("# Changelog\n\n## 0.2.0 (unreleased)\n\n## 0.1.0 (2026-01-01)\n\n- Old.\n", "is empty"),
        ("# Changelog\n\n## 0.2.0 (unreleased)\n", "is empty"),
    ],
)
def test_a_release_without_news_is_refused(root, changelog, words):
    (root / "CHANGELOG.md").write_text(changelog)
    commit(root)
    assert words in release.refusal("0.2.0", root)


def test_a_tree_with_changes_is_refused(root):
    (root / "new").touch()
    assert "not committed" in release.refusal("0.2.0", root)
    with pytest.raises(SystemExit, match="not committed"):
        release.main("0.2.0", root=root)


def test_the_version_and_the_day_are_written(root, monkeypatch):
    commands = []
    monkeypatch.setattr(release, "run", lambda *command, **options: commands.append(command))
    for version, day in (("0.2.0", "2026-01-02"), ("0.3.0", "2026-03-04")):
        release.write(version, day, root)
        assert f"\nversion = {version}\n" in (root / "settings.ini").read_text()
        cited = yaml.safe_load((root / "CITATION.cff").read_text())
        assert (cited["version"], str(cited["date-released"])) == (version, day)
        assert f"\n## {version} ({day})\n\n- News.\n" in (root / "CHANGELOG.md").read_text()
        (root / "CHANGELOG.md").write_text("# Changelog\n\n## next (unreleased)\n\n- News.\n")
    assert [Path(command[1]).name for command in commands] == ["in_step.py"] * 2


def test_a_release_that_fails_leaves_the_tree_as_it_was(root, capfd):
    with pytest.raises(SystemExit, match=r"Nothing was released: .*in_step\.py"):  # is not there
        release.main("0.2.0", root=root)
    assert release.refusal("0.2.0", root) is None


@pytest.mark.slow
def test_a_release_is_built_and_tried(tmp_path):
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for file in filter(lambda file: (ROOT / file).is_file(), files.splitlines()):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    commit(tmp_path)
    git(tmp_path, "config", "user.name", "test")
    git(tmp_path, "config", "user.email", "test@example.org")
    command = [sys.executable, "book/release.py", "9.9.9"]
    for option, said in (["--dry-run"], "as it was"), ([], "v9.9.9 is on this machine only"):
        done = subprocess.run([*command, *option], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and said in done.stdout, done.stderr
        status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True)
        assert status.stdout == b""
    assert '__version__ = "9.9.9"' in (tmp_path / "adam_nbdev/__init__.py").read_text()
    git(tmp_path, "describe", "--exact-match", "v9.9.9")
    built = {file.name for file in (tmp_path / "dist/9.9.9").iterdir()}
    assert built == {"adam_nbdev-9.9.9.tar.gz", "adam_nbdev-9.9.9-py3-none-any.whl"}


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    assert cited["version"] == re.search(r"^version = (.+)$", settings, flags=re.MULTILINE)[1]
    assert (
        cited["cff-version"] == "1.2.0" and cited["preferred-citation"]["title"] == cited["title"]
    )
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Kingma", "Ba"]
