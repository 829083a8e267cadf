"""The desk's small programs: the lock, and what coverage has to say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve()
ROOT = next(folder for folder in ROOT.parents if (folder / "settings.ini").exists())
sys.path.append(str(ROOT / "book"))

import coverage_report  # noqa: E402
import lock  # noqa: E402

UV = """\
# a comment
nvidia-cublas==1 ; sys_platform == 'linux' \\
    --hash=sha256:aa
torch==1.0 \\
    --hash=sha256:bb \\
    --hash=sha256:dd
torchmetrics==1.0 \\
    --hash=sha256:ee
triton==1.0 ; sys_platform == 'linux' \\
    --hash=sha256:ff
"""


def test_the_lock_leaves_out_cuda_and_knows_the_cpu_build(monkeypatch):
    monkeypatch.setattr(lock, "CPU_BUILD", {"torch==1.0": "cc"})
    text = lock.finished(UV)
    hashes = re.findall("sha256:(..)", text)
    assert hashes == ["bb", "cc", "dd", "ee", "ff"] and text.startswith(lock.HEAD)
    assert lock.finished(text) == text


def test_the_lock_has_a_hash_for_everything_and_names_no_place():
    entries = lock.blocks(lock.LOCK.read_text(encoding="utf-8"))
    assert len(entries) > 100
    assert all(re.match(r"[a-z0-9.-]+==\S+ .*\n +--hash=sha256:", entry) for entry in entries)
    assert not any("://" in entry or "--index" in entry for entry in entries)
    torch = next(entry for entry in entries if entry.startswith("torch=="))
    assert lock.CPU_BUILD[torch.split()[0]] in torch


def test_public_functions_that_did_not_run_are_named():
    ran, not_run = ({"executed_lines": [1], "missing_lines": [2]}, {"missing_lines": [3]})
    not_run = {"executed_lines": [], **not_run}
    excluded = {"executed_lines": [], "missing_lines": []}
    functions = {"": not_run, "a": ran, "b": not_run, "b.inner": not_run, "_c": not_run}
    functions |= {"D.e": not_run, "D.e@9": not_run, "D._f": not_run, "_G.h": not_run, "i": excluded}
    report = {"files": {"x/.venv/wheel/adam_nbdev/lab/data.py": {"functions": functions}}}
    names = [name.removeprefix("adam_nbdev.lab.data.") for name in coverage_report.not_run(report)]
    assert names == ["b", "D.e", "D.e"]


def test_a_module_is_named_from_the_package_on():
    assert coverage_report.module("adam_nbdev/.venv/wheel/adam_nbdev/__init__.py") == "adam_nbdev"


@pytest.mark.long
def test_the_measurement_on_a_gpu_can_be_rehearsed_without_one():
    command = [sys.executable, ROOT / "book" / "bench_gpu.py"]
    done = subprocess.run([*command, "--rehearse"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "within their bounds of fifty digits" in done.stdout and "GB/s" in done.stdout
    if not torch.cuda.is_available():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.startswith("No GPU that torch knows is here.")
