"""A state dictionary that was tampered with loads as a whole or not at all."""

import copy

import pytest
import torch
from harness.torch_cases import apart, parameters, saved, signum, states, train

from adam_nbdev import optim
from adam_nbdev.optim import Optimizer

#: Optimizers by name, and for each a slot that every parameter has, and options.
MAKE = {
    "Adam": (optim.Adam, "exp_avg", {}),
    "AdamW": (optim.AdamW, "exp_avg_sq", {"amsgrad": True}),
    "RMSprop": (optim.RMSprop, "square_avg", {"momentum": 0.9, "centered": True}),
    "Adagrad": (optim.Adagrad, "sum", {"lr_decay": 0.1}),
    "SGD": (optim.SGD, "momentum_buffer", {"lr": 0.1, "momentum": 0.9}),
    "NAdam": (optim.NAdam, "exp_avg", {}),
    "Signum": (Optimizer.from_rule(signum), "m", {}),
}
SHAPES = [(3, 4), (5,)]
every_optimizer = pytest.mark.parametrize("name", MAKE)
#: SGD counts no steps, and its buffer may be missing.
all_but_sgd = pytest.mark.parametrize("name", [name for name in MAKE if name != "SGD"])


def trained(name, kind=None):
    kind = kind or MAKE[name][0]
    params = parameters(shapes=SHAPES)
    opt = kind(params, **MAKE[name][2])
    train(params, opt, 3)
    return params, opt


def picture(params, opt):
    """Everything of an optimizer that can be compared, tensors as their bytes."""
    found = states(opt)
    plain = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in found.items()}
    keys = [list(state) for state in opt.state_dict()["state"].values()]
    return [p.detach().clone() for p in params], plain, keys, opt.state_dict()["param_groups"]


def assert_same(one, other):
    assert all(map(torch.equal, one[0], other[0]))
    assert one[1].keys() == other[1].keys() and one[2:] == other[2:]
    assert all(
        torch.equal(v, other[1][k]) and v.dtype == other[1][k].dtype for k, v in one[1].items()
    )


def assert_refused(
    name, given, error=(ValueError, TypeError, KeyError, AttributeError), match=None
):
    """Nothing is changed, and the next steps are those of a twin that was left alone."""
    params, opt = trained(name)
    twins, twin = trained(name)
    before = picture(params, opt)
    with pytest.raises(error, match=match) as raised:
        opt.load_state_dict(given)
    assert "\n" not in str(raised.value)
    assert_same(before, picture(params, opt))
    train(params, opt, 3, first=3), train(twins, twin, 3, first=3)
    assert_same(picture(params, opt), picture(twins, twin))


def changed(name, change):
    """A checkpoint of two more steps, tampered with: `change(state of parameter 1, slot)`."""
    params, opt = trained(name)
    train(params, opt, 2, first=3)
    given = saved(opt)
    given = change(given, MAKE[name][1]) or given
    return given


# Counts

BAD_COUNTS = {
    "None": None,
    "a word": "x",
    "digits": "3",
    "nan": float("nan"),
    "a tensor of nan": torch.tensor(float("nan")),
    "inf": float("inf"),
    "large": 1e30,
    "larger than any float": 10**400,
    "negative": -1,
    "a negative tensor": torch.tensor(-3.0),
    "fractional": 2.5,
    "a fractional tensor": torch.tensor(2.5),
    "two": torch.tensor([3.0, 4.0]),
    "complex": torch.tensor(3 + 1j),
    "meta": torch.tensor(3.0, device="meta"),
    "a list": [3.0],
}


@all_but_sgd
@pytest.mark.parametrize("count", BAD_COUNTS)
def test_a_count_that_is_none_is_refused(name, count):
    def spoil(given, slot):
        given["state"][1]["step"] = BAD_COUNTS[count]

    assert_refused(name, changed(name, spoil), ValueError, r"'step'")


# Slots

BAD_SLOTS = {
    "a word": lambda x: "x",
    "a number": lambda x: 0.5,
    "a list": lambda x: x.tolist(),
    "sparse": lambda x: x.to_sparse(),
    "complex": lambda x: x.cdouble(),
    "meta": lambda x: x.to("meta"),
    "short": lambda x: x[:2],
    "turned": lambda x: x[None],
    "of one element": lambda x: x.sum(),
    "doubled": lambda x: torch.cat([x, x]),
}


