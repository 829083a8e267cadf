"""A trajectory is the plain loop, recorded."""

import numpy as np
import pytest

from adam_nbdev.lab.objectives import Objective, online, quadratic, reddi, sparse
from adam_nbdev.lab.trajectory import settled, trajectory, tuned
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.trace import trace
from adam_nbdev.rules import RULES, adam

VALLEY = quadratic(condition=10, angle=0.3)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_is_the_plain_loop(rule, dtype):
    run = trajectory(rule, VALLEY, steps=30, start=VALLEY.start.astype(dtype), lr=0.02)
    param = VALLEY.start.astype(dtype)
    state = start(rule, param)
    for step in range(1, 31):
        assert np.array_equal(run.params[step - 1], param)
        assert run.values[step - 1] == VALLEY.value(param.astype(np.float64))
        grad = VALLEY.grad(param).astype(dtype)
        assert np.array_equal(run.grads[step - 1], grad)
        param, state = advance(rule, param, grad, state, step, lr=0.02)
        for name, value in state.items():
            kept = run[name][step - 1].astype(np.asarray(value).dtype)  # per tensor: a double
            assert np.array_equal(kept, value)
    assert np.array_equal(run.params[30], param) and run.params.dtype == dtype
    assert run.steps == 30 and len(run.values) == 31


def test_every_name_of_a_step_is_recorded():
    run = trajectory(adam, VALLEY, steps=3, lr=0.1)
    assert set(run.named) == {"grad", *"square m v m_hat v_hat update param".split()}
    state = {"m": 0.0, "v": 0.0}
    for step in range(3):
        numbers = {"param": float(run.params[step, 0]), "grad": float(run.grads[step, 0])}
        for line in trace(adam, **numbers, state=dict(state), step=step + 1, lr=0.1):
            assert run[line.name][step, 0] == line.value
            state |= {line.name: line.value} if line.name in state else {}
    with pytest.raises(KeyError, match="names no 'velocity'; it names m, v, grad"):
        run["velocity"]


@pytest.mark.parametrize("objective", [sparse(), online()], ids=["sparse", "online"])
def test_one_seed_shows_all_rules_the_same(objective):
    one, other = (
        trajectory(r, objective, steps=20, lr=0, seed=3) for r in list(RULES.values())[:2]
    )
    assert np.array_equal(one.grads, other.grads)
    again = trajectory(adam, objective, steps=20, lr=0, seed=4)
    assert not np.array_equal(one.grads, again.grads)


def test_noise():
    quiet, loud, mine = (
        trajectory(adam, VALLEY, steps=2000, lr=0, noise=noise)
        for noise in (0.0, 0.5, lambda rng, grad, step: grad * (-1) ** step)
    )
    difference = loud.grads - quiet.grads
    assert np.std(difference) == pytest.approx(0.5, rel=0.05)
    assert abs(difference.mean()) < 0.05
    assert np.array_equal(mine.grads[:2], quiet.grads[:2] * [[-1], [1]])


def test_the_parameter_stays_on_the_domain():
    run = trajectory(adam, reddi(), steps=50, lr=0.7)
    assert np.all(np.abs(run.params) <= 1) and np.abs(run["param"]).max() > 1
    assert np.all(run.excess >= 0)


def test_a_schedule_is_a_function_of_the_step():
    run = trajectory(adam, VALLEY, steps=5, lr=lambda step: 0.1 / step, eps=0)
    assert np.allclose(np.abs(run["update"][0]), 0.1)
    fixed = trajectory(adam, VALLEY, steps=5, lr=0.1, eps=0)
    assert np.abs(run["update"][4]).max() < np.abs(fixed["update"][4]).max()


def test_what_is_lost_is_recorded_and_the_run_goes_on():
    run = trajectory(RULES["gradient_descent"], VALLEY, steps=40, lr=1e10)
    assert run.steps == 40 and not np.isfinite(run.values[-1])
    assert np.isfinite(run.values[0])


def test_inputs_are_not_modified():
    first = np.array([1.0, 2.0])
    run = trajectory(adam, VALLEY, steps=3, start=first)
    run.params[0, 0] = 7
    assert first.tolist() == [1, 2]


def test_whole_numbers_start_as_floats():
    assert trajectory(adam, VALLEY, steps=1, start=[1, 2]).params.dtype == np.float64


def no_rule(param, grad):
    return param


BAD = [
    ("rule 'no_rule'", TypeError, lambda: trajectory(no_rule, VALLEY)),
    ("hyperparameter", TypeError, lambda: trajectory(adam, VALLEY, learning_rate=0.1)),
    ("not an Objective", TypeError, lambda: trajectory(adam, "valley")),
    ("steps is 0", ValueError, lambda: trajectory(adam, VALLEY, steps=0)),
    ("steps is 2.5", ValueError, lambda: trajectory(adam, VALLEY, steps=2.5)),
    ("steps is True", ValueError, lambda: trajectory(adam, VALLEY, steps=True)),
    ("noise is -1", ValueError, lambda: trajectory(adam, VALLEY, noise=-1)),
    ("noise is nan", ValueError, lambda: trajectory(adam, VALLEY, noise=np.nan)),
    ("of that shape", ValueError, lambda: trajectory(adam, VALLEY, start=[1.0])),
    ("real numbers", ValueError, lambda: trajectory(adam, VALLEY, start=["a", "b"])),
    ("real numbers", ValueError, lambda: trajectory(adam, VALLEY, start=[1j, 2])),
]


@pytest.mark.parametrize("case", BAD, ids=[message for message, *_ in BAD])
def test_bad_input_is_refused(case):
    message, kind, call = case
    with pytest.raises(kind, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_refused_before_anything_is_asked():
    asked = []
    spy = Objective("spy", asked.append, asked.append, [0.0])
    with pytest.raises(ValueError):
        trajectory(adam, spy, steps=0)
    assert not asked


def test_settled_is_not_fooled_by_a_crossing():
    run = trajectory(adam, VALLEY, steps=40, lr=0.1)
    assert settled(run) == run.excess[-4:].max() >= run.excess[-1]
    assert settled(trajectory(adam, VALLEY, steps=3, lr=0.1)) >= 0
    assert not np.isfinite(settled(trajectory(RULES["gradient_descent"], VALLEY, 60, lr=1e9)))


def test_tuned_is_the_best_of_the_grid():
    grid = [10.0**k for k in range(-4, 3)]
    best = tuned(adam, VALLEY, grid, steps=40, seed=3)
    ends = [settled(trajectory(adam, VALLEY, steps=40, lr=lr, seed=3)) for lr in grid]
    assert best.hyperparameters["lr"] == grid[int(np.argmin(ends))]
    shuffled = tuned(adam, VALLEY, grid[::-1], steps=40, seed=3)
    assert shuffled.hyperparameters == best.hyperparameters


def test_lost_runs_do_not_win():
    best = tuned(RULES["gradient_descent"], VALLEY, [0.001, 0.01, 1e5, 1e6], steps=100)
    assert best.hyperparameters["lr"] == 0.01


@pytest.mark.parametrize("grid", [[1e-6, 1e-5, 1e-4], [0.1, 0.5, 2.5], [0.1]])
def test_a_grid_that_is_too_short_is_refused(grid):
    with pytest.raises(ValueError, match="is at the end of the grid; widen it"):
        tuned(adam, VALLEY, grid, steps=30)


def test_a_grid_on_which_all_is_lost_is_refused():
    with pytest.raises(ValueError, match="try smaller learning rates"):
        tuned(RULES["gradient_descent"], VALLEY, [1e9, 1e10, 1e11], steps=60)
