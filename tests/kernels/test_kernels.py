"""Every rule as a kernel: against fifty digits, in every format, on any number of threads."""

import math
import operator
import os
import subprocess
import sys

import numpy as np
import pytest
from harness.cases import distance, gradients, reference
from harness.own_rules import RULES as OWN

from adam_nbdev.kernels import cpu
from adam_nbdev.kernels.cpu import Batch, step_inplace, sum_of_squares
from adam_nbdev.kernels.lower import FORMATS, RandomBits, lower
from adam_nbdev.kernels.numba_printer import source
from adam_nbdev.language import primitives
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.prelude import PRELUDES
from adam_nbdev.language.primitives import absolute, ema, maximum, sqrt, where
from adam_nbdev.language.rule import parse
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.rules import RULES

ADAM = RULES["adam"]


def stepped(rule, grads, threads=None, param=None, **hyperparameters):
    """The parameter after every step in place, and the state at the end."""
    param = 0 * grads[0] if param is None else param
    state, history = start(rule, param), []
    for step, grad in enumerate(grads, start=1):
        step_inplace(rule, param, grad.copy(), state, step, threads, **hyperparameters)
        history.append(param.copy())
    return np.array(history), state


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-13), (np.float32, 2e-6)])
def test_a_kernel_is_as_exact_as_its_precision(rule, dtype, bound):
    grads = gradients().astype(dtype)
    found, state = stepped(rule, grads)
    assert distance(found, reference(rule, grads)) < bound
    assert all(value.dtype == dtype for value in state.values() if isinstance(value, np.ndarray))


@pytest.mark.parametrize("rule", OWN, ids=lambda rule: rule.__name__)
def test_a_rule_as_users_write_them_is_a_kernel_at_once(rule):
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(20, 7))
    param = np.full(7, 0.25)
    wanted, state = param.copy(), start(rule, param)
    for step, grad in enumerate(grads, start=1):
        wanted, state = advance(rule, wanted, grad, state, step)
    found, kept = stepped(rule, grads, param=param)
    assert np.allclose(found[-1], wanted, rtol=1e-13, atol=0)
    for name, value in state.items():
        assert np.allclose(kept[name], value, rtol=1e-12, atol=1e-300)


def test_a_tensor_slot_is_advanced_once_a_step():
    def nadam(param, grad, m, product: Slot(start=1.0, per="tensor"), step, lr=0.1, beta1=0.9):
        product = product * beta1
        m = beta1 * m + (1 - beta1) * grad
        update = lr * m / (1 - product)
        return param - update, m, product

    found, state = stepped(nadam, np.ones((5, 3)))
    assert state["product"] == pytest.approx(0.9**5, rel=1e-15)
    assert np.allclose(found[-1], -0.5)


def test_a_tensor_slot_that_is_no_real_number_is_nan():
    def rooting(param, grad, root: Slot(per="tensor"), step, lr=0.1):
        root = (lr - step) ** 0.5
        return param - lr * grad, root

    found, state = stepped(rooting, np.ones((1, 2)))
    assert np.isnan(state["root"]) and np.allclose(found[-1], -0.1)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_number_that_is_none_stays_in_its_element(rule):
    grads = gradients(10).astype(np.float32)
    clean, _ = stepped(rule, grads)
    grads[4, 1] = np.nan
    found, _ = stepped(rule, grads)
    assert np.isnan(found[-1, 1]) and np.array_equal(found[-1, [0, 2]], clean[-1, [0, 2]])


def test_bias_correction_and_averages_do_not_drift_in_single_precision():
    grads = np.ones((3, 4), np.float32)
    for beta2 in (0.9999, 0.99999):
        found, _ = stepped(ADAM, grads, beta2=beta2)
        assert distance(found, reference(ADAM, grads, beta2=beta2)) < 1e-6
    rng = np.random.default_rng(0)
    param, v = np.zeros(1000, np.float32), np.zeros(1000)
    state = start(ADAM, param)
    for step in range(1, 5001):
        grad = rng.normal(size=1000).astype(np.float32)
        step_inplace(ADAM, param, grad, state, step, threads=1)
        v = 0.999 * v + 0.001 * grad.astype(float) ** 2
    assert abs(np.mean(state["v"] / v) - 1) < 1e-6, "0.999 and 0.001 in float32 make it 1.3e-5"


