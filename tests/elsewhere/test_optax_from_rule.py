"""Rules as transformations of optax: beside optax's own, and as links of what optax has."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from harness.cases import beginning, distance, gradients, reference, run
from harness.own_rules import RULES as OWN

from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import ema, sqrt
from adam_nbdev.language.rule import parse
from adam_nbdev.optax import from_rule
from adam_nbdev.rules import RULES

adam, adamw, lion, nadam = (RULES[name] for name in "adam adamw lion nadam".split())


@pytest.fixture
def x64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def history(optimizer, grads, begin=0.0, dtype=float):
    """The parameter after each step on these gradients, scanned."""

    def step(carried, grad):
        param, state = carried
        update, state = optimizer.update(grad, state, param)
        param = optax.apply_updates(param, update)
        return (param, state), param

    param = jnp.full(grads.shape[1:], begin, dtype)
    _, params = jax.lax.scan(step, (param, optimizer.init(param)), jnp.array(grads, dtype))
    return np.asarray(params)


#: For each rule optax's own, and hyperparameters. Its Adagrad has eps inside the root.
PEERS = {
    "adam": (lambda lr, beta1, beta2, eps: optax.adam(lr, beta1, beta2, eps), {"eps": 1e-3}),
    "adamw": (
        lambda lr, beta1, beta2, weight_decay: optax.adamw(
            lr, beta1, beta2, weight_decay=weight_decay
        ),
        {"weight_decay": 0.5},
    ),
    "lion": (
        lambda lr, beta1, beta2, weight_decay: optax.lion(
            lr, beta1, beta2, weight_decay=weight_decay
        ),
        {"weight_decay": 0.5},
    ),
    "amsgrad_corrected": (
        lambda lr, beta1, beta2, eps: optax.amsgrad(lr, beta1, beta2, eps),
        {"eps": 1e-3},
    ),
    "rmsprop": (
        lambda lr, decay, eps: optax.rmsprop(lr, decay, eps, eps_in_sqrt=False),
        {"decay": 0.8, "eps": 1e-3},
    ),
    "adagrad": (lambda lr, eps: optax.adagrad(lr, 0.0, eps), {"eps": 0.0}),
    "momentum": (lambda lr, momentum: optax.sgd(lr, momentum), {"momentum": 0.8}),
    "nesterov": (lambda lr, momentum: optax.sgd(lr, momentum, True), {"momentum": 0.8}),
    "gradient_descent": (optax.sgd, {}),
}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_optax_in_float64(name, x64):
    make, more = PEERS[name]
    betas = {"beta1": 0.8, "beta2": 0.95} if "beta1" in parse(RULES[name]).defaults else {}
    given, grads = {"lr": 0.1, **betas, **more}, gradients(200)
    theirs = history(make(*given.values()), grads, beginning(given))
    ours = history(from_rule(RULES[name])(**given), grads, beginning(given))
    assert ours.dtype == np.float64 and distance(ours, theirs) < 1e-11


@pytest.mark.parametrize("rule", [*RULES.values(), *OWN], ids=lambda rule: rule.__name__)
def test_every_rule_takes_the_steps_that_it_takes_in_numpy(rule, x64):
    grads = gradients(30)
    with np.errstate(all="ignore"):
        true = run(rule, grads, **parse(rule).defaults)[:, 0]
    found = history(from_rule(rule)(), grads, beginning(parse(rule).defaults))
    assert distance(found, true) < 1e-11


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "rmsprop_corrected"])
def test_single_precision_is_near_fifty_digits(name):
    """optax's own Adam is 7e-6 away, since it takes a power of a rounded decay rate from 1."""
    rule = RULES[name]
    grads = gradients(50).astype(np.float32)
    begin = beginning(parse(rule).defaults)
    true = reference(rule, grads.astype(float), **({"param": begin} if begin else {}))
    optimizer, state, param = from_rule(rule)(), None, jnp.full(3, begin, jnp.float32)
    state, moved = optimizer.init(param), np.zeros(3)
    for grad, now, before in zip(grads, true, [np.full(3, begin), *true[:-1]], strict=False):
        update, state = optimizer.update(grad, state, jnp.float32(before))
        moved += update
        assert np.abs(update - (now - before)).max() < 1e-6 * parse(rule).defaults["lr"]


def test_the_update_of_a_large_parameter_is_not_lost():
    param = jnp.full(3, 1e6, jnp.float32)
    optimizer = from_rule(adam)(lr=1e-3)
    update, _ = optimizer.update(jnp.ones(3), optimizer.init(param), param)
    assert np.abs(update / -1e-3 - 1).max() < 1e-6


