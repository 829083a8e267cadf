"""The cache of kernels: it may be lost, and is never in the way."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.errors import NumbaError

from adam_nbdev.kernels import cache
from adam_nbdev.kernels.cache import compiled, obstacle
from adam_nbdev.kernels.numba_printer import squares_source

TEXT = squares_source("float64")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A cache with a kernel in it, that no process has loaded yet."""
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(tmp_path / "kernels"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    compiled("kept", TEXT)
    return tmp_path / "kernels"


def works(module):
    """Whether the kernel in a module is compiled."""
    return module.task.address != 0 and callable(module.squares)


def files(folder):
    """What is kept: name to content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cut(path):
    path.write_bytes(path.read_bytes()[:20])


def emptied(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(b"\xff\xfe\x00 no text, no pickle and no code" * 9)


DAMAGES = [cut, emptied, garbage]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", [".nbi", ".nbc", ".pyc", ".py"])
def test_a_damaged_file_is_written_anew(folder, kind, damage):
    (file,) = (path for path in files(folder) if path.suffix == kind)
    sound = file.read_bytes()
    damage(file)
    assert works(compiled("kept", TEXT))
    if kind == ".py":
        assert file.read_bytes() == sound
    assert file.stat().st_size > 20, "it is whole again, so the next process finds it"
    assert compiled("kept", TEXT).task.cache_hits == 1


def test_a_kernel_is_found_by_the_next_that_asks(folder):
    before = files(folder)
    assert compiled("kept", TEXT).task.cache_hits == 1 and files(folder) == before
    assert {path.suffix for path in before} == {".py", ".pyc", ".nbi", ".nbc"}


def test_what_numba_keeps_elsewhere_is_mended_too(folder, monkeypatch, tmp_path):
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "elsewhere"))
    compiled("kept", TEXT)
    (index,) = (tmp_path / "elsewhere").rglob("*.nbi")
    cut(index)
    compiled("kept", TEXT)
    assert compiled("kept", TEXT).task.cache_hits == 1


def a_file(folder):
    folder.write_text("")


def below_a_file(folder):
    folder.parent.write_text("")


def read_only(folder):
    folder.mkdir()
    folder.chmod(0o500)


def folders_where_files_belong(folder):
    kernel = folder / "kernel.py"
    kernel.mkdir(parents=True)
    (kernel / "file").write_text("")


@pytest.mark.parametrize(
    "block", [a_file, below_a_file, read_only, folders_where_files_belong], ids=lambda b: b.__name__
)
def test_a_folder_that_cannot_be_used_is_no_obstacle(monkeypatch, tmp_path, block):
    folder = tmp_path / "between" / "kernels"
    if block is not below_a_file:
        folder.parent.mkdir()
    block(folder)
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(folder))
    monkeypatch.setattr(cache, "_file", lambda name: folder / "kernel.py")
    assert works(compiled("blocked", TEXT))


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("write", ["replace", "mkdir"])
def test_a_full_disk_is_no_obstacle(monkeypatch, tmp_path, write):
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(tmp_path / "kernels"))
    monkeypatch.setattr(os, write, full)
    module = compiled("full", TEXT)
    monkeypatch.undo()
    assert works(module) and not list(tmp_path.rglob("*.nbc"))


def test_a_disk_that_is_full_for_numba_alone_is_no_obstacle(folder, monkeypatch):
    from numba.core.caching import IndexDataCacheFile

    for path in folder.rglob("*.nb?"):
        path.unlink()
    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    assert works(compiled("kept", TEXT))


def test_no_home_is_no_obstacle(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ADAM_NBDEV_KERNELS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert works(compiled("homeless", TEXT))


def test_the_fault_of_a_kernel_is_raised_as_what_it_is(folder):
    with pytest.raises(NumbaError, match="nothing_that_is"):
        compiled("wrong", TEXT.replace("value * value", "value * nothing_that_is"))
    with pytest.raises(SyntaxError):
        compiled("wrong", TEXT.replace("total = 0.0", "total = "))
    assert not [name for name in sys.modules if name.startswith("adam_nbdev_wrong")]


STEP = """
import sys, warnings
import torch
from adam_nbdev.optim import Adam
from adam_nbdev.kernels.cache import compiled, obstacle

warnings.simplefilter("ignore")
one, other = (torch.ones(3).requires_grad_() for _ in range(2))
ours, theirs = Adam([one], lr=0.1), torch.optim.Adam([other], lr=0.1)
for step in range(5):
    one.grad = other.grad = torch.tensor([1.0, -2.0, 0.0]) / (1 + step)
    ours.step(), theirs.step()
assert torch.allclose(one, other), (one, other)
assert [row.backend for row in ours.explain_backend()] == ["tensors"]
try:
    compiled("squares", "task = None")
except RuntimeError as error:
    print(error, obstacle() == str(error), sep="|")
"""


@pytest.mark.long
def test_where_the_compiler_is_switched_off_the_rule_is_read_on_tensors():
    given = {"env": {**os.environ, "NUMBA_DISABLE_JIT": "1"}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", STEP], **given, timeout=120)
    assert done.returncode == 0, done.stderr
    problem = "Numba's compiler is switched off: unset NUMBA_DISABLE_JIT"
    assert done.stdout.strip() == f"{problem}|True"


def test_nothing_is_in_the_way_here():
    assert obstacle() == ""