SHAPES = [(300_000,), (7,), (), (0,), (40, 5000), (1,)]


def model(seed=0):
    rng = np.random.default_rng(seed)
    params = [np.array(rng.normal(size=shape), np.float32) for shape in SHAPES]
    return params, [start(ADAM, p) for p in params], rng


@pytest.mark.parametrize("openmp", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(monkeypatch, threads, openmp):
    if not openmp:
        monkeypatch.setattr(cpu, "_openmp", lambda: None)
    elif sys.platform == "linux":
        assert cpu._openmp() is not None
    wanted, states, rng = model()
    params, ours, _ = model()
    for step in (1, 2, 3):
        grads = [np.array(rng.normal(size=shape), np.float32) for shape in SHAPES]
        for p, g, s in zip(wanted, grads, states, strict=True):
            step_inplace(ADAM, p, g, s, step, threads=1)
        step_inplace(ADAM, params, grads, ours, step, threads=threads)
    assert all(np.array_equal(p, q) for p, q in zip(params, wanted, strict=True))
    assert all(
        np.array_equal(s[name], t[name]) for s, t in zip(ours, states, strict=True) for name in s
    )


def test_the_sum_of_squares_does_not_depend_on_threads_and_is_right():
    _, _, rng = model()
    grads = [np.array(rng.normal(size=shape), np.float32) for shape in SHAPES]
    batch = Batch(ADAM, ("float32",) * 4, [g.size for g in grads])
    batch.pointers[1] = [g.ctypes.data for g in grads]
    found = [sum_of_squares(batch, "float32", threads) for threads in (1, 2, 5)]
    assert len(set(found)) == 1
    assert found[0] == pytest.approx(sum((g.astype(float) ** 2).sum() for g in grads), rel=1e-12)


def test_a_gradient_may_be_that_of_two_parameters():
    one, other, grad = np.zeros(4), np.zeros(4), np.ones(4)
    step_inplace(ADAM, [one, other], [grad, grad], [start(ADAM, one), start(ADAM, other)], 1)
    assert np.array_equal(one, other) and one[0] < 0
    with pytest.raises(ValueError, match="share memory"):
        whole = np.zeros(6)
        step_inplace(ADAM, [whole[:4], other], [grad, whole[2:]], [start(ADAM, one)] * 2, 1)


def test_half_precision_is_rounded_once():
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(30, 50)).astype(np.float16)
    param = np.zeros(50, np.float16)
    state = start(ADAM, param)
    assert state["m"].dtype == np.float32
    wide, wide_state = param.astype(np.float32), start(ADAM, param)
    for step, grad in enumerate(grads, start=1):
        step_inplace(ADAM, param, grad, state, step, lr=0.01)
        step_inplace(ADAM, wide, grad.astype(np.float32), wide_state, step, lr=0.01)
        wide = wide.astype(np.float16).astype(np.float32)
    assert np.array_equal(param.astype(np.float32), wide)
    assert np.array_equal(state["v"], wide_state["v"])


def test_what_is_printed_is_fused_and_hoisted():
    text = source(ADAM, prelude=PRELUDES[""])
    loop = text[text.index("def elements") : text.index("def task")]
    assert "beta1 ** step" not in loop and loop.count("for ") == 1
    assert (
        "m_2 = (m + s" in loop and "* grad_2 * grad_2 - s" in loop and "_all_grad[_i] =" not in loop
    )
    assert "grad_2 = scale * grad" in loop and "scale" not in source(ADAM)
    assert "weight_decay * param" in source(ADAM, prelude=PRELUDES["l2"])
    assert "weight_decay" not in loop
    assert "_real = float64" not in text and "float64 as _real" in source(ADAM, ("float64",) * 4)