TREE = {"w": jnp.ones((2, 3)), "b": [jnp.zeros(3), jnp.float32(2.0)]}


def alike(one, other):
    """Whether two trees have the same structure, shapes, dtypes and weak types."""
    same = jax.tree.structure(one) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return same and all(
        (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type) for a, b in pairs
    )


@pytest.mark.parametrize("rule", [adam, nadam, lion], ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_init_and_update_agree(rule, dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), TREE)
    optimizer = from_rule(rule)()
    state = optimizer.init(params)
    abstract = jax.eval_shape(optimizer.init, params)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert alike(optimizer.init(shapes), state) and alike(abstract, state)
    updates, new = jax.jit(optimizer.update)(params, state, params)
    assert alike(new, state) and alike(updates, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(state[1:])} == {jnp.dtype("float32")}
    assert jax.tree.structure(state.m) == jax.tree.structure(params)
    if rule is nadam:
        assert all(leaf.shape == () and leaf == 1 for leaf in jax.tree.leaves(state.mu_product))


def test_plain_numbers_and_weak_types_are_taken():
    optimizer = from_rule(adam)(lr=0.1)
    for param in (1.0, jnp.asarray(1.0), np.float64(1.0), np.ones(2)):
        state = optimizer.init(param)
        update, new = optimizer.update(param, state)
        assert alike(state, new) and np.abs(update + 0.1).max() < 1e-6


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_the_state_has_the_sharding_of_the_parameters(kind):
    mesh = jax.make_mesh((1,), ("x",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    param = jax.device_put(jnp.ones(4), sharding)
    optimizer = from_rule(nadam)()
    state = optimizer.init(param)
    update, new = jax.jit(optimizer.update)(param, state, param)
    for array in (state.m, new.m, state.v, new.v, update):
        assert array.sharding.is_equivalent_to(sharding, 1)
    assert jax.typeof(state.m) == jax.typeof(new.m) == jax.typeof(param)


def test_bfloat16_parameters_do_not_change_the_scalars():
    half, single = (jnp.ones(3, dtype) for dtype in ("bfloat16", "float32"))
    optimizer, states = from_rule(adam)(eps=1e-8), []
    for param in (half, single):
        state = optimizer.init(param)
        for step in range(5):
            update, state = optimizer.update(param * 2.0**-step, state)
        states.append(state)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), *states))
    assert float(jnp.bfloat16(0.999)) == 1.0
    injected = optax.inject_hyperparams(from_rule(adam), hyperparam_dtype=jnp.float32)()
    state = injected.init(half)
    update, state = injected.update(half, state, half)
    assert abs(float(update[0]) + 1e-3) < 1e-5
    given = from_rule(adam)(beta2=jnp.bfloat16(0.5), lr=np.float32(1e-3))
    update, _ = given.update(half, given.init(half))
    assert abs(float(update[0]) + 1e-3) < 1e-5


def test_parameters_are_asked_for_only_where_they_are_needed():
    from optax._src.base import NO_PARAMS_MSG

    grads = jnp.ones(2)
    for name, rule in RULES.items():
        optimizer = from_rule(rule)()
        if "weight_decay" in parse(rule).defaults:
            with pytest.raises(ValueError) as refusal:
                optimizer.update(grads, optimizer.init(grads))
            assert str(refusal.value) == NO_PARAMS_MSG, name


@pytest.mark.parametrize("name", ["adam", "rprop", "nadam", "amsgrad", "adagrad", "adopt"])
def test_a_rule_without_decay_needs_no_parameters(name):
    optimizer = from_rule(RULES[name])()
    state = optimizer.init(jnp.ones(2))
    without, _ = optimizer.update(jnp.ones(2), state)
    given, _ = optimizer.update(jnp.ones(2), state, jnp.full(2, 1e5))
    assert (without == given).all()


def averaged(param, grad, step, lr=0.1):
    new = ema(param, param - lr * grad, 0.5)
    return new


