"""States in plain form: from one library into another, into files and back; and what is refused."""

import copy
import json
import re
import struct
from functools import partial

import jax
import ml_dtypes
import numpy as np
import optax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adam_nbdev import Optimizer, optim
from adam_nbdev.conformance.checkpoint import from_plain, to_plain
from adam_nbdev.conformance.plain import Plain, load, renamed, save
from adam_nbdev.conformance.translate import translate
from adam_nbdev.rules import RULES

NAMES = {"a.weight": (3, 2), "a.bias": (3,), "b.weight": (2, 3)}
STEPS, HALF = 20, 10


def grads_of(step):
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=shape) * 10.0 ** (step % 3) for name, shape in NAMES.items()}


def weights():
    rng = np.random.default_rng(100)
    return {name: rng.normal(size=shape) for name, shape in NAMES.items()}


def in_torch(params, make, state=None, steps=range(STEPS)):
    """A run of torch, begun with a state in plain form: weights and optimizer."""
    params = {n: torch.tensor(x, requires_grad=True) for n, x in params.items()}
    optimizer = make(params.values())
    if state:
        from_plain(state, optimizer, params)
    for step in steps:
        for name, grad in grads_of(step).items():
            params[name].grad = torch.tensor(grad)
        optimizer.step()
    return {n: p.detach().numpy().copy() for n, p in params.items()}, optimizer, params


def in_optax(params, optimizer, state=None, steps=range(STEPS)):
    """The same in optax: weights and state."""
    params = {n: jax.numpy.asarray(x) for n, x in params.items()}
    kept = optimizer.init(params)
    kept = from_plain(state, kept) if state else kept
    for step in steps:
        grads = {n: jax.numpy.asarray(x) for n, x in grads_of(step).items()}
        update, kept = optimizer.update(grads, kept, params)
        params = optax.apply_updates(params, update)
    return {n: np.asarray(x) for n, x in params.items()}, kept


PAIRS = {
    "adam": (lambda lib: lib.Adam, {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3}, "optax.adam"),
    "adamw": (lambda lib: lib.AdamW, {"lr": 0.05, "weight_decay": 0.5}, "optax.adamw"),
    "rmsprop": (lambda lib: lib.RMSprop, {"lr": 0.05, "eps": 0.0}, "optax.rmsprop"),
    "adagrad": (lambda lib: lib.Adagrad, {"lr": 0.05, "eps": 0.0}, "optax.adagrad"),
}


def theirs_of(name):
    _, given, target = PAIRS[name]
    source = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad"}[name]
    found = translate(given, f"torch.{source}", target)
    assert not found.sentences
    return getattr(optax, target.split(".")[1])(**found.settings)