@pytest.mark.long
def test_a_change_in_a_helper_is_another_kernel(tmp_path):
    (tmp_path / "helper_one.py").write_text(
        "def half(x):\n    return x / 2\n\n\n"
        "def halving(param, grad, step, lr=1.0):\n    return param - lr * half(grad)\n"
    )
    run = (
        "import sys, numpy as np; sys.path.insert(0, '.')\n"
        "from helper_one import halving\n"
        "from adam_nbdev.kernels.cpu import step_inplace\n"
        "p = np.zeros(3); step_inplace(halving, p, np.ones(3), {}, 1); print(p[0])\n"
    )
    environment = {"ADAM_NBDEV_KERNELS": str(tmp_path / "kernels")}

    def value():
        done = subprocess.run(
            [sys.executable, "-B", "-c", run],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    assert value() == -0.5
    (tmp_path / "helper_one.py").write_text(
        (tmp_path / "helper_one.py").read_text().replace("x / 2", "x / 4")
    )
    assert value() == -0.25
    files = list((tmp_path / "kernels").glob("*.py"))
    assert len(files) == 2
    for file in files:
        file.write_text("broken")
    assert value() == -0.25, "a damaged file of the cache is written anew"


@pytest.mark.long
def test_a_cache_that_cannot_be_written_is_no_obstacle(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(blocked / "below"))

    def odd(param, grad, step, lr=0.123):
        return param - lr * grad

    found, _ = stepped(odd, np.ones((1, 2)))
    assert np.allclose(found, -0.123)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "step": 0}, "count steps with integers"),
        (lambda a: {**a, "params": np.zeros((4, 4))[:, ::2]}, "contiguous"),
        (lambda a: {**a, "grads": np.ones(3)}, "they must be the same"),
        (lambda a: {**a, "params": np.zeros(4, int)}, "real floats"),
        (lambda a: {**a, "params": np.zeros(4, ">f8")}, "float16, float32 and float64"),
        (lambda a: {**a, "grads": a["params"]}, "two of the arrays share memory"),
        (lambda a: {**a, "states": {}}, "begin with start"),
        (lambda a: {**a, "betas": 1.0}, "no hyperparameter 'betas'"),
        (lambda a: {**a, "lr": "0.1"}, "'lr' is '0.1'; give a number"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(change, message):
    param = np.zeros(4)
    arguments = {"params": param, "grads": np.ones(4), "states": start(ADAM, param), "step": 1}
    arguments = change(arguments)
    if arguments["params"].shape == (4, 2):
        arguments |= {"grads": np.ones((4, 2)), "states": start(ADAM, arguments["params"])}
    with pytest.raises((TypeError, ValueError), match=message) as error:
        step_inplace(ADAM, **arguments)
    assert "\n" not in str(error.value) and not arguments["params"].any()


def test_a_format_that_is_none_is_refused():
    with pytest.raises(ValueError, match="give one for each"):
        source(ADAM, ("float32",))
    with pytest.raises(ValueError, match="'bfloat16, stochastic'"):
        source(ADAM, ("float8",) * 4)


@pytest.mark.parametrize("size", [2e19, 2e21])
def test_a_gradient_whose_square_overflows_is_survived_where_its_average_can_be_stored(size):
    found, state = stepped(ADAM, np.float32([[size], [1.0], [1.0]]))
    assert np.isfinite(found).all()
    assert (found[-1, 0] < 0) == np.isfinite(state["v"][0]) == (size < 1e20)


@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.0, 0.999), (0.3, 0.01), (0.5, 0.5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_average_that_forgets_is_free_of_what_it_forgot(betas, dtype):
    """A large gradient, then small ones: `x + (y - x)` would be 0 or the rounding error of x."""
    grads = np.array([[1e4], [3e-5], [-2e-5], [1e-5]], dtype)
    given = dict(zip(("beta1", "beta2"), betas, strict=True))
    found, state = stepped(ADAM, grads, **given)
    wide, m, v = found.astype(np.longdouble), 0.0, 0.0
    for grad in grads[:, 0].astype(np.longdouble):
        m, v = betas[0] * m + (1 - betas[0]) * grad, betas[1] * v + (1 - betas[1]) * grad**2
    error = float(100 * np.finfo(dtype).eps)
    assert state["m"][0] == pytest.approx(float(m), rel=error)
    assert state["v"][0] == pytest.approx(float(v), rel=error)
    assert distance(wide, reference(ADAM, grads, **given)) < error


def rooted(x):
    return sqrt(x * x)


def larger(x, y):
    return maximum(x, y)


def words_of_the_loop(param, grad, first, i, key, scalars, real, step, lr=0.1, range=2.0):
    return param - lr * range * grad, first + grad, i + 1, key + i, scalars + key, real + first


def words_of_python(param, grad, sign, single, step, lr=0.1, abs=2.0, math=3.0, np=0.5, types=1.0):
    size = rooted(grad) * math * np * types
    return param - lr * absolute(grad) * abs * size * sign, grad, single + sign


def words_of_steps(param, grad, step, lr=0.1, maximum=3.0, sqrt=2.0):
    top = larger(lr, maximum)
    return param - top * sqrt * grad


def words_with_a_line(param, grad, _i, _first, step, lr=0.1, _x=1.0):
    u_x = grad * 3
    uu_x = u_x + 1
    return param - lr * (_x + u_x) * uu_x, _i + grad, _first + u_x


def words_that_are_numbered(param, grad, s1, param_2, grad_2, step, lr=0.1):
    param = param - lr * (lr + step) * grad
    grad = grad * (lr * 2)
    return param, s1 + grad, param_2 + s1, grad_2 + param


def infinite(param, grad, top, step, lr=0.1):
    rate = where(step > 1e999, 1e999, -maximum(-lr, -1e999))
    return param - rate * grad, maximum(top, -1e999)


def constant(param, grad, a, b, step, lr=0.1):
    return param, -2, lr * step


NAMED = (
    words_of_the_loop,
    words_of_python,
    words_of_steps,
    words_with_a_line,
    words_that_are_numbered,
    infinite,
    constant,
)


@pytest.mark.parametrize("rule", NAMED, ids=lambda rule: rule.__name__)
def test_a_rule_may_use_any_name(rule):
    """Also those that the printed loop uses, and those that the printer makes."""
    param = np.array([0.3, -0.4, 2.0])
    wanted, state, kept = param.copy(), start(rule, param), start(rule, param)
    for step in range(1, 5):
        grad = np.sin(np.arange(3.0) + step)
        wanted, state = advance(rule, wanted, grad, state, step)
        step_inplace(rule, param, grad, kept, step)
    assert np.allclose(param, wanted, rtol=1e-13, atol=0)
    assert all(np.allclose(kept[name], state[name], rtol=1e-13, atol=0) for name in state)


def own_scale(param, grad, step, lr=0.1):
    _scale = 2 * grad
    return param - lr * _scale


def names_of_preludes(param, grad, scale_2, step, scale=0.5, weight_decay=0.25, lr=0.1, _decay=2):
    weight_decay_2 = scale * grad * _decay
    lr_2 = lr * weight_decay
    scale_2 = scale_2 + lr_2 * weight_decay_2
    return param - lr * scale_2 * weight_decay, scale_2


def no_rate(param, grad, step, scale=0.5):
    weight_decay = scale * grad
    return param - weight_decay


SCALARS = {"scale": -0.75, "weight_decay": 0.3, "lr": 0.2}


@pytest.mark.parametrize("kind", PRELUDES)
@pytest.mark.parametrize(
    "rule", [ADAM, RULES["adamw"], own_scale, names_of_preludes, no_rate], ids=lambda r: r.__name__
)
def test_a_prelude_is_composed_with_a_rule_whatever_its_names(rule, kind):
    prelude, param = PRELUDES[kind], np.array([0.3, -0.4, 2.0])
    wanted, expected, state = param.copy(), start(rule, param), start(rule, param)
    arrays = lower(rule, prelude=prelude).arrays
    batch = Batch(rule, ("float64",) * len(arrays), [3], prelude)
    assert set(batch.lowered.prelude) <= SCALARS.keys()
    given = {name: SCALARS[name] for name in batch.lowered.prelude}
    for step in range(1, 5):
        grad = np.sin(np.arange(3.0) + step)
        wanted, expected = advance(rule, *prelude(wanted, grad, **given), expected, step)
        members = [param, grad, *(state[name] for name in arrays[2:])]
        batch.pointers[:, 0] = [x.ctypes.data for x in members]
        row, slots = batch.scalars({**parse(rule).defaults, **state, "step": step}, given)
        batch.run([row])
        state.update(slots)
    assert np.allclose(param, wanted, rtol=1e-12, atol=0)
    assert all(np.allclose(state[name], expected[name], rtol=1e-12, atol=0) for name in state)


OPERATORS = {
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv},
    **{"**": operator.pow, "neg": operator.neg, "<": operator.lt, "<=": operator.le},
    **{">": operator.gt, ">=": operator.ge},
}