def test_a_parameter_that_is_scaled_is_computed_whole():
    optimizer = from_rule(averaged)()
    update, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
    assert np.abs(update + 0.05).max() < 1e-6
    with pytest.raises(ValueError, match="requires the current value of parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_none_and_masked_leaves_pass():
    params = {"a": jnp.ones(2), "b": None, "c": jnp.ones(3)}
    optimizer = from_rule(adamw)(lr=0.1)
    state = optimizer.init(params)
    grads = {"a": jnp.ones(2), "b": None, "c": None}
    updates, new = optimizer.update(grads, state, params)
    assert updates["b"] is updates["c"] is None and updates["a"].shape == (2,)
    assert (new.m["c"] == 0).all() and (new.m["a"] != 0).all() and new.m["b"] is None
    masked = optax.masked(optimizer, {"a": True, "b": False, "c": False})
    grads["c"] = jnp.full(3, 7.0)
    updates, state = masked.update(grads, masked.init(params), params)
    assert (updates["c"] == 7).all() and (updates["a"] < 0).all()
    assert isinstance(state.inner_state.m["c"], optax.MaskedNode)
    empty, state = optimizer.update({}, optimizer.init({}), {})
    assert empty == {} and int(state.count) == 1


def test_a_schedule_sees_count_0_first():
    seen = from_rule(RULES["gradient_descent"])(lr=lambda count: 1.0 + count)
    state, found = seen.init(jnp.ones(1)), []
    for _ in range(3):
        update, state = jax.jit(seen.update)(jnp.ones(1), state)
        found.append(float(update[0]))
    assert found == [-1.0, -2.0, -3.0]
    grads = gradients(20).astype(np.float32)
    schedule = optax.cosine_decay_schedule(0.1, 20)
    theirs = history(optax.adam(schedule), grads, dtype=np.float32)
    ours = history(from_rule(adam)(lr=schedule), grads, dtype=np.float32)
    assert distance(ours, theirs) < 1e-4


def test_the_count_does_not_overflow():
    optimizer = from_rule(adam)()
    state = optimizer.init(jnp.ones(1))._replace(count=jnp.int32(2**31 - 1))
    update, state = optimizer.update(jnp.ones(1), state)
    assert int(state.count) == 2**31 - 1 and np.isfinite(update).all()


def test_vmap_over_the_learning_rate():
    grads = jnp.array(gradients(10), jnp.float32)

    def last(lr):
        return history_of(from_rule(adam)(lr=lr), grads)

    def history_of(optimizer, grads):
        def step(carried, grad):
            param, state = carried
            update, state = optimizer.update(grad, state)
            return (param + update, state), None

        param = jnp.zeros(3)
        return jax.lax.scan(step, (param, optimizer.init(param)), grads)[0][0]

    rates = jnp.array([1e-3, 1e-2, 1e-1])
    together = jax.jit(jax.vmap(last))(rates)
    for lr, found in zip(rates, together, strict=True):
        assert np.allclose(found, last(float(lr)), rtol=1e-5)
    slope = jax.grad(lambda lr: last(lr).sum())(0.01)
    assert np.isfinite(slope) and np.isclose(slope * 0.01, last(0.01).sum(), rtol=1e-3)


def test_hyperparameters_are_injected_and_changed():
    make = optax.inject_hyperparams(from_rule(adam))
    optimizer = make(lr=optax.linear_schedule(0.1, 0.0, 10), beta2=0.99)
    params = jnp.ones(2)
    state = optimizer.init(params)
    assert set(state.hyperparams) == {"lr", "beta1", "beta2", "eps"}
    step = jax.jit(optimizer.update)
    update, state = step(params, state, params)
    assert np.allclose(update, -0.1, rtol=1e-5)
    state.hyperparams["beta1"] = jnp.float32(0.5)
    update, state = step(params, state, params)
    assert (
        np.allclose(update, -0.09 * 0.55 / 0.75, rtol=1e-5)
        and float(state.hyperparams["beta1"]) == 0.5
    )
    assert alike(optimizer.init(params), state)


#: What optax can do with one transformation, or with two.
WRAPS = {
    "chain": lambda one, other: optax.chain(
        optax.clip_by_global_norm(1.0), one, optax.add_decayed_weights(-1e-3)
    ),
    "multi_transform": lambda one, other: optax.multi_transform(
        {"one": one, "other": other}, {"w": "one", "b": "other"}
    ),
    "masked": lambda one, other: optax.masked(one, {"w": True, "b": False}),
    "MultiSteps": lambda one, other: optax.MultiSteps(one, 3).gradient_transformation(),
    "apply_if_finite": lambda one, other: optax.apply_if_finite(one, 3),
    "ema": lambda one, other: optax.chain(one, optax.ema(0.9)),
    "flatten": lambda one, other: optax.flatten(one),
}


@pytest.mark.parametrize("wrap", list(WRAPS.values()), ids=list(WRAPS))
def test_a_rule_is_a_link_like_one_of_optax(wrap, x64):
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    theirs = wrap(optax.adam(0.1), optax.lion(0.01, weight_decay=0.1))
    ours = wrap(from_rule(adam)(lr=0.1), from_rule(lion)(lr=0.01, weight_decay=0.1))
    found = []
    for optimizer in (theirs, ours):
        moving, state = params, optimizer.init(params)
        step = jax.jit(optimizer.update)
        for row in jnp.array(gradients(9)):
            grads = {"w": jnp.stack([row, row**2]), "b": row[::-1]}
            update, state = step(grads, state, moving)
            moving = optax.apply_updates(moving, update)
        found.append(moving)
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        assert np.allclose(one, other, rtol=1e-10, atol=1e-14)


def test_optax_finds_the_slots():
    params = {"a": jnp.ones(2)}
    optimizer = from_rule(nadam)()
    state = optimizer.init(params)
    assert optax.tree_utils.tree_get(state, "mu_product") == {"a": 1.0}
    doubled = optax.tree_utils.tree_map_params(optimizer, lambda x: x + 1, state)
    assert int(doubled.count) == 0 and (doubled.m["a"] == 1).all()


def test_a_state_is_kept_and_read_again():
    optimizer = from_rule(adamw)()
    _, state = optimizer.update(TREE, optimizer.init(TREE), TREE)
    for again in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
        assert alike(again, state) and type(again) is type(state)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), again, state))
    assert type(from_rule(adam)().init(TREE)) is type(state)
    leaves, tree = jax.tree.flatten(state)
    assert type(tree.unflatten(leaves)) is type(state)