@every_optimizer
@pytest.mark.parametrize("slot", BAD_SLOTS)
def test_a_slot_that_is_none_is_refused(name, slot):
    def spoil(given, key):
        given["state"][1][key] = BAD_SLOTS[slot](given["state"][1][key])

    assert_refused(name, changed(name, spoil), ValueError, f"'{MAKE[name][1]}'")


@all_but_sgd
@pytest.mark.parametrize("lost", ["the slot", "the count"])
def test_a_state_that_lost_something_is_refused(name, lost):
    key = {"the slot": MAKE[name][1], "the count": "step"}[lost]
    given = changed(name, lambda given, slot: given["state"][1].update({key: None}))
    assert_refused(name, given, ValueError, f"lacks '{key}' of a parameter")
    del given["state"][1][key]
    assert_refused(name, given, ValueError, f"lacks '{key}' of a parameter")


@every_optimizer
@pytest.mark.parametrize("state", [None, 3, [1.0, 2.0], "exp_avg"], ids=str)
def test_a_state_that_is_no_dict_is_refused(name, state):
    given = changed(name, lambda given, slot: given["state"].update({1: state}))
    assert_refused(name, given, ValueError, "as the state of a parameter")


@pytest.mark.parametrize(
    "value", [torch.tensor([0.5, 0.5]), torch.tensor(1j), torch.tensor(0.5, device="meta"), "x"]
)
def test_a_tensor_slot_that_is_no_number_is_refused(value):
    given = changed("NAdam", lambda given, slot: given["state"][1].update(mu_product=value))
    assert_refused("NAdam", given, ValueError, "'mu_product'")


# Groups

NAN = float("nan")
BAD_OPTIONS = {
    "a negative rate": {"lr": -5.0},
    "a word as rate": {"lr": "x"},
    "no rate": {"lr": None},
    "a rate of nan": {"lr": NAN},
    "a rate of inf": {"lr": float("inf")},
    "a tensor of nan as rate": {"lr": torch.tensor(NAN)},
    "a tensor of inf as rate": {"lr": torch.tensor(float("inf"))},
    "two rates": {"lr": torch.ones(2)},
    "negative decay": {"weight_decay": -1.0},
    "decay of nan": {"weight_decay": NAN},
    "decay as a word": {"weight_decay": "x"},
    "no decay": {"weight_decay": None},
}


@every_optimizer
@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_an_option_that_is_none_is_refused(name, options):
    def spoil(given, slot):
        given["param_groups"][0].update(BAD_OPTIONS[options])

    assert_refused(name, changed(name, spoil), (ValueError, TypeError))


OWN_OPTIONS = [
    ("Adam", {"eps": NAN}),
    ("Adam", {"eps": "x"}),
    ("Adam", {"betas": (0.9, 0.99, 0.999)}),
    ("Adam", {"betas": (0.9,)}),
    ("Adam", {"betas": 0.9}),
    ("Adam", {"betas": None}),
    ("AdamW", {"betas": (0.9, NAN)}),
    ("AdamW", {"betas": (1.5, 0.9)}),
    ("NAdam", {"momentum_decay": NAN}),
    ("RMSprop", {"alpha": -1.0}),
    ("RMSprop", {"momentum": None}),
    ("Adagrad", {"lr_decay": "x"}),
    ("Adagrad", {"initial_accumulator_value": -1.0}),
    ("SGD", {"momentum": -1.0}),
    ("SGD", {"dampening": "x"}),
    ("SGD", {"dampening": NAN}),
    ("SGD", {"nesterov": True, "dampening": 0.5}),
    ("Signum", {"beta1": NAN}),
    ("Signum", {"beta1": None}),
    ("Signum", {"beta1": "x"}),
    ("Signum", {"beta1": torch.ones(2)}),
]


@pytest.mark.parametrize(("name", "options"), OWN_OPTIONS, ids=str)
def test_an_option_of_one_class_that_is_none_is_refused(name, options):
    given = changed(name, lambda given, slot: given["param_groups"][0].update(options))
    assert_refused(name, given, (ValueError, TypeError, IndexError))


def another_group(given, slot):
    given["param_groups"].append(copy.deepcopy(given["param_groups"][0]))


def no_group(given, slot):
    given["param_groups"].clear()


def fewer_parameters(given, slot):
    given["param_groups"][0]["params"].pop()


def more_parameters(given, slot):
    given["param_groups"][0]["params"].append(7)


def no_parameters(given, slot):
    del given["param_groups"][0]["params"]


def no_rate(given, slot):
    del given["param_groups"][0]["lr"]


def swapped(given, slot):
    given["param_groups"][0]["params"].reverse()


