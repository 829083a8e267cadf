"""Rules as methods of `scipy.optimize.minimize`: what SciPy's own methods promise, they promise."""

import numpy as np
import pytest
from scipy.optimize import Bounds, OptimizeResult, minimize, rosen, rosen_der

from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.rules import RULES
from adam_nbdev.scipy import method

adam, momentum, rprop = (RULES[name] for name in "adam momentum rprop".split())
VALLEY = {"x0": [-1.2, 1.0], "jac": rosen_der, "options": {"lr": 0.02}}


def bowl(x, centre=0.0):
    return float(((x - centre) ** 2).sum())


def bowl_der(x, centre=0.0):
    return 2 * (x - centre)


@pytest.mark.parametrize("name", ["adam", "momentum", "rprop", "adagrad"])
def test_a_valley_that_is_ten_times_as_curved_across_as_along(name):
    scale, options = np.array([1.0, 10.0]), {"lr": 0.5 if name == "adagrad" else 0.05}
    given = {"jac": lambda x: scale * x, "method": method(RULES[name]), "options": options}
    found = minimize(lambda x: scale @ x**2 / 2, [3.0, -2.0], **given)
    assert found.success and np.abs(found.x).max() < 1e-4


def test_the_result_has_what_scipys_have():
    found = minimize(rosen, method=method(adam), **VALLEY)
    theirs = minimize(rosen, [-1.2, 1.0], jac=rosen_der, method="BFGS")
    assert isinstance(found, OptimizeResult) and set(found) <= set(theirs)
    assert found.success is True and found.status == 0 and "gtol" in found.message
    assert np.abs(found.x - 1).max() < 1e-3 and found.fun == rosen(found.x)
    assert np.array_equal(found.jac, rosen_der(found.x)) and np.abs(found.jac).max() <= 1e-5
    assert (found.nfev, found.njev) == (1, found.nit + 1)


def test_the_steps_are_those_of_the_rule():
    seen = []
    minimize(rosen, method=method(adam), callback=seen.append, **VALLEY)
    x, state = np.array([-1.2, 1.0]), None
    state = start(adam, x)
    for step, found in enumerate(seen[:50], 1):
        x, state = advance(adam, x, rosen_der(x), state, step, lr=0.02)
        assert np.array_equal(x, found)


@pytest.mark.parametrize("jac", [None, True, "2-point"])
def test_a_gradient_may_be_missing_or_come_along(jac):
    def both(x):
        return rosen(x), rosen_der(x)

    given = {**VALLEY, "jac": jac}
    found = minimize(both if jac is True else rosen, method=method(adam), tol=1e-2, **given)
    assert found.success and np.abs(found.x - 1).max() < 0.1
    assert found.nfev == 1 if jac is True else found.nfev >= 3 * found.njev


CORNER = ([0, 0], [2, 2])


@pytest.mark.parametrize("jac", [None, bowl_der])
@pytest.mark.parametrize(
    "bounds", [[(0, 2), (0, 2)], [(None, 2), (0, None)], Bounds(*CORNER), Bounds(0, 2)]
)
def test_a_bounded_quadratic(bounds, jac):
    centre, seen = np.array([3.0, -1.0]), []

    def watched(x, centre):
        seen.append(x)
        return bowl(x, centre)

    found = minimize(
        watched, [5.0, 1.0], args=(centre,), jac=jac, bounds=bounds, method=method(adam),
        options={"lr": 0.1},
    )  # fmt: skip
    assert found.success and found.x.tolist() == [2.0, 0.0]
    assert np.allclose(found.jac, [-2, 2], atol=1e-4)
    assert all(x[0] <= 2 and x[1] >= 0 for x in seen), "evaluated beyond a bound"


def test_agrees_with_l_bfgs_b_within_bounds():
    bounds = [(-2, 0.5), (-1, 2), (0.2, 0.2)]
    given = {"x0": [0.0, 0.0, 0.2], "bounds": bounds}
    found = minimize(rosen, method=method(adam), options={"lr": 0.01}, **given)
    theirs = minimize(rosen, jac=rosen_der, method="L-BFGS-B", tol=1e-12, **given)
    assert found.success and np.abs(found.x - theirs.x).max() < 1e-4 and found.x[2] == 0.2


def test_all_fixed_and_nothing_at_all():
    fixed = minimize(bowl, [1.0, 2.0], bounds=[(1, 1), (2, 2)], method=method(adam))
    assert fixed.success and fixed.nit == 0 and fixed.fun == 5
    assert minimize(bowl, np.zeros(0), method=method(adam)).success


def test_an_inner_minimum_is_found_with_bounds_around_it():
    found = minimize(bowl, [1.0, 1.0], bounds=[(-2, 2)] * 2, method=method(rprop))
    assert found.success and np.abs(found.x).max() < 1e-5


def test_both_forms_of_callback():
    points, results = [], []

    def told(intermediate_result):
        results.append(intermediate_result)

    minimize(rosen, method=method(adam), callback=points.append, tol=1, **VALLEY)
    found = minimize(rosen, method=method(adam), callback=told, tol=1, **VALLEY)
    assert len(points) == len(results) == found.nit and found.nfev == found.nit + 1
    for x, result in zip(points, results, strict=True):
        assert np.array_equal(x, result.x) and result.fun == rosen(x)
    points[-1][:] = np.nan  # a copy
    assert np.isfinite(found.x).all()