def test_a_step_does_not_compile_anew():
    optimizer = from_rule(adamw)(lr=optax.constant_schedule(0.1))
    step, params = jax.jit(optimizer.update), jnp.ones(3)
    state = optimizer.init(params)
    for _ in range(3):
        _, state = step(params, state, params)
    assert step._cache_size() == 1


def counting(param, grad, count, step, lr=0.1):
    update = lr * grad
    return param - update, count + 1


def wide(param, grad, total: Slot(per="tensor"), step, lr=0.1):
    total = total + grad
    return param - lr * grad, total


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (lambda: from_rule(adam)(learning_rate=1), TypeError, "no hyperparameter 'learning_rate'"),
        (lambda: from_rule(adam)(1e-3), TypeError, "positional"),
        (lambda: from_rule(len), TypeError, ""),
        (lambda: from_rule(counting), ValueError, "optax counts in 'count'"),
        (lambda: from_rule(wide), TypeError, "the tensor slot 'total' depends on an element"),
        (lambda: stepped(lr="fast"), TypeError, "'lr' is 'fast'; give a number"),
        (lambda: stepped(lr=None), TypeError, "'lr' is None; give a number"),
        (lambda: stepped(lr=True), TypeError, "'lr' is True; give a number"),
        (lambda: stepped(lr=np.ones(2)), TypeError, "'lr' is array"),
        (lambda: stepped(lr=jnp.complex64(1)), TypeError, "'lr' is Array"),
        (lambda: stepped(jnp.ones(2, int)), TypeError, "a gradient has dtype int32"),
        (lambda: stepped(jnp.ones(2, complex)), TypeError, "split_real_and_imaginary"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(wrong, kind, said):
    with pytest.raises(kind) as refusal:
        wrong()
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def stepped(grads=None, **hyperparameters):
    grads = jnp.ones(2) if grads is None else grads
    optimizer = from_rule(adam)(**hyperparameters)
    return optimizer.update(grads, optimizer.init(grads))


def test_complex_parameters_are_stepped_as_pairs():
    optimizer = optax.contrib.split_real_and_imaginary(from_rule(adam)(lr=0.1))
    param = jnp.array([1 + 2j])
    update, _ = optimizer.update(param, optimizer.init(param))
    assert np.allclose(update, -0.1 - 0.1j)


def test_nan_stays_in_its_element():
    optimizer = from_rule(adam)()
    grads = jnp.array([1.0, jnp.nan, jnp.inf])
    update, state = optimizer.update(grads, optimizer.init(grads))
    assert np.isfinite(update[0]) and np.isnan(update[1:]).all()
    assert np.isfinite(state.v[0])


def helped(param, grad, v, step, lr=0.1, decay=0.5):
    v = ema(v, grad * grad, decay)
    update = lr * grad / sqrt(v / (1 - decay**step))
    return param - update, v


def test_a_decay_rate_may_be_0_or_an_array_and_has_a_derivative():
    grads = jnp.array([0.5, -2.0])

    def moved(decay):
        optimizer = from_rule(helped)(decay=decay)
        state, total = optimizer.init(grads), 0.0
        for factor in (1.0, 3.0):
            update, state = optimizer.update(factor * grads, state)
            total += update.sum()
        return total

    assert np.allclose(moved(0.0), moved(jnp.float32(0.0)))
    slope = (moved(0.5 + 1e-3) - moved(0.5 - 1e-3)) / 2e-3
    assert np.isclose(jax.grad(moved)(0.5), slope, rtol=1e-2, atol=1e-3)
