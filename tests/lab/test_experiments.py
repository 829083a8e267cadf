"""The experiments on real data: the model's gradient, the intervals, and the command."""

import json

import mpmath
import numpy as np
import pytest
import torch

from adam_nbdev.lab import data, experiments
from adam_nbdev.lab.data import Digits, Mnist
from adam_nbdev.lab.experiments import METHODS, interval, main, plot_costs, search, train
from adam_nbdev.lab.logistic import error, features, loss_and_grad


def some(n=300, seed=0):
    """Digits that are none: enough to train on."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=n).astype(np.uint8)
    images = rng.integers(100, size=(n, 28, 28)).astype(np.uint8)
    images[np.arange(n), labels] = 255
    return Digits(images, labels)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_loss_and_gradient_are_torchs(weight_decay):
    x, labels = features(some(40))
    weights = torch.randn(785, 10, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(x.astype(np.float64)) @ weights, torch.from_numpy(labels)
    )
    loss = loss + weight_decay / 2 * (weights**2).sum()
    loss.backward()
    found, grad = loss_and_grad(
        weights.detach().numpy(), x.astype(np.float64), labels, weight_decay
    )
    assert float(found) == pytest.approx(loss.item(), rel=1e-12)
    assert np.allclose(grad, weights.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_a_stack_is_its_models_one_by_one():
    rng = np.random.default_rng(0)
    x, labels = features(some(60))
    weights, rows = rng.normal(size=(3, 785, 10)), rng.integers(60, size=(3, 20))
    losses, grads = loss_and_grad(weights, x[rows], labels[rows], 0.1)
    for k in range(3):
        loss, grad = loss_and_grad(weights[k], x[rows[k]], labels[rows[k]], 0.1)
        assert np.allclose(losses[k], loss) and np.allclose(grads[k], grad)


def test_large_scores_do_not_overflow():
    x, labels = features(some(20))
    loss, grad = loss_and_grad(np.full((785, 10), 1e4) * np.arange(10), x, labels)
    assert np.isfinite(loss) and np.isfinite(grad).all()


def test_features_and_error():
    digits = some(5)
    x, labels = features(digits)
    assert x.shape == (5, 785) and x.dtype == np.float32 and (x[:, -1] == 1).all()
    assert x[0, :-1].max() == 1 and x.min() >= 0
    assert np.array_equal(labels, digits.labels)
    weights = np.zeros((785, 10))
    weights[-1, labels[0]] = 1
    assert error(weights, x, labels) == np.mean(labels != labels[0])


@pytest.mark.parametrize("n", range(2, 11))
def test_the_interval_is_students(n):
    costs = np.random.default_rng(n).normal(size=(4, n))
    mean, half = interval(costs)
    t = half / costs.std(axis=-1, ddof=1) * np.sqrt(n)
    outside = mpmath.betainc((n - 1) / 2, 0.5, 0, (n - 1) / (n - 1 + t[0] ** 2), regularized=True)
    assert float(outside) == pytest.approx(0.05, abs=5e-5)
    assert np.allclose(mean, costs.mean(axis=-1)) and np.allclose(t, t[0])


@pytest.mark.parametrize("method", METHODS)
def test_seeds_together_are_seeds_alone(method):
    x, labels = features(some())
    both = train(method, 0.003, x, labels, seeds=(3, 4), epochs=2)
    assert both.shape == (3, 2) and (both[-1] < both[0]).all()
    for k, seed in enumerate((3, 4)):
        alone = train(method, 0.003, x, labels, seeds=(seed,), epochs=2)
        assert np.allclose(both[:, k], alone[:, 0], rtol=1e-5)
    assert not np.array_equal(both[-1, 0], both[-1, 1])


def test_only_the_schedule_tells_the_two_adagrads_apart():
    x, labels = features(some())
    plain, decayed = (
        train(m, 0.1, x, labels, epochs=1, batch=300) for m in ("Adagrad", "Adagrad, decayed too")
    )
    assert np.array_equal(plain, decayed)  # one step: the schedule is still 1
    plain, decayed = (
        train(m, 0.1, x, labels, epochs=2, batch=300) for m in ("Adagrad", "Adagrad, decayed too")
    )
    assert plain[2, 0] != decayed[2, 0]


def test_a_search_tries_the_grid():
    x, labels = features(some())
    found = search("Adam", x, labels, grid=(0.01, 0.1), epochs=1)
    assert list(found) == [0.01, 0.1] and found[0.01] != found[0.1]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(experiments, "mnist", lambda: Mnist(some(), some(), some()))


@pytest.mark.long
def test_the_command(small, tmp_path, capsys):
    out = tmp_path / "new" / "results"
    main(f"--epochs 2 --seeds 2 --grid 0.01 0.1 --out {out}".split())
    recorded = json.loads((out / "figure1.json").read_text())
    assert recorded["grid"].keys() == recorded["costs"].keys() == METHODS.keys()
    assert list(recorded["grid"]["Adam"]) == ["0.01", "0.1"]
    assert np.shape(recorded["costs"]["Adam"]) == (3, 2)
    assert "<svg" in (out / "figure1.svg").read_text()
    printed = capsys.readouterr()
    assert printed.out.count("cost") == 4
    assert "Adam: learning rate" in printed.err and "100%" in printed.err


@pytest.mark.parametrize(
    "arguments",
    ["--epochs 0", "--epochs x", "--seeds 1", "--seeds 11", "--grid 0", "--grid nan", "--grid -1"],
)
def test_the_command_refuses(small, tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main([*arguments.split(), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("adam-experiment: error:")


def no_route(folder):
    raise OSError("no route to host\nand nobody to ask")


def stopped(capsys, *arguments):
    """What the command says on standard error before it ends, without anything else."""
    with pytest.raises(SystemExit) as stop:
        main(["--epochs", "1", "--seeds", "2", "--grid", "0.1", *map(str, arguments)])
    assert isinstance(stop.value.code, str), "which Python prints, and ends with status 1"
    assert "\n" not in stop.value.code and stop.value.code.startswith("adam-experiment: error: ")
    return stop.value.code, capsys.readouterr().err


def test_without_a_network_the_command_ends_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ADAM_NBDEV_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(data, "SOURCES", {"pip": no_route})
    monkeypatch.setattr(experiments, "mnist", lambda: data.kept("Few", Mnist, "", data.SOURCES))
    said, before = stopped(capsys, "--out", tmp_path / "out")
    assert "Few is not in " in said and "connect to a network once" in said and not before
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_ends_the_command_in_one_sentence(small, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    said, before = stopped(capsys, "--out", tmp_path / "file" / "out")
    assert said.endswith("; name another folder with --out") and not before


@pytest.mark.long
def test_a_disk_that_is_full_at_the_end_is_told_in_one_sentence(small, tmp_path, capsys):
    (tmp_path / "figure1.json").mkdir()
    assert "figure1.json" in stopped(capsys, "--out", tmp_path)[0]


@pytest.mark.long
def test_a_cache_that_cannot_be_written_is_told_in_one_sentence(monkeypatch, tmp_path, capsys):
    digits = Mnist(some(), some(), some())
    (tmp_path / "file").write_text("")
    given = "Few", Mnist, data.digest(digits), {"here": lambda folder: digits}, tmp_path / "file"
    monkeypatch.setattr(experiments, "mnist", lambda: data.kept(*given))
    main(f"--epochs 1 --seeds 2 --grid 0.1 --out {tmp_path}".split())
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("adam-experiment: Few cannot be kept in ")
    assert first.endswith("set ADAM_NBDEV_DATA to a folder that can") and "Warning" not in others


def test_the_figure_labels_every_method():
    rng = np.random.default_rng(0)
    runs = {method: rng.random((4, 3)) + 1 for method in METHODS}
    (ax,) = plot_costs(runs).axes
    assert [text.get_text() for text in ax.texts] == list(METHODS)
    assert len({(line.get_color(), str(line._dash_pattern)) for line in ax.lines}) == 4