def no_state(given, slot):
    del given["state"]


def no_groups(given, slot):
    del given["param_groups"]


def nothing(given, slot):
    given.clear()


WRONG = [
    another_group,
    no_group,
    fewer_parameters,
    more_parameters,
    no_parameters,
    no_rate,
    swapped,
    no_state,
    no_groups,
    nothing,
    lambda given, slot: given.update(state=[1, 2]),
    lambda given, slot: given.update(state=None),
    lambda given, slot: given.update(param_groups=None),
    lambda given, slot: given.update(param_groups=[None]),
]


@every_optimizer
@pytest.mark.parametrize("spoil", WRONG)
def test_a_dictionary_of_another_form_is_refused(name, spoil):
    assert_refused(name, changed(name, spoil))


# Whatever else raises


def before(opt, raises):
    opt.register_load_state_dict_pre_hook(raises)


def last(opt, raises):
    opt.register_load_state_dict_post_hook(raises)


@every_optimizer
@pytest.mark.parametrize("when", [before, last])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_hook_that_raises_leaves_all_as_it_was_even_what_it_changed(name, when, error):
    def raises(opt, *_):
        opt.param_groups[0]["lr"] = 7.0
        opt.param_groups.append(3)
        opt.state.clear()
        opt.note = 1
        raise error("of the user")

    params, opt = trained(name)
    twins, twin = trained(name)
    given = changed(name, lambda given, slot: None)
    was = picture(params, opt)
    when(opt, raises)
    with pytest.raises(error, match="of the user"):
        opt.load_state_dict(given)
    assert_same(was, picture(params, opt))
    assert not hasattr(opt, "note")
    train(params, opt, 3, first=3), train(twins, twin, 3, first=3)
    assert_same(picture(params, opt), picture(twins, twin))


# What torch takes, and is fine


def float_count(state, slot):
    state["step"] = float(state["step"])


def integer_count(state, slot):
    state["step"] = torch.tensor(int(state["step"]))


def double_count(state, slot):
    state["step"] = state["step"].double()


def single_slot(state, slot):
    state[slot] = state[slot].float()


def whole_slot(state, slot):
    state[slot] = state[slot].abs().add(1).long()


def strided_slot(state, slot):
    state[slot] = torch.stack([state[slot], state[slot]], -1)[..., 0]


def slot_with_gradient(state, slot):
    state[slot] = state[slot].detach().requires_grad_()


def fresh(state, slot):
    state.clear()


def remark(state, slot):
    state["remark"] = "mine"


FINE = [
    float_count,
    integer_count,
    double_count,
    single_slot,
    whole_slot,
    strided_slot,
    slot_with_gradient,
    fresh,
    remark,
]


#: Torch has no Signum, its SGD has no count, and its Adagrad makes its state when it is made.
NOT_IN_TORCH = [
    ("SGD", float_count),
    ("SGD", integer_count),
    ("SGD", double_count),
    ("Adagrad", fresh),
    *(("Signum", change) for change in FINE),
]


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name in MAKE for change in FINE if (name, change) not in NOT_IN_TORCH],
)
def test_what_is_fine_loads_and_goes_on_as_torchs(name, change):
    results = []
    for kind in (None, getattr(torch.optim, name)):
        given = changed(name, lambda given, slot: None)
        for state in given["state"].values():
            change(state, MAKE[name][1])
        params, opt = trained(name, kind)
        opt.load_state_dict(given)
        train(params, opt, 3, first=5)
        results.append(params)
    assert apart(*results) < (1e-6 if name == "NAdam" else 1e-12)  # whose product is a float there


FINE_GROUPS = [
    {"initial_lr": 0.3},
    {"name": "mine"},
    {"best": float("inf")},
    {"params": ["a", "b"]},
    {"lr": torch.tensor(0.25, dtype=torch.float64)},
]


@pytest.mark.parametrize("options", FINE_GROUPS, ids=str)
def test_groups_that_are_fine_load_and_go_on_as_torchs(options):
    results = []
    for kind in (optim.AdamW, torch.optim.AdamW):
        given = changed("AdamW", lambda given, slot: None)
        given["param_groups"][0].update(options)
        given["state"] = dict(
            zip(given["param_groups"][0]["params"], given["state"].values(), strict=True)
        )
        params, opt = trained("AdamW", kind)
        opt.load_state_dict(given)
        train(params, opt, 3, first=5)
        results.append(params)
        assert not options.keys() - {"params"} - opt.param_groups[0].keys()
    assert apart(*results) < 1e-12
