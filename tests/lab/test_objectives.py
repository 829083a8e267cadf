"""Each test problem is what it says: its gradient, minimum and domain, and what it lets be seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adam_nbdev.lab.objectives import (
    Objective,
    online,
    quadratic,
    reddi,
    rosenbrock,
    saddle,
    sparse,
)

ALL = {
    "round": quadratic(condition=1),
    "valley": quadratic(condition=50, angle=0.4),
    "wide": quadratic(condition=1e4, dim=7, seed=3),
    "line": quadratic(condition=1, dim=1),
    "rosenbrock": rosenbrock(),
    "saddle": saddle(),
    "sparse": sparse(dim=20, rows=100),
    "online": online(dim=3, period=17),
    "reddi": reddi(),
}
every = pytest.mark.parametrize("objective", ALL.values(), ids=ALL.keys())


def points(objective, n, seed=0):
    rng = np.random.default_rng(seed)
    return [
        objective.project(objective.start + 0.5 * rng.normal(size=objective.start.shape))
        for _ in range(n)
    ]


@every
def test_gradient_is_the_slope(objective):
    for k, point in enumerate(points(objective, 20)):
        direction = np.random.default_rng(k).normal(size=point.shape)
        h = 1e-6 * direction
        change = objective.value(point + h, k + 1) - objective.value(point - h, k + 1)
        slope = float(objective.grad(point, k + 1) @ direction)
        scale = np.abs(objective.grad(point, k + 1)) @ np.abs(direction)
        assert abs(change / 2e-6 - slope) <= 1e-4 * scale + 1e-8


@every
def test_nothing_is_lower_than_the_minimum(objective):
    for step in (1, 2, 40):
        for minimum in objective.minima(step):
            assert objective.value(minimum, step) == pytest.approx(objective.lowest(step))
            moved = objective.project(minimum - 1e-3 * objective.grad(minimum, step))
            assert np.allclose(moved, minimum, atol=1e-12)
        for point in points(objective, 50, seed=step):
            assert objective.value(point, step) >= objective.lowest(step) - 1e-12


@every
def test_starts_away_from_the_minimum(objective):
    assert objective.value(objective.start, 1) > objective.lowest(1) + 0.01
    assert not objective.start.flags.writeable
    assert objective.start.dtype == np.float64


@every
def test_what_is_seen_is_the_gradient_on_average(objective):
    rng, point = np.random.default_rng(0), points(objective, 1)[0]
    if objective.name == "Reddi's line":
        seen = [objective.observe(point, step, rng) for step in range(1, 31)]
    else:
        seen = [objective.observe(point, 5, rng) for _ in range(20_000 if objective.sample else 2)]
    error = np.std(seen, axis=0) / np.sqrt(len(seen))
    difference = np.abs(np.mean(seen, axis=0) - objective.grad(point, 5))
    assert np.all(difference <= 5 * error + 1e-12)


@given(
    condition=st.floats(1, 1e8),
    dim=st.integers(2, 6),
    seed=st.none() | st.integers(0, 1000),
)
def test_a_quadratic_has_the_chosen_condition(condition, dim, seed):
    objective = quadratic(condition=condition, dim=dim, seed=seed)
    hessian = np.array([objective.grad(row) for row in np.eye(dim)])
    curvature = np.linalg.eigvalsh((hessian + hessian.T) / 2)
    assert curvature[-1] == pytest.approx(condition, rel=1e-6)
    assert curvature[0] == pytest.approx(1, abs=1e-9 * condition + 1e-9)
    assert objective.value(objective.start) == pytest.approx(dim, rel=1e-6)


@given(st.floats(-7, 7))
def test_an_angle_turns_the_valley(angle):
    floor = np.array([np.cos(angle), np.sin(angle)])
    objective = quadratic(condition=1000, angle=angle)
    assert objective.value(floor) == pytest.approx(0.5, abs=1e-9)
    assert objective.value(floor[::-1] * [1, -1]) == pytest.approx(500)


def test_features_are_as_frequent_as_words():
    """Feature k of 1 to 4 is present in 1/k of the rows: its gradient is seen that often."""
    objective = sparse(dim=4, rows=4000, noise=1.0)
    rng = np.random.default_rng(0)
    seen = np.array([objective.observe(objective.start, 1, rng) != 0 for _ in range(4000)])
    assert np.allclose(seen.mean(axis=0), [1, 1 / 2, 1 / 3, 1 / 4], atol=0.04)


def test_the_saddle_is_one():
    objective = saddle()
    assert not objective.grad(np.zeros(2)).any()
    assert objective.value(np.array([0, 0.1])) < 0 < objective.value(np.array([0.1, 0]))


def test_the_domain_is_kept():
    objective = reddi()
    assert objective.project(np.array([7.0])) == 1 and objective.project(np.array([-7.0])) == -1
    assert np.isnan(objective.project(np.array([np.nan])))
    assert objective.project(np.array([0.3], np.float32)).dtype == np.float32


def test_two_of_one_seed_are_the_same():
    one, other, third = sparse(seed=1), sparse(seed=1), sparse(seed=2)
    assert np.array_equal(one.minimum, other.minimum)
    assert not np.array_equal(one.minimum, third.minimum)


def line(start, **more):
    return Objective("mine", lambda p, step=1: 0.0, lambda p, step=1: p, start, **more)


BAD = {
    "condition is 0.5": lambda: quadratic(condition=0.5),
    "condition is nan": lambda: quadratic(condition=np.nan),
    "condition is inf": lambda: quadratic(condition=np.inf),
    "dim is 0": lambda: quadratic(dim=0),
    "dim is True": lambda: quadratic(dim=True),
    "dim=1; one coordinate": lambda: quadratic(condition=2, dim=1),
    "give dim=2": lambda: quadratic(dim=3, angle=1.0),
    "rows is -1": lambda: sparse(rows=-1),
    "batch is 1.5": lambda: sparse(batch=1.5),
    "exponent is -1": lambda: sparse(exponent=-1),
    "noise is nan": lambda: sparse(noise=np.nan),
    "noise is -1": lambda: online(noise=-1),
    "period is 0": lambda: online(period=0),
    "period is 1": lambda: reddi(period=1),
    "large is 2.0": lambda: reddi(large=2.0),
    "start where all is finite": lambda: line([np.nan]),
    r"give \(low, high\)": lambda: line([0.0], domain=(1, -1)),
    "outside its domain": lambda: line([2.0], domain=(-1, 1)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    with pytest.raises(ValueError, match=message) as error:
        BAD[message]()
    assert "\n" not in str(error.value)