@pytest.mark.parametrize("by_name", [False, True])
def test_a_callback_stops_the_run(by_name):
    seen = []

    def stop(x):
        seen.append(x)
        if len(seen) == 7:
            raise StopIteration

    def by_result(intermediate_result):
        stop(intermediate_result.x)

    callback = by_result if by_name else stop
    found = minimize(rosen, method=method(adam), callback=callback, **VALLEY)
    assert (found.nit, found.status, found.success) == (7, 99, False)
    assert np.array_equal(found.x, seen[-1]) and "StopIteration" in found.message
    theirs = minimize(
        rosen, [-1.2, 1.0], jac=rosen_der, callback=lambda x: next(iter(())), method="BFGS"
    )
    assert (found.status, found.message) == (theirs.status, theirs.message)


@pytest.mark.parametrize("maxiter", [0, 1, 5])
def test_the_number_of_steps_is_bounded(maxiter):
    given = {**VALLEY, "options": {"maxiter": maxiter}}
    found = minimize(rosen, method=method(adam), **given)
    assert (found.nit, found.status, found.success) == (maxiter, 1, False)
    assert found.njev == maxiter + 1 and np.array_equal(found.jac, rosen_der(found.x))


def test_schedules_and_args():
    rate = {"lr": lambda step: 0.5 / step}
    found = minimize(
        bowl, [1.0], args=(3.0,), jac=bowl_der, method=method(RULES["gradient_descent"]),
        options=rate,
    )  # fmt: skip
    assert found.success and found.x == 3 and found.nit == 1
    assert minimize(bowl, 1, args=3.0, jac=bowl_der, method=method(rprop)).success


def test_the_start_is_not_modified_and_may_be_of_integers():
    begin = np.array([1, 2])
    assert minimize(bowl, begin, method=method(rprop)).success and begin.tolist() == [1, 2]
    single = np.ones(2, np.float32)
    assert minimize(bowl, single, method=method(rprop)).x.dtype == np.float64


def test_an_objective_may_write_into_what_it_is_given():
    def careless(x):
        value = bowl(x)
        x[:] = np.nan
        return value

    assert minimize(careless, [1.0, 2.0], method=method(rprop)).success


@pytest.mark.parametrize("lr", [1e3, 1e308])
def test_a_run_that_diverges_says_so(lr):
    found = minimize(bowl, [1.0, 2.0], jac=bowl_der, method=method(momentum), options={"lr": lr})
    assert (found.status, found.success) == (2, False) and "NaN or infinite" in found.message


def test_an_objective_may_be_an_array_of_one():
    found = minimize(lambda x: (x**2).sum(keepdims=True), [1.0], method=method(rprop))
    assert found.success and isinstance(found.fun, float)


def tried(x0=(1.0, 2.0), fun=bowl, rule=adam, **given):
    options = {name: given.pop(name) for name in [*given] if name in OPTIONS}
    return minimize(fun, x0, method=method(rule), options=options, **given)


OPTIONS = "maxiter gtol lr learning_rate disp beta1".split()


def greedy(param, grad, step, gtol=0.1):
    return param - gtol * grad


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (lambda: tried(learning_rate=1), TypeError, "no option 'learning_rate'; it has maxiter, "),
        (lambda: tried(disp=True), TypeError, "no option 'disp'"),
        (lambda: tried(lr="fast"), TypeError, "'lr' is 'fast'; give a number"),
        (lambda: tried(maxiter=1.5), ValueError, "maxiter is 1.5; give a number of steps"),
        (lambda: tried(maxiter=-1), ValueError, "maxiter is -1"),
        (lambda: tried([np.nan, 1]), ValueError, "start at a row of finite real numbers"),
        (lambda: tried([1j, 1]), ValueError, "start at a row of finite real numbers"),
        (lambda: tried(bounds=[(0, 1)]), ValueError, "there are 1 bounds for 2 variables"),
        (
            lambda: tried(bounds=[(0, 1)] * 3),
            ValueError,
            "3 bounds for 2 variables; give a pair for each",
        ),
        (lambda: tried(bounds=[(0, 1), (1, 0)]), ValueError, "variable 1 are 1.0 and 0.0"),
        (lambda: tried(fun=lambda x: x), ValueError, "shape (2,); let it return one number"),
        (lambda: tried(jac=lambda x: x[:1]), ValueError, "they must be the same"),
        (
            lambda: tried(constraints={"type": "eq", "fun": bowl}),
            ValueError,
            "knows no constraints",
        ),
        (lambda: method(len), TypeError, ""),
        (lambda: method(greedy), ValueError, "has an option 'gtol' of its own"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(wrong, kind, said):
    with pytest.raises(kind) as refusal:
        wrong()
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_hessian_is_not_used_and_that_is_said():
    with pytest.warns(RuntimeWarning, match="does not use Hessian information"):
        tried(hess=lambda x: np.eye(2), jac=bowl_der, lr=0.1)