def value(node, known):
    """The value of an expression, in floats."""
    if node.leaf:
        return known[node.args[0]] if node.op == "name" else node.args[0]
    apply = OPERATORS.get(node.op) or getattr(primitives, node.op)
    return apply(*(value(a, known) for a in node.args))


@pytest.mark.parametrize("kind", [None, *PRELUDES])
@pytest.mark.parametrize(
    "rule", [*RULES.values(), own_scale, names_of_preludes, no_rate], ids=lambda r: r.__name__
)
def test_a_lowered_rule_computes_what_the_rule_does(rule, kind):
    spec, prelude = parse(rule), PRELUDES.get(kind)
    lowered = lower(rule, prelude=prelude)
    state = {name: 0.25 + i / 8 for i, name in enumerate(spec.slots)}
    before = {name: SCALARS[name] for name in lowered.prelude}
    known = {"param": 0.3, "grad": -0.7, **state, **spec.defaults, "step": 6}
    known |= {unique: before[name] for name, unique in lowered.prelude.items()}
    for a in (*lowered.scalars, *lowered.elements):
        known[a.name] = value(a.value, known)
    new = {n: value(x, known) for n, x in {**lowered.stores, **lowered.tensor_slots}.items()}
    given = prelude(0.3, -0.7, **before) if prelude else (0.3, -0.7)
    wanted = rule(*given, *state.values(), 6)
    wanted = dict(zip(("param", *spec.slots), wanted if spec.slots else (wanted,), strict=True))
    assert new == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("kind", [None, *PRELUDES])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_lowered_rule_names_all_that_a_kernel_reads_and_writes(rule, kind):
    prelude = PRELUDES.get(kind)
    spec, lowered = parse(rule), lower(rule, prelude=prelude)
    element = [name for name, slot in spec.slots.items() if slot.per == "element"]
    tensor = [name for name, slot in spec.slots.items() if slot.per == "tensor"]
    assert lowered.arrays == ("param", "grad", *element)
    assert lowered.formats == ("float32",) * len(lowered.arrays) and not lowered.random
    assert lowered.inputs[:1] == ("step",) and list(lowered.tensor_slots) == tensor
    assert list(lowered.inputs[1:]) == [*tensor, *spec.defaults, *lowered.prelude.values()]
    assert len(set(lowered.inputs)) == len(lowered.inputs)
    assert list(lowered.stores) == ["param", *element]
    assert set(lowered.needed) <= {*lowered.inputs, *(a.name for a in lowered.scalars)}
    assert all(a.value.scalar for a in lowered.scalars)
    known = {*lowered.arrays, *lowered.needed}
    for a in lowered.elements:
        assert names(a.value) <= known and a.name not in known
        known.add(a.name)
    assert all(names(value) <= known for value in lowered.stores.values())
    assert lowered is lower(rule, None, prelude)


