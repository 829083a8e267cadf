"""What holds for every rule and every input."""

import math

import numpy as np
import pytest
from harness.cases import called, unchanged
from harness.evidence import EVIDENCE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adam_nbdev.language.rule import parse
from adam_nbdev.language.run import run as feed
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.rules import RULES, adam, adamw, rprop

rules = st.sampled_from(list(RULES.values()))
sizes = st.floats(1e-30, 1e30).flatmap(lambda x: st.sampled_from([x, -x]))
gradients = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=sizes | st.just(0.0)
)


def run(rule, grads, param=None, **hyperparameters):
    """The parameter and the state after the last of some steps."""
    param = np.zeros_like(grads[0]) if param is None else param
    state = start(rule, param)
    for step, grad in enumerate(grads, start=1):
        param, state = advance(rule, param, grad, state, step, **hyperparameters)
    return param, state


@given(grad=sizes, lr=st.floats(1e-6, 10), beta1=st.floats(0, 0.999), beta2=st.floats(0, 0.9999))
def test_the_first_step_of_adam_is_lr_times_the_sign_within_two_ulp(grad, lr, beta1, beta2):
    param, _ = run(adam, np.array([[grad]]), lr=lr, beta1=beta1, beta2=beta2, eps=0.0)
    assert abs(param[0] + math.copysign(lr, grad)) <= 2 * np.spacing(lr)


@given(grads=gradients)
def test_rprop_sees_nothing_but_signs(grads):
    param, state = run(rprop, grads)
    same, same_state = run(rprop, np.sign(grads))
    assert np.array_equal(param, same) and np.array_equal(state["size"], same_state["size"])


@given(grads=gradients, power=st.integers(-30, 30))
@pytest.mark.parametrize("name", [name for name, e in EVIDENCE.items() if e.scale_free])
def test_without_eps_the_scale_of_the_gradients_drops_out(name, grads, power):
    grads = np.where(np.abs(grads) < 1e-20, 1e-20, grads)
    given_ = {"eps": 0.0} if "eps" in parse(RULES[name]).defaults else {}
    once, _ = run(RULES[name], grads, **given_)
    scaled, _ = run(RULES[name], grads * 2.0**power, **given_)
    assert np.array_equal(once, scaled)


@given(rule=rules, grads=gradients, seed=st.integers(0, 99))
def test_a_permutation_of_the_coordinates_commutes_with_the_rule(rule, grads, seed):
    order = np.random.default_rng(seed).permutation(grads.shape[1])
    param, state = run(rule, grads)
    permuted, permuted_state = run(rule, grads[:, order])
    assert np.array_equal(param[order], permuted)
    for name, slot in parse(rule).slots.items():
        moved = state[name][order] if slot.per == "element" else state[name]
        assert np.array_equal(moved, permuted_state[name])


@given(
    rule=rules,
    param=hnp.arrays(np.float64, 4, elements=sizes),
    steps=st.integers(1, 9),
    decay=st.floats(0, 1),
)
def test_zero_gradients_from_zero_state_move_nothing_but_by_decay(rule, param, steps, decay):
    """What decays does so exactly as its evidence says; no state moves."""
    given_ = {"lr": 0.5, "weight_decay": decay} if decays(rule) else {"lr": 0.5}
    moved, state = run(rule, np.zeros((steps, 4)), param, **given_)
    decayed, _ = EVIDENCE[rule.__name__].decayed
    for _ in range(steps if decays(rule) else 0):
        param = decayed(param, 0.5, decay)
    assert np.array_equal(moved, param)
    at_rest, _ = EVIDENCE[rule.__name__].rest
    for name, slot in parse(rule).slots.items():
        if slot.per == "element":
            expected = at_rest.get(name, slot.start)
            expected = expected(steps) if callable(expected) else expected
            assert np.allclose(state[name], expected, rtol=1e-12, atol=0)


def decays(rule):
    """Whether a rule has a hyperparameter of the name `weight_decay`."""
    return "weight_decay" in parse(rule).defaults


def test_a_rule_decays_as_its_hyperparameters_say():
    assert decays(adamw) and not decays(adam)
    for rule in RULES.values():
        given_ = {"weight_decay": 0.5} if decays(rule) else {}
        param, _ = run(rule, np.zeros((1, 1)), np.ones(1), lr=0.5, **given_)
        decayed, _ = EVIDENCE[rule.__name__].decayed
        assert param[0] == (decayed(1.0, 0.5, 0.5) if decays(rule) else 1)


@given(rule=rules, grads=gradients, seed=st.integers(0, 99))
def test_a_slot_of_the_whole_tensor_does_not_see_gradients(rule, grads, seed):
    _, state = run(rule, grads)
    _, other = run(rule, np.random.default_rng(seed).normal(size=grads.shape))
    slots = parse(rule).slots.items()
    assert all(state[name] == other[name] for name, slot in slots if slot.per == "tensor")


@given(rule=rules, grads=gradients, data=st.data())
def test_nan_stays_in_its_element_and_is_never_lost(rule, grads, data):
    step, element = (data.draw(st.integers(0, n - 1)) for n in grads.shape)
    poisoned = grads.copy()
    poisoned[step, element] = np.nan
    (clean, _), (param, _) = run(rule, grads), run(rule, poisoned)
    others = np.arange(grads.shape[1]) != element
    assert np.isnan(param[element])
    assert np.array_equal(param[others], clean[others])


@given(rule=rules, grads=gradients)
def test_inputs_are_never_modified(rule, grads):
    param, state = run(rule, grads)
    grad = grads[-1].copy()
    given_ = {"param": param, "grad": grad, **state}
    before = {name: np.copy(value) for name, value in given_.items()}
    new_param, new_state = advance(rule, param, grad, state, len(grads) + 1)
    assert all(np.array_equal(before[name], value) for name, value in given_.items())
    results = {"param": new_param, **new_state}
    assert not any(np.shares_memory(a, b) for a in results.values() for b in given_.values())


@given(rule=rules, grads=gradients)
def test_arrays_give_what_the_plain_function_gives_for_each_element(rule, grads):
    param, _ = run(rule, grads)
    for element, column in enumerate(grads.T):
        *_, last = feed(rule, column.tolist(), number=unchanged, advance=called(rule, ()))
        assert last.param == param[element]