@pytest.mark.parametrize("library", [torch.optim, optim], ids=["torch", "ours"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_run_goes_on_in_optax_and_back(name, library, tmp_path):
    kind, given, _ = PAIRS[name]

    def make(params):
        return kind(library)(params, **given)

    with jax.enable_x64(True):
        straight, *_ = in_torch(weights(), make)
        half, optimizer, params = in_torch(weights(), make, steps=range(HALF))
        save(to_plain(optimizer, params), tmp_path / "half")
        there, state = in_optax(half, theirs_of(name), load(tmp_path / "half"), range(HALF, STEPS))
        for n in NAMES:
            np.testing.assert_allclose(there[n], straight[n], rtol=1e-12)
        if name.startswith("adam"):
            assert int(optax.tree_utils.tree_get(state, "count")) == STEPS
        half, state = in_optax(weights(), theirs_of(name), steps=range(HALF))
        plain = to_plain(state)
        if not name.startswith("adam"):  # optax does not count there, torch does
            assert "step" not in plain.slots["a.bias"]
            counted = {n: {**s, "step": np.array(HALF)} for n, s in plain.slots.items()}
            plain = plain._replace(slots=counted)
        back, optimizer, params = in_torch(half, make, plain, range(HALF, STEPS))
        for n in NAMES:
            np.testing.assert_allclose(back[n], straight[n], rtol=1e-12)
        assert all(int(optimizer.state[p]["step"]) == STEPS for p in params.values())


def test_a_schedule_of_optax_goes_on_where_it_was():
    optimizer = optax.adam(lambda count: 0.1 / (1 + count))
    with jax.enable_x64(True):
        straight, _ = in_optax(weights(), optimizer)
        half, state = in_optax(weights(), optimizer, steps=range(HALF))
        again, _ = in_optax(half, optimizer, to_plain(state), range(HALF, STEPS))
    assert all(np.array_equal(again[n], straight[n]) for n in NAMES)


CLASSES = {
    "Adam": {}, "amsgrad": {"amsgrad": True}, "AdamW": {}, "NAdam": {}, "Adagrad": {}, "Rprop": {},
    "RMSprop": {"centered": True, "momentum": 0.5}, "SGD": {"momentum": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_from_torch_to_ours_and_back(name):
    kind, given = ("Adam" if name == "amsgrad" else name), CLASSES[name]
    classes = getattr(torch.optim, kind), getattr(optim, kind)
    theirs, ours = (partial(made, lr=0.01, **given) for made in classes)
    torch.set_default_dtype(torch.float64)  # the product of torch's NAdam
    try:
        straight, *_ = in_torch(weights(), theirs)
        for one, other in ((theirs, ours), (ours, theirs), (ours, ours)):
            half, optimizer, params = in_torch(weights(), one, steps=range(HALF))
            plain = to_plain(optimizer, params)
            end, *_ = in_torch(half, other, plain, range(HALF, STEPS))
            for n in NAMES:
                np.testing.assert_allclose(end[n], straight[n], rtol=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_optimizer_from_a_rule():
    make = lambda params: Optimizer.from_rule(RULES["laprop"])(params, lr=0.01)  # noqa: E731
    straight, *_ = in_torch(weights(), make)
    half, optimizer, params = in_torch(weights(), make, steps=range(HALF))
    end, *_ = in_torch(half, make, to_plain(optimizer, params), range(HALF, STEPS))
    assert all(np.array_equal(end[n], straight[n]) for n in NAMES)


def stepped(dtype=torch.float64, library=torch.optim, **options):
    params = {n: torch.tensor(x).to(dtype).requires_grad_() for n, x in weights().items()}
    optimizer = library.Adam(params.values(), **options)
    for name, grad in grads_of(0).items():
        params[name].grad = torch.tensor(grad).to(dtype)
    optimizer.step()
    return optimizer, params


def without(plain, name, slot=None):
    slots = {n: dict(s) for n, s in plain.slots.items()}
    if slot:
        del slots[name][slot]
    else:
        del slots[name]
    return plain._replace(slots=slots)


def with_slot(plain, name, slot, value):
    return plain._replace(slots={**plain.slots, name: {**plain.slots[name], slot: value}})


BAD = {
    "missing": (lambda p: without(p, "a.bias"), "no parameter 'a.bias', which"),
    "extra": (lambda p: renamed(p, {"a.bias": "c"}), "no parameter 'a.bias'"),
    "slot": (lambda p: without(p, "a.bias", "v"), "has no v, which"),
    "more": (lambda p: with_slot(p, "a.bias", "v_max", np.zeros(3)), "has v_max, which"),
    "shape": (lambda p: with_slot(p, "a.bias", "m", np.zeros(4)), "has the shape (4,)"),
    "turned": (lambda p: with_slot(p, "a.weight", "m", np.zeros((2, 3))), "has the shape (2, 3)"),
    "digits": (lambda p: with_slot(p, "a.bias", "m", np.full(3, 1 / 3)), "would be rounded to"),
}


@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("into", ["torch", "ours", "optax", "keras"])
def test_what_does_not_fit_is_refused_and_nothing_changes(fault, into):
    spoil, says = BAD[fault]
    plain = to_plain(*stepped(torch.float32))
    from_names = None
    if into == "optax":
        params = {n: jax.numpy.asarray(x, np.float32) for n, x in weights().items()}
        target = optax.adam(0.1).init(params)
        before = copy.deepcopy(to_plain(target))
    elif into == "keras":
        target, from_names = keras_variables(), list(NAMES)
        before = copy.deepcopy(target)
    else:
        target, from_names = stepped(torch.float32, torch.optim if into == "torch" else optim)
        before = to_plain(target, from_names)
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        from_plain(spoil(plain), target, from_names, kind="Adam" if into == "keras" else None)
    assert "nothing was changed" in str(error.value) and "\n" not in str(error.value)
    if into == "keras":
        assert all(np.array_equal(target[n], before[n]) for n in before)
    else:
        now = to_plain(target, from_names)
        assert same(now, before)


def same(one, other):
    """Whether two states have the same names, dtypes and bits."""
    bits = lambda x: (x.dtype, x.shape, x.tobytes())  # noqa: E731
    return one.groups == other.groups and all(
        list(one.slots[n]) == list(other.slots[n])
        and all(bits(x) == bits(other.slots[n][slot]) for slot, x in one.slots[n].items())
        for n in {**one.slots, **other.slots}
    )


def test_precision_is_kept_where_it_can_be():
    plain = to_plain(*stepped(torch.float32))
    half = {n: torch.tensor(x).bfloat16().requires_grad_() for n, x in weights().items()}
    with pytest.raises(ValueError, match="would be rounded to bfloat16"):
        from_plain(plain, torch.optim.Adam(half.values()), half)
    ours = from_plain(plain, optim.Adam(half.values()), half)  # keeps its state in float32
    assert to_plain(ours, half).slots["a.bias"]["m"].dtype == np.float32
    theirs = from_plain(plain, torch.optim.Adam(half.values()), half, rounded=True)
    assert to_plain(theirs, half).slots["a.bias"]["m"].dtype == ml_dtypes.bfloat16


def test_names_decide_and_not_positions():
    optimizer, params = stepped()
    plain = to_plain(optimizer, params)
    moved = {n: params[n].detach().clone().requires_grad_() for n in reversed(params)}
    other = from_plain(plain, torch.optim.Adam(moved.values()), moved)
    for name in NAMES:
        kept, new = optimizer.state[params[name]], other.state[moved[name]]
        assert torch.equal(kept["exp_avg"], new["exp_avg"]) and new["step"] == 1


def test_names_that_are_no_names():
    optimizer, params = stepped()
    with pytest.raises(ValueError, match="give the model"):
        to_plain(optimizer)
    with pytest.raises(ValueError, match=r"of group 0, of shape \(3,\), has no name"):
        to_plain(optimizer, {n: p for n, p in params.items() if n != "a.bias"})
    with pytest.raises(ValueError, match="one parameter is called"):
        to_plain(optimizer, {**params, "twin": params["a.bias"]})
    with pytest.raises(ValueError, match="no parameter 'x'"):
        renamed(to_plain(optimizer, params), {"x": "y"})
    with pytest.raises(ValueError, match="would have one name"):
        renamed(to_plain(optimizer, params), {"a.bias": "a.weight"})


def test_counts_that_differ_are_refused_where_there_is_one_count():
    plain = with_slot(to_plain(*stepped()), "a.bias", "step", np.array(7))
    with jax.enable_x64(True):
        state = optax.adam(0.1).init({n: jax.numpy.asarray(x) for n, x in weights().items()})
        with pytest.raises(ValueError, match=r"step 1 of 'a\.weight' and 7 of 'a\.bias'"):
            from_plain(plain, state)


def test_what_optax_keeps_and_has_no_plain_form():
    params = {"w": jax.numpy.ones(2)}
    with pytest.raises(ValueError, match="a trace of optax"):
        to_plain(optax.rmsprop(0.1, momentum=0.9).init(params))
    with pytest.raises(ValueError, match="no transformation"):
        to_plain(optax.identity().init(params))
    with pytest.raises(ValueError, match="two transformations"):
        to_plain(optax.chain(optax.scale_by_adam(), optax.scale_by_lion()).init(params))
    raw = to_plain(*stepped(torch.float32, amsgrad=True))
    state = optax.amsgrad(0.1).init({n: jax.numpy.zeros(s) for n, s in NAMES.items()})
    with pytest.raises(ValueError, match="has no v_max_corrected"):
        from_plain(raw, state)


def keras_variables(names=NAMES, dtype=np.float32):
    """A stand-in for the variables of keras.optimizers.Adam, named as Keras 3.16.0 names them."""
    found = {"adam/iteration": np.array(4), "adam/learning_rate": np.array(0.25, np.float32)}
    rng = np.random.default_rng(3)
    for name, shape in NAMES.items():
        for slot in ("momentum", "velocity"):
            found[f"adam/{name.replace('/', '_')}_{slot}"] = rng.random(shape).astype(dtype)
    return found


def test_the_names_of_keras_by_a_stand_in():
    variables = keras_variables()
    plain = to_plain(variables, list(NAMES), kind="Adam")
    assert plain.groups[0]["settings"] == {"learning_rate": 0.25}
    assert np.array_equal(plain.slots["a.bias"]["v"], variables["adam/a.bias_velocity"])
    params = {n: torch.zeros(s, requires_grad=True) for n, s in NAMES.items()}
    optimizer = from_plain(plain, torch.optim.Adam(params.values()), params)
    assert all(int(s["step"]) == 4 for s in optimizer.state.values())
    empty = {n: np.zeros_like(x) for n, x in variables.items()}
    back = from_plain(to_plain(optimizer, params), empty, list(NAMES), kind="Adam")
    assert back["adam/iteration"] == 4 and not empty["adam/iteration"]
    moments = [n for n in variables if n.endswith(("momentum", "velocity"))]
    assert all(np.array_equal(back[n], variables[n]) for n in moments)
    for kind, names, says in (
        (None, list(NAMES), "give the class of the optimizer"),
        ("Adam", None, "give the paths"),
        ("Adam", [*NAMES, "c"], "no variable 'c_momentum'"),
        ("Adam", list(NAMES)[:2], "besides"),
        ("RMSprop", list(NAMES), "besides"),
        ("Adam", ["x/y_z", "x_y/z"], "two paths become one"),
    ):
        with pytest.raises(ValueError, match=re.escape(says)):
            to_plain(variables, names, kind=kind)


NUMBERS = st.floats(width=32)
DTYPES = ["float16", "float32", "float64", ml_dtypes.bfloat16]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(st.lists(NUMBERS, max_size=4), st.sampled_from(DTYPES), st.integers(0, 2**40)),
        max_size=4,
    )
)
def test_a_file_holds_every_bit(tmp_path_factory, found):
    path = tmp_path_factory.getbasetemp() / "bits"
    with np.errstate(over="ignore"):
        slots = {
            name: {"m": np.array(x).astype(dtype), "step": np.array(step)}
            for name, (x, dtype, step) in found.items()
        }
    group = {"optimizer": "torch.Adam", "params": list(slots), "settings": {"lr": 0.1}}
    plain = Plain(slots, [group])
    try:
        json.dumps(list(found)).encode()
        "".join(found).encode()
    except UnicodeEncodeError:
        return
    save(plain, path)
    again = load(path)
    assert again.groups == plain.groups and list(again.slots) == list(slots)
    for name, own in slots.items():
        for slot, x in own.items():
            assert again.slots[name][slot].tobytes() == x.tobytes()
            assert again.slots[name][slot].dtype == x.dtype


def rewritten(path, change):
    """A file whose header is another; `change` is given its text."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head = change(data[8 : 8 + length].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + length :])


def changed(**said):
    """The metadata with other entries."""

    def change(text):
        head = json.loads(text)
        ours = json.loads(head["__metadata__"]["adam_nbdev"]) | said
        head["__metadata__"]["adam_nbdev"] = json.dumps(ours)
        return json.dumps(head)

    return change


FILES = {
    "empty": (lambda p: p.write_bytes(b""), "cut off"),
    "text": (lambda p: p.write_bytes(b"not a checkpoint at all"), "cut off"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-9]), "ncomplete"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"123"), "ncomplete"),
    "pickle": (lambda p: torch.save({"a": torch.ones(2)}, p), "cut off"),
    "no JSON": (lambda p: rewritten(p, lambda t: t.replace(":", ";", 1)), "is no JSON"),
    "no UTF-8": (lambda p: p.write_bytes(struct.pack("<Q", 4) + b"\xff\xfe\xff\xfe"), "is no JSON"),
    "a list": (lambda p: rewritten(p, lambda t: "[]"), "no object"),
    "deep": (lambda p: rewritten(p, lambda t: "[" * 100_000), "nested"),
    "twice": (lambda p: rewritten(p, lambda t: t.replace("a.bias:v", "a.bias:m")), "twice"),
    "no metadata": (
        lambda p: rewritten(p, lambda t: t.replace("__metadata__", "__other__")),
        "no 'adam_nbdev'",
    ),
    "format": (lambda p: rewritten(p, changed(format=2)), "of format 2"),
    "params": (lambda p: rewritten(p, changed(params=[1])), "no list of names"),
    "groups": (lambda p: rewritten(p, changed(groups={})), "no list of groups"),
    "group": (lambda p: rewritten(p, changed(groups=[{"params": []}])), "no list of groups"),
    "not all": (lambda p: rewritten(p, changed(groups=[])), "every parameter once"),
    "unknown": (lambda p: rewritten(p, lambda t: t.replace("s:m", "x:m")), "no parameter"),
    "NaN": (lambda p: rewritten(p, lambda t: t.replace("0.001", "NaN")), "no number of JSON"),
    "1e999": (lambda p: rewritten(p, lambda t: t.replace("0.001", "1e999")), "no number of JSON"),
    "dtype": (lambda p: rewritten(p, lambda t: t.replace('"F64"', '"U64"')), "of dtype U64"),
    "step": (lambda p: rewritten(p, lambda t: t.replace('"I64"', '"F64"')), "of dtype F64"),
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    save(to_plain(*stepped()), tmp_path / "run.safetensors")
    return tmp_path / "run.safetensors"


@pytest.mark.parametrize("fault", FILES)
def test_a_bad_file_is_one_line(file, fault, capsys):
    from adam_nbdev.conformance.same_run import main

    good = file.with_name("good")
    good.write_bytes(file.read_bytes())
    spoil, says = FILES[fault]
    spoil(file)
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        load(file)
    assert str(error.value).startswith(f"{file}: ")
    assert main([str(good), str(file)]) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1 and str(file) in told.err


@given(st.data())
def test_no_change_of_a_byte_is_more_than_a_value_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped"
    save(to_plain(*stepped(torch.float32)), path)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        assert isinstance(load(path), Plain)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_a_file_is_whole_or_not_there(tmp_path, file):
    before = file.read_bytes()
    broken = Plain({"a": {"m": np.array(["x"])}}, [])
    with pytest.raises(Exception):  # noqa: B017
        save(broken, file)
    assert file.read_bytes() == before and [*tmp_path.iterdir()] == [file]
    with pytest.raises(OSError):
        load(tmp_path / "nowhere")
