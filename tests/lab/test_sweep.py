"""The grid of small networks: each is what it would be alone, trained as torch trains."""

import numpy as np
import pytest
import torch

from adam_nbdev import optim
from adam_nbdev.lab.data import Digits
from adam_nbdev.lab.sweep import coarse, falling, scores, sweep


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=200).astype(np.uint8)
    images = rng.integers(100, size=(200, 28, 28)).astype(np.uint8)
    images[np.arange(200), 2 * labels, :] = 255
    return coarse(Digits(images, labels))


def test_coarse_digits_are_means_of_blocks_and_a_one(data):
    rng = np.random.default_rng(1)
    images = rng.integers(256, size=(3, 28, 28)).astype(np.uint8)
    x, labels = coarse(Digits(images, np.array([1, 2, 3], np.uint8)))
    assert x.shape == (3, 50) and x.dtype == torch.float32 and labels.dtype == torch.int64
    assert float(x[2, 8]) == pytest.approx(images[2, 4:8, 4:8].mean() / 255, rel=1e-6)
    assert (x[:, -1] == 1).all() and labels.tolist() == [1, 2, 3]


def test_the_schedule_of_the_runs_falls_to_zero():
    assert [falling(share) for share in (0, 0.25, 1)] == [1, 0.75, 0]


def alone(make, lr, data, held_out, seed, sizes, steps, batch, gains, factors):
    """One run as anyone would write it."""
    draw = torch.Generator().manual_seed(seed)
    weights = []
    for n, m, gain in zip(sizes, sizes[1:], gains, strict=False):
        size = gain * ((1 if m == sizes[-1] else 2) / n) ** 0.5
        weights.append(torch.nn.Parameter(size * torch.randn(n, m, generator=draw)))
    groups = [{"params": [w], "lr": lr * f} for w, f in zip(weights, factors, strict=True)]
    optimizer = make(groups)
    entropy = torch.nn.functional.cross_entropy
    for step in range(steps):
        rows = torch.randint(len(data[0]), (batch,), generator=draw)
        optimizer.zero_grad()
        entropy(scores(data[0][rows], weights), data[1][rows]).backward()
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = lr * factor * (1 - step / steps)
        optimizer.step()
    with torch.no_grad():
        return entropy(scores(held_out[0], weights), held_out[1]).item()


@pytest.mark.parametrize("make", [optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("factors", [(1, 1, 1), (1, 0.5, 0.25)])
def test_each_network_is_what_it_is_alone(data, make, factors):
    rates, seeds, sizes, gains = (0.003, 0.01), (4, 5), (50, 8, 6, 10), (1, 2, 0.5)
    held_out = tuple(part[:50] for part in data)
    given = {"gains": gains, "factors": factors}
    found = sweep(make, rates, data, held_out, seeds, sizes, steps=12, batch=16, **given)
    assert found.shape == (2, 2)
    for i, lr in enumerate(rates):
        for j, seed in enumerate(seeds):
            other = alone(make, lr, data, held_out, seed, sizes, 12, 16, gains, factors)
            assert found[i, j] == pytest.approx(other, rel=2e-5)


def test_a_run_that_leaves_the_numbers_is_infinite_and_spoils_no_other(data):
    def spoiled(groups):
        groups[0]["params"][0].data.fill_(torch.nan)
        return optim.Adam(groups)

    given = {"seeds": (0,), "sizes": (50, 4, 10), "steps": 5, "batch": 8}
    (wild,), (whole,) = sweep(spoiled, (0.01, 0.02), data, data, **given)
    (tame,) = sweep(optim.Adam, (0.02,), data, data, **given)
    assert wild == np.inf and whole == pytest.approx(tame[0], rel=1e-6)


def test_a_schedule_of_its_own(data):
    given = {"seeds": (0,), "sizes": (50, 4, 10), "steps": 3, "batch": 8}
    still = sweep(optim.Adam, (0.1,), data, data, schedule=lambda share: 0.0, **given)
    start = sweep(optim.Adam, (0.1,), data, data, **{**given, "steps": 0})
    assert still == start