def names(node):
    """The names in an expression."""
    if node.leaf:
        return {node.args[0]} if node.op == "name" else set()
    return set().union(*map(names, node.args))


def test_random_bits_are_shared_out_by_halves_of_a_word():
    chance = "bfloat16, stochastic"
    assert FORMATS[chance].stochastic
    found = lower(ADAM, (chance, "bfloat16", chance, chance)).random
    assert found == {"param": RandomBits(0, 0), "m": RandomBits(0, 16), "v": RandomBits(2, 0)}


@pytest.mark.parametrize(
    ("prelude", "message"),
    [
        ("l2", "a prelude is a plain function, not 'l2'; write it with def"),
        (ADAM, "prelude 'adam': its parameters are .*; a prelude takes param, grad, then"),
        (words_of_steps, "and no step"),
        (lambda param, grad: (param, grad), "its source cannot be read"),
        (rooted, "prelude 'rooted': its parameters are .x.; "),
    ],
)
def test_what_is_no_prelude_is_refused(prelude, message):
    with pytest.raises(TypeError, match=message) as error:
        lower(ADAM, prelude=prelude)
    assert "\n" not in str(error.value)


def test_a_prelude_keeps_to_the_language_and_returns_two():
    def branching(param, grad, scale):
        if scale > 1:
            grad = scale * grad
        return param, grad

    def alone(param, grad, scale):
        return scale * grad

    def endless(param, grad, scale):
        return endless(param, grad, scale), grad

    with pytest.raises(TypeError, match=r"prelude 'branching': line .* choose with where"):
        source(ADAM, prelude=branching)
    with pytest.raises(TypeError, match=r"prelude 'alone': it returns scale \* grad; return new"):
        source(ADAM, prelude=alone)
    with pytest.raises(TypeError, match=r"prelude 'endless.*': it calls itself"):
        source(ADAM, prelude=endless)


def test_a_failing_list_changes_no_state():
    def counting(param, grad, n: Slot(start=1.0, per="tensor"), step, lr=0.1):
        n = n * 0.5
        return param - lr * n * grad, n

    params = [np.zeros(2), np.zeros(2)]
    states = [{"n": 1.0}, {"n": "one"}]
    with pytest.raises(ValueError):
        step_inplace(counting, params, [np.ones(2)] * 2, states, 1)
    assert states[0] == {"n": 1.0} and not np.any(params)


def test_every_rule_of_the_catalogue_has_another_kernel():
    loops = {source(rule) for rule in RULES.values()}
    assert len(loops) == len(RULES)
    assert all(parse(rule).name in source(rule) for rule in RULES.values())


def one_step(rule, grad, state, dtype=np.float32, step=1, **chosen):
    """What the kernel and the reference make of one step: rows of param and slots."""
    param, grad = np.zeros(4, dtype), np.full(4, grad, dtype)
    given = {name: np.full(4, value, dtype) for name, value in state.items()}
    state = start(rule, param) | given
    read, slots = advance(rule, param, grad, state, step, **chosen)
    step_inplace(rule, param, grad, state, step, **chosen)
    pairs = (param, state), (read, slots)
    return [[x[0], *(float(np.ravel(y)[0]) for y in slots.values())] for x, slots in pairs]


@pytest.mark.parametrize("grad", [1e-30, 1e15, 2e19, -2e19, 1e20])
@pytest.mark.parametrize("rule", [n for n in RULES if "adam" in n or n == "rmsprop_corrected"])
def test_a_large_gradient_takes_a_step(rule, grad):
    rule = RULES[rule]
    found, expected = one_step(rule, grad, {})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("average", [math.inf, -math.inf, math.nan, 3e38])
@pytest.mark.parametrize("grad", [0.0, 1.0, -1.0, 1e30, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("decay", [0.9, 0.5, 0.1, 0.0])
def test_an_average_that_is_infinite_stays_so(average, grad, decay):
    def averages(param, grad, m, v, step, decay=0.9):
        m, v = ema(m, grad, decay), ema(v, grad * grad, decay)
        return param - m, m, v

    state = {"m": average, "v": abs(average)}
    found, expected = one_step(averages, grad, state, decay=decay)
    large = np.abs(expected) > 1e38  # a square that overflows in float32 and not in float64
    found, expected = (np.where(large & (grad == 1e30), 0, x) for x in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("small", [1e-39, 1e-45, 1e-310, -1e-39, 1e39, 1e300])
@pytest.mark.parametrize("grad", [0.0, 1e-5, -1e30])
def test_a_scalar_that_the_loop_cannot_hold(dtype, small, grad):
    def divided(param, grad, step, small=1.0, one=1.0):
        update = grad / small
        return param - update * (small * one)

    with np.errstate(all="ignore"):
        found, expected = one_step(divided, grad, {}, dtype, small=small)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_root_of_a_negative_quotient():
    def rule(param, grad, step, scale=-2.0):
        ratio = grad / scale
        return param - sqrt(ratio)

    found, expected = one_step(rule, -8.0, {})
    assert found == expected == [-2]
