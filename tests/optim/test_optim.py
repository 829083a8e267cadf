"""The torch classes: against torch.optim, over all that users of an optimizer rely on."""

import collections
import copy
import io
import pickle
import warnings
import weakref

import numpy as np
import pytest
import torch
from harness.cases import SCALES
from torch.testing._internal import common_optimizers as theirs

from adam_nbdev import optim
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import ema, sign
from adam_nbdev.optim import buckets as packs
from adam_nbdev.optim import optimizer
from adam_nbdev.optim.optimizer import Optimizer
from adam_nbdev.rules import RULES

NAMES = ("Adam", "AdamW", "Adagrad", "RMSprop", "SGD")
INFO = {info.optim_cls.__name__: info for info in theirs.optim_db}
SHAPES = ((3, 4), (5,), (), (2, 3, 2), (1000,))


@pytest.fixture(params=[True, False], ids=["kernel", "tensors"])
def kernel(request, monkeypatch):
    """Whether parameters take the kernel: with it, and as where Numba is missing."""
    monkeypatch.setattr(optimizer, "_has_kernel", lambda: request.param)
    monkeypatch.setattr(optimizer, "_warned", True)
    return request.param


def parameters(dtype=torch.float64, seed=0, shapes=SHAPES):
    rng = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    return [torch.nn.Parameter(p.to(dtype)) for p in made]


def gradient(param, rng):
    real = torch.view_as_real(param) if param.is_complex() else param
    grad = torch.randn(real.shape, generator=rng, dtype=torch.float64)
    sizes = torch.tensor(np.resize(SCALES, real.numel())).reshape(real.shape)
    grad = (grad * sizes).to(real.dtype)
    grad = torch.view_as_complex(grad) if param.is_complex() else grad
    return torch.empty_like(param).copy_(grad)


def train(params, opt, steps=60, seed=1, first=0):
    """Steps with gradients that change; one parameter is passed over now and then."""
    for step in range(first, first + steps):
        rng = torch.Generator().manual_seed(1000 * seed + step)
        for i, param in enumerate(params):
            param.grad = None if step % 7 == 3 and i == 1 else gradient(param, rng)
        opt.step()


def apart(params, others):
    """Largest normwise relative distance of two lists of tensors."""
    pairs = [
        (p.detach().cdouble(), q.detach().cdouble()) for p, q in zip(params, others, strict=True)
    ]
    return max(float(torch.linalg.norm(p - q) / torch.linalg.norm(q)) for p, q in pairs)


def states(opt):
    return {
        (i, key): value
        for i, state in opt.state_dict()["state"].items()
        for key, value in state.items()
        if value is not None
    }


def both(name, dtype=torch.float64, shapes=SHAPES, ours=None, **options):
    """Our optimizer and torch's, each on parameters of its own."""
    made = []
    for module, more in ((optim, ours or {}), (torch.optim, {})):
        params = parameters(dtype, shapes=shapes)
        made.append((params, getattr(module, name)(params, **options, **more)))
    return made


OPTIONS = {
    "Adam": [
        {"lr": 0.1, "weight_decay": 0.5},
        {"betas": (0.8, 0.9), "eps": 1e-3},
        {"amsgrad": True},
    ],
    "AdamW": [{"lr": 0.1, "weight_decay": 0.5}, {"amsgrad": True, "maximize": True}],
    "Adagrad": [{"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}],
    "RMSprop": [
        {"momentum": 0.9, "weight_decay": 0.5},
        {"centered": True},
        {"centered": True, "momentum": 0.9, "maximize": True, "alpha": 0.9},
    ],
    "SGD": [
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ],
}
CASES = [
    pytest.param(name, options, id=f"{name}-{i}")
    for name in NAMES
    for i, options in enumerate(
        [o.kwargs for o in INFO[name].optim_inputs_func("cpu")] + OPTIONS[name]
    )
]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_agrees_with_torch_in_parameters_and_state(name, options, dtype, bound):
    (ours, a), (torchs, b) = both(name, dtype, **options)
    train(ours, a), train(torchs, b)
    assert a._packs and not a._others
    assert apart(ours, torchs) < bound
    ours, torchs = states(a), states(b)
    assert ours.keys() == torchs.keys()
    for key, value in torchs.items():
        assert ours[key].shape == value.shape and ours[key].dtype == value.dtype
        assert apart([ours[key]], [value + 1e-300]) < 10 * bound
    groups = [opt.state_dict()["param_groups"] for opt in (a, b)]
    assert groups[0] == groups[1]


@pytest.mark.parametrize("name", NAMES)
def test_is_torchs_own_class_with_its_signature(name):
    import inspect

    ours, torchs = getattr(optim, name), getattr(torch.optim, name)
    assert issubclass(ours, torchs)
    given = inspect.signature(ours).parameters
    for parameter in inspect.signature(torchs).parameters.values():
        assert str(given[parameter.name]) == str(parameter)
    assert set(given) - set(inspect.signature(torchs).parameters) == {
        "state_dtype",
        "stochastic_rounding",
        "max_norm",
        "nonfinite",
    }


# Two ways that are different code


@pytest.mark.parametrize(("name", "options"), CASES)
def test_reading_on_tensors_agrees_with_the_kernel_and_is_another_way(name, options, monkeypatch):
    read = []
    monkeypatch.setattr(
        optimizer,
        "advance",
        lambda *a, _advance=optimizer.advance, **k: read.append(1) or _advance(*a, **k),
    )
    (ours, a), (others, b) = both(name, **options)
    train(ours, a)
    assert not read, "the kernel reads no tensors"
    b = getattr(optim, name)(others, **options)
    monkeypatch.setattr(optimizer, "_has_kernel", lambda: False)
    monkeypatch.setattr(optimizer, "_warned", True)
    train(others, b)
    assert len(read) > 200 and not b._packs
    assert apart(others, ours) < 1e-12
    assert all(apart([v + 1e-300], [states(a)[k] + 1e-300]) < 1e-11 for k, v in states(b).items())


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("strided", [False, True])
def test_sgd_dampens_every_gradient_but_the_first(strided, nesterov):
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": nesterov}
    options["dampening"] = 0.0 if nesterov else 0.5
    param, theirs = (torch.ones(8)[:: 1 + strided].requires_grad_() for _ in range(2))
    ours, reference = optim.SGD([param], **options), torch.optim.SGD([theirs], **options)
    for step in range(4):
        grad = torch.full((8,), 1.0 + step)[:: 1 + strided]
        param.grad, theirs.grad = grad, grad.clone()
        if step == 3:  # a new optimizer that loads goes on
            kept, ours = ours.state_dict(), optim.SGD([param], **options)
            ours.load_state_dict(kept)
        ours.step()
        reference.step()
        assert len(ours._others) == strided
        torch.testing.assert_close(param, theirs, rtol=1e-6, atol=0)


def test_without_numba_it_still_steps_and_says_so_once(monkeypatch):
    monkeypatch.setattr(optimizer, "_has_kernel", lambda: False)
    monkeypatch.setattr(optimizer, "_warned", False)
    params = parameters()
    opt = optim.Adam(params)
    with pytest.warns(UserWarning, match=r'pip install "adam_nbdev\[kernels\]"'):
        train(params, opt, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(params, opt, 2)
    assert not opt._packs and all(opt.state[param]["step"] == 3 for param in params)


# Errors: torch's own


@pytest.mark.parametrize("name", NAMES)
def test_every_error_of_torchs_own_tests(name):
    cases = INFO[name].optim_error_inputs_func("cpu", torch.float32)
    assert len(cases) >= 6
    for case in cases:
        given = case.optimizer_error_input
        params = given.params if given.params is not None else parameters(torch.float32)
        if case.error_type is UserWarning:
            with pytest.warns(UserWarning, match=case.error_regex):
                getattr(optim, name)(params, **given.kwargs)
            continue
        with pytest.raises(case.error_type, match=case.error_regex):
            getattr(optim, name)(params, **given.kwargs)


BAD = [
    {"lr": -1.0},
    {"lr": float("nan")},
    {"lr": float("inf")},
    {"eps": -1.0},
    {"eps": float("nan")},
    {"eps": float("inf")},
    {"betas": (1.0, 0.9)},
    {"betas": (0.9, float("nan"))},
    {"weight_decay": -1.0},
    {"lr": torch.ones(2)},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_option_is_refused_everywhere(bad):
    """In the constructor, in a group of the constructor, in a late group and in a checkpoint."""
    params = parameters()
    with pytest.raises(ValueError):
        optim.Adam(params, **bad)
    with pytest.raises(ValueError):
        optim.Adam([{"params": params, **bad}])
    opt = optim.Adam(params[:2])
    with pytest.raises(ValueError):
        opt.add_param_group({"params": params[2:], **bad})
    assert len(opt.param_groups) == 1
    train(params[:2], opt, 2)
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0].update(bad)
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError):
        opt.load_state_dict(saved)
    assert str(opt.state_dict()) == str(before)


@pytest.mark.parametrize("bad", [torch.zeros(2), np.zeros(2), "weights", [np.zeros(2)], ["w"]])
def test_what_is_no_list_of_tensors_is_a_type_error(bad):
    with pytest.raises(TypeError):
        optim.Adam(bad)
    with pytest.raises(TypeError):
        optim.Adam(parameters(), learning_rate=0.1)


def test_no_parameters_and_no_leaf_are_value_errors():
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.Adam([])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.Adam([parameters()[0] * 2])
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        optim.Adam(parameters(), fused=True, foreach=True)
    for bad in ({"state_dtype": torch.float16}, {"max_norm": 0.0}, {"max_norm": float("nan")}):
        with pytest.raises(ValueError, match="give"):
            optim.Adam(parameters(), **bad)


# A failed step changes nothing


def wrong_sparse(params):
    index, value = [[0], [0], [0]], torch.ones(1, dtype=torch.float64)
    params[3].grad = torch.sparse_coo_tensor(index, value, params[3].shape, check_invariants=True)


def wrong_shape(params):
    params[3].data = torch.zeros(7, dtype=torch.float64)


@pytest.mark.parametrize("spoil", [wrong_sparse, wrong_shape])
def test_a_failed_step_leaves_parameters_and_state_as_they_were(spoil, kernel):
    params = parameters()
    opt = optim.Adam(params)
    train(params, opt, 3)
    train_grads = [gradient(p, torch.Generator().manual_seed(0)) for p in params]
    for p, g in zip(params, train_grads, strict=True):
        p.grad = g
    spoil(params)
    before = copy.deepcopy([p.data for p in params]), copy.deepcopy(opt.state_dict())
    with pytest.raises(RuntimeError, match=r"sparse|was given a gradient of shape") as error:
        opt.step()
    assert "\n" not in str(error.value)
    assert all(torch.equal(p, q) for p, q in zip(params, before[0], strict=True))
    assert str(opt.state_dict()) == str(before[1])


def test_a_parameter_that_outgrew_its_state_is_refused(kernel):
    """A kernel would write beyond the end of the state."""
    params = parameters(shapes=[(3, 4), (3,)])
    opt = optim.Adam(params)
    train(params, opt, 2)
    params[0].data = torch.zeros(1000, 4, dtype=torch.float64)
    for param in params:
        param.grad = torch.ones_like(param)
    before = params[1].detach().clone()
    with pytest.raises(RuntimeError, match=r"'exp_avg' has the shape \(3, 4\).*\(1000, 4\)"):
        opt.step()
    assert torch.equal(params[1], before) and opt.state[params[1]]["step"] == 2
    assert not params[0].any()


def test_a_step_that_failed_to_compile_is_tried_again(monkeypatch):
    class Full(packs.Batch):
        def __init__(self, *args):
            raise OSError("the disk is full")

    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], lr=0.1)
    param.grad = torch.ones(3)
    with monkeypatch.context() as patch:
        patch.setattr(packs, "Batch", Full)
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                opt.step()
    opt.step()
    assert torch.allclose(param.detach(), torch.full((3,), -0.1))


def test_numbers_that_are_none_stop_a_step_before_it_begins():
    """Also those of a group that is read on tensors, after the kernel's."""
    plain = torch.nn.Parameter(torch.zeros(3))
    odd = torch.zeros(6)[::2].requires_grad_()
    opt = optim.SGD([{"params": [plain]}, {"params": [odd]}], lr=0.1)
    opt.param_groups[1]["lr"] = "fast"
    plain.grad = torch.ones(3)
    odd.grad = torch.ones(3)
    with pytest.raises(ValueError):
        opt.step()
    assert not plain.any() and not odd.any()


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sgd_and_adagrad_take_sparse_gradients(name):
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.ones(5, 2, dtype=torch.float64))
        opt = getattr(module, name)([param], lr=0.1)
        for _ in range(3):
            with torch.sparse.check_sparse_tensor_invariants():
                ones = torch.ones(2, 2, dtype=torch.float64)
                param.grad = torch.sparse_coo_tensor([[0, 3]], ones, (5, 2))
                opt.step()
        results.append([param])
    assert apart(*results) < 1e-14


# Checkpoints


def saved(opt):
    """A state after a trip through a file that holds data only."""
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_run_goes_on_in_the_other(name, options):
    (ours, a), (torchs, b) = both(name, **options)
    train(ours, a, 20), train(torchs, b, 20)
    crossed = []
    for params, source, module in ((ours, a, torch.optim), (torchs, b, optim)):
        copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
        opt = getattr(module, name)(copies, **options)
        opt.load_state_dict(saved(source))
        train(copies, opt, 20, first=20)
        crossed.append(copies)
    train(torchs, b, 20, first=20)
    assert all(apart(copies, torchs) < 1e-12 for copies in crossed)


FORMATS = [
    (torch.float32, {}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"stochastic_rounding": True}),
    (torch.float32, {"state_dtype": torch.bfloat16}),
    (torch.bfloat16, {"state_dtype": torch.bfloat16, "stochastic_rounding": True}),
    (torch.bfloat16, {"state_dtype": "parameter"}),
    (torch.float16, {}),
    (torch.float64, {"state_dtype": torch.float32}),
    (torch.complex64, {}),
]


MAKE = {
    "AdamW": lambda params, **options: optim.AdamW(params, **{"lr": 0.01, **options}),
    "SGD": lambda params, **options: optim.SGD(params, **{"lr": 0.01, "momentum": 0.9, **options}),
}


@pytest.mark.parametrize(("dtype", "options"), FORMATS, ids=str)
@pytest.mark.parametrize("how", ["file", "itself", "deepcopy", "pickle"])
@pytest.mark.parametrize("name", MAKE)
def test_resume_is_bit_identical_to_not_stopping(name, dtype, options, how):
    params = parameters(dtype)
    opt = MAKE[name](params, **options)
    train(params, opt, 10)
    if how in ("file", "itself"):
        others = [torch.nn.Parameter(p.detach().clone()) for p in params]
        other = MAKE[name](others, lr=0.5, **options)
        other.load_state_dict(saved(opt) if how == "file" else opt.state_dict())
    elif how == "deepcopy":
        others, other = copy.deepcopy((params, opt))
    else:
        others, other = pickle.loads(pickle.dumps((params, opt)))
    train(params, opt, 10, first=10), train(others, other, 10, first=10)
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))
    ours, theirs_ = states(opt), states(other)
    assert all(torch.equal(v, theirs_[k]) and v.dtype == theirs_[k].dtype for k, v in ours.items())


def test_loading_keeps_the_single_precision_state_of_half_precision_parameters():
    params = parameters(torch.bfloat16)
    opt = optim.Adam(params)
    train(params, opt, 3)
    seen = []
    other = optim.Adam(parameters(torch.bfloat16))
    other.register_load_state_dict_post_hook(
        lambda opt: seen.append(next(iter(opt.state.values())))
    )
    other.load_state_dict(saved(opt))
    assert seen[0]["exp_avg"].dtype == torch.float32
    assert torch.equal(seen[0]["exp_avg"], opt.state[params[0]]["exp_avg"])


def test_a_state_of_another_model_is_refused_at_load():
    params = parameters()
    opt = optim.Adam(params)
    train(params, opt, 2)
    other = optim.Adam(parameters(shapes=(*SHAPES[:-1], (999,))))
    with pytest.raises(ValueError, match=r"'exp_avg' of shape \(1000,\).*of shape \(999,\)"):
        other.load_state_dict(opt.state_dict())
    assert not other.state
    with pytest.raises(ValueError, match="doesn't match the size"):
        optim.Adam(params[:2]).load_state_dict(opt.state_dict())


def test_an_old_checkpoint_whose_step_is_a_number():
    params = parameters()
    opt = optim.Adam(params)
    train(params, opt, 3)
    state = opt.state_dict()
    for values in state["state"].values():
        values["step"] = 3
    other = optim.Adam(params)
    other.load_state_dict(state)
    train(params, other, 1)
    assert other.state[params[0]]["step"] == 4 and isinstance(
        other.state[params[0]]["step"], torch.Tensor
    )


# What users do


def test_closures_hooks_schedulers_and_a_tensor_for_a_learning_rate():
    calls = []
    results = []
    for module in (optim, torch.optim):
        params = parameters()
        opt = module.Adam(params, lr=torch.tensor(0.1, dtype=torch.float64))
        opt.register_step_pre_hook(lambda *a: calls.append("before"))
        opt.register_step_post_hook(lambda *a: calls.append("after"))
        schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.2, total_steps=20)

        def closure(opt=opt, params=params):
            opt.zero_grad()
            loss = sum((p**2).sum() for p in params)
            loss.backward()
            return loss

        losses = []
        for _ in range(10):
            losses.append(opt.step(closure).item())
            schedule.step()
        results.append((params, losses))
    assert calls == ["before", "after"] * 20
    assert apart(results[0][0], results[1][0]) < 1e-12
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-12) and results[0][1][-1] > 0


def test_groups_frozen_unused_and_late_parameters():
    results = []
    for module in (optim, torch.optim):
        params = parameters()
        params[2].requires_grad_(False)
        opt = module.Adam(
            [{"params": params[:2], "lr": 0.1}, {"params": [params[2]], "betas": (0.5, 0.6)}]
        )
        late = parameters(seed=5)
        for step in range(30):
            if step == 10:
                opt.add_param_group({"params": late, "lr": 0.01, "eps": 1e-3, "amsgrad": True})
            if step == 20:
                opt.param_groups[0]["lr"] = 0.3
                opt.param_groups[0]["weight_decay"] = 0.1
            if step == 25:
                opt.param_groups[2]["amsgrad"] = False
            rng = torch.Generator().manual_seed(step)
            for param in params[:2] + late[: step // 5]:
                param.grad = gradient(param, rng)
            opt.step()
        results.append(params + late)
        assert opt.state[params[0]]["step"] == 30 and params[2] not in opt.state
        assert late[-1] in opt.state and opt.state[late[4]]["step"] == 5
    assert apart(*results) < 1e-12


def test_a_parameter_whose_memory_moves_is_followed():
    results = []
    for module in (optim, torch.optim):
        params = parameters()
        opt = module.Adam(params, lr=0.1)
        train(params, opt, 5)
        for param in params:
            param.data = param.data.clone() + 1
        train(params, opt, 5, first=5)
        opt.state[params[0]]["exp_avg"] = torch.ones_like(params[0])
        opt.state[params[0]]["step"] = torch.tensor(3.0)
        opt.state[params[1]]["exp_avg"].fill_(0.5)
        train(params, opt, 5, first=10)
        results.append(params)
    assert apart(*results) < 1e-12


def regroup(opt, params):
    opt.param_groups[0]["params"] = params[1:]
    opt.add_param_group({"params": params[:1], "lr": 0.5})


def another(opt, params):
    other = torch.nn.Parameter(torch.ones(3, 4, dtype=torch.float64))
    opt.param_groups[0]["params"][0] = params[0] = other


def reset(opt, params):
    opt.state = collections.defaultdict(dict)


EDITS = [
    ("Adam", {}, lambda opt, params: opt.param_groups[0].update(weight_decay=0.5)),
    ("AdamW", {}, lambda opt, params: opt.param_groups[0].update(weight_decay=0.0)),
    ("Adam", {"amsgrad": True}, lambda opt, params: opt.param_groups[0].update(amsgrad=False)),
    ("Adam", {}, lambda opt, params: opt.param_groups[0].update(maximize=True, betas=(0.3, 0.4))),
    ("SGD", {}, lambda opt, params: opt.param_groups[0].update(momentum=0.9)),
    ("SGD", {"momentum": 0.9}, lambda opt, params: opt.param_groups[0].update(nesterov=True)),
    ("RMSprop", {"momentum": 0.9}, lambda opt, params: opt.param_groups[0].update(momentum=0)),
    ("Adam", {}, lambda opt, params: opt.param_groups[0]["params"].pop(0)),
    ("Adam", {}, lambda opt, params: opt.param_groups.__setitem__(0, {**opt.param_groups[0]})),
    ("Adam", {}, regroup),
    ("Adam", {}, another),
    ("Adam", {}, reset),
    ("Adam", {}, lambda opt, params: opt.state.clear()),
    ("Adam", {}, lambda opt, params: opt.state.pop(params[0])),
]


@pytest.mark.parametrize(("name", "options", "edit"), EDITS)
def test_what_is_edited_by_hand_is_followed_at_once(name, options, edit, kernel):
    """Every parameter has a gradient at every step, so that nothing else asks for a new look."""
    results = []
    for module in (optim, torch.optim):
        params = parameters(shapes=SHAPES[:3])
        opt = getattr(module, name)(params, lr=0.1, **options)
        for step in range(8):
            if step == 4:
                edit(opt, params)
                opt.param_groups[0]["lr"] = 0.2
            for i, param in enumerate(params):
                param.grad = gradient(param, torch.Generator().manual_seed(10 * step + i))
            opt.step()
        results.append(params)
    assert apart(*results) < 1e-12


@pytest.mark.parametrize("key", ["exp_avg", "step"])
def test_state_that_moves_to_shared_memory_is_followed(key):
    """Its old memory is free then, and may be another's."""
    results = []
    for shared in (True, False):
        param = torch.nn.Parameter(torch.ones(1000))
        opt = optim.Adam([param], lr=0.1)
        for step in range(6):
            param.grad = torch.full_like(param, 1.0 + step)
            opt.step()
            if shared and step == 2:
                opt.state[param][key].share_memory_()
        results.append([param, opt.state[param][key]])
    assert all(map(torch.equal, *results))


def shown(opt):
    return opt._held["shown"]


def held(opt, param):
    return opt.state[param]["exp_avg"]


def by_state_dict(opt, param):
    return opt.state_dict()["state"][0]["exp_avg"]


def by_alias(opt, param):
    return opt.alias[param]["exp_avg"]


def by_copy(opt, param):
    return copy.copy(opt).state[param]["exp_avg"]


def by_wrapper(opt, param):
    class Wrapper(type(opt)):
        def __init__(self):
            self.__dict__.update(opt.__dict__)

    return Wrapper().state[param]["exp_avg"]


@torch.compile(backend="eager")
def compiled(opt, param):
    found = opt.state[param]["exp_avg"]
    return found, found.norm()


def by_compiled_function(opt, param):
    return compiled(opt, param)[0]


class Aliased(optim.Adam):
    def add_param_group(self, group):
        super().add_param_group(group)
        self.alias = self.state


@pytest.mark.parametrize(
    "way", [held, by_state_dict, by_alias, by_copy, by_wrapper, by_compiled_function]
)
def test_whoever_has_seen_the_state_may_move_it(way):
    results = []
    for moves in (True, False):
        param = torch.nn.Parameter(torch.ones(1000))
        opt = (Aliased if way is by_alias else optim.Adam)([param], lr=0.1)
        for step in range(6):
            param.grad = torch.full_like(param, 1.0 + step)
            opt.step()
            if step == 2:
                found = way(opt, param)
                assert shown(opt)
            if moves and step == 3:
                found.data = found.clone() + 1
        results.append(param)
    with torch.no_grad():
        assert not torch.equal(*results)


def test_a_state_that_nobody_has_seen_is_not_looked_at(monkeypatch):
    looks = []
    undisturbed = packs.Pack._undisturbed
    monkeypatch.setattr(packs.Pack, "_undisturbed", lambda p: looks.append(1) or undisturbed(p))
    params = parameters()
    opt = optim.Adam(params)
    every = collections.Counter()
    for part in ("unseen", "seen", "loaded"):
        if part == "seen":
            saved = copy.deepcopy(opt.state_dict())
        if part == "loaded":
            opt.load_state_dict(saved)
        for param in params:
            param.grad = torch.ones_like(param)
        opt.step()
        looks.clear()
        for _ in range(3):
            opt.step()
        every[part] = len(looks)
    assert every == {"unseen": 0, "seen": 3, "loaded": 0}


def test_what_is_loaded_is_copied_even_if_it_is_not_needed_yet():
    """Else the next to switch momentum on would step another's memory."""
    (one,), (other,) = parameters(shapes=[(5,)]), parameters(shapes=[(5,)])
    first = optim.SGD([one], lr=0.1, momentum=0.9)
    train([one], first, 3)
    first.param_groups[0]["momentum"] = 0.0
    second = optim.SGD([other], lr=0.1)
    second.load_state_dict(first.state_dict())
    buffer = first.state[one]["momentum_buffer"]
    kept = buffer.clone()
    second.param_groups[0]["momentum"] = 0.9
    train([other], second, 3)
    assert torch.equal(buffer, kept)
    assert not torch.equal(second.state[other]["momentum_buffer"], kept)


def test_a_step_that_was_interrupted_while_it_sorted_leaves_no_old_packs(monkeypatch):
    one, two = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3).bfloat16())
    opt = optim.Adam([one, two])
    for step in range(8):
        one.grad = torch.ones(3)
        two.grad = torch.ones(3).bfloat16() if step == 3 else None
        with monkeypatch.context() as patch:
            if step == 3:
                patch.setattr(optimizer, "Pack", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    opt.step()
            else:
                opt.step()
    assert opt.state[one]["step"] == 7 == opt._packs[0].counts[0]


def interrupted(request, formats, members):
    """The first pack is made, the second is not."""
    if formats[0] == "bfloat16":
        raise KeyboardInterrupt
    return packs.Pack(request, formats, members)


def test_a_parameter_that_is_turned_in_its_memory():
    results = []
    for module in (optim, torch.optim):
        (param,) = parameters(shapes=[(4, 4)])
        opt = module.Adam([param], lr=0.1)
        for step in range(6):
            if step == 3:
                param.data = param.data.t()
            grad = gradient(param, torch.Generator().manual_seed(step)).reshape(16)
            param.grad = grad.clone().reshape(4, 4)
            assert param.grad.is_contiguous()
            opt.step()
        results.append([param])
    assert apart(*results) < 1e-12


@pytest.mark.parametrize("turned", [True, False])
def test_a_gradient_that_lies_otherwise_than_the_one_before(turned):
    results = []
    for module in (optim, torch.optim):
        (param,) = parameters(shapes=[(4, 6)])
        if turned:
            param.data = memory(*LAYOUTS["transposed"])
        opt = module.Adam([param], lr=0.1)
        for step in range(6):
            grad = gradient(param, torch.Generator().manual_seed(step))
            other = torch.zeros(24, dtype=torch.float64).as_strided(
                (4, 6), ((6, 1), (1, 4))[not turned]
            )
            param.grad = other.copy_(grad) if step % 2 else grad
            opt.step()
        results.append([param])
    assert apart(*results) < 1e-12


def test_a_gradient_that_shrinks_in_place_is_refused():
    param = torch.nn.Parameter(torch.ones(1000, 4))
    opt = optim.SGD([param], lr=1.0)
    param.grad = torch.ones_like(param)
    opt.step()
    param.grad.data = torch.ones(2, 4)
    with pytest.raises(RuntimeError, match=r"gradient of shape \(2, 4\)"):
        opt.step()
    assert not param.any()


@pytest.mark.parametrize("size", [7, 1003])
def test_a_gradient_that_is_its_parameter(size):
    results = []
    for module in (optim, torch.optim):
        params = parameters(shapes=[(size,)])
        opt = module.Adam(params, lr=0.1)
        for _ in range(20):
            params[0].grad = params[0].detach()
            opt.step()
        results.append(params)
    assert apart(*results) < 1e-14


def test_halves_of_two_kinds_in_one_memory():
    """A bfloat16 parameter that becomes float16 where it was: of the same size, other numbers."""
    param = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    opt = optim.SGD([param], lr=0.5)
    for dtype in (torch.bfloat16, torch.float16):
        param.grad = None
        param.data = param.data.view(dtype).fill_(1.0)
        param.grad = torch.ones_like(param)
        opt.step()
        assert torch.equal(param.detach(), torch.full((8,), 0.5, dtype=dtype))


def test_a_gradient_that_is_a_negated_view():
    """Autograd makes such of one element; its memory holds the number with the other sign."""
    x, y = (torch.nn.Parameter(torch.tensor(1.0)) for _ in range(2))
    opt = optim.SGD([x, y], lr=1.0)
    for step in range(3):
        x.grad = y.grad = None
        factor = 1 + 2j if step == 1 else 1.0
        loss = torch.complex(x, y).conj() * factor
        (loss.imag if step == 1 else loss.real + 0 * y).backward()
        assert y.grad.is_neg() == (step == 1)
        opt.step()
    assert y.item() == 2.0 and x.item() == -3.0


def test_backward_after_a_step_notices_that_a_parameter_was_changed():
    for make in (optim.Adam, Optimizer.from_rule(signum)):
        param = torch.nn.Parameter(torch.ones(3))
        opt = make([param])
        for _ in range(2):
            param.grad = torch.ones(3)
            opt.step()
        loss = (param**3).sum()
        opt.step()
        assert opt._packs
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_a_parameter_and_its_view_are_stepped_one_after_the_other():
    base = torch.zeros(3 * 16384)
    views = base, base.view(3, -1), base[16384:], base[:16384]
    params = [torch.nn.Parameter(view) for view in views]
    opt = optim.SGD(params, lr=1.0)
    for param in params:
        param.grad = torch.ones_like(param)
    opt.step()
    launches = [{p.data_ptr() // (4 * 16384) for p in pack.params} for pack in opt._packs]
    assert len(launches) == 4
    assert torch.equal(base, torch.full_like(base, -3.0))
    parts = [torch.nn.Parameter(part) for part in torch.zeros(100).split(10)]
    opt = optim.SGD(parts)
    for part in parts:
        part.grad = torch.ones_like(part)
    opt.step()
    assert len(opt._packs) == 1, "parts that do not overlap share a launch"


def test_state_in_another_order_of_memory_takes_the_kernel():
    param = torch.nn.Parameter(torch.randn(2, 3, 4, 5))
    turned = torch.nn.Parameter(param.detach().to(memory_format=torch.channels_last))
    opt, other = (optim.Adam([p], state_dtype=torch.bfloat16) for p in (param, turned))
    param.grad = torch.randn(2, 3, 4, 5)
    opt.step()
    other.load_state_dict(opt.state_dict())
    before = other.state[turned]["exp_avg"].clone()
    turned.grad = torch.zeros_like(turned)
    other.step()
    assert other._packs and not other._others
    after = other.state[turned]["exp_avg"]
    assert torch.allclose(after.float(), 0.9 * before.float(), rtol=1e-2)


def test_in_inference_mode_and_on_another_default_device():
    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], lr=0.1)
    param.grad = torch.ones(3)
    with torch.inference_mode():
        opt.step()
    assert not any(value.is_inference() for value in opt.state[param].values())
    torch.set_default_device("meta")
    try:
        opt.step()
        again = optim.Adam([param], lr=0.1)
        again.step()
    finally:
        torch.set_default_device(None)
    assert torch.allclose(param.detach(), torch.full((3,), -0.3))
    assert opt.state[param]["step"].device.type == "cpu"
    with torch.inference_mode():
        param = torch.zeros(3)
        param.grad = torch.ones(3)
        inside = optim.SGD([param], lr=1.0)
        inside.step()
    with pytest.raises(RuntimeError, match="made in inference mode"):
        inside.step()
    assert torch.equal(param, torch.full((3,), -1.0))


def test_the_flags_for_speed_are_accepted():
    for flags in ({"foreach": True}, {"fused": True}, {"capturable": True}, {"foreach": False}):
        (ours, a), (torchs, b) = both("Adam", **flags)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(ours, a, 5), train(torchs, torch.optim.Adam(torchs), 5)
        assert apart(ours, torchs) < 1e-12 and b is not None


def memory(shape, stride):
    base = torch.zeros(shape, dtype=torch.float64)
    size = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    return torch.zeros(size, dtype=torch.float64).as_strided(shape, stride).copy_(base)


LAYOUTS = {
    "transposed": ((4, 6), (1, 4)),
    "channels last": ((2, 3, 4, 5), (60, 1, 15, 3)),
    "every second": ((4, 6), (12, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("same", [True, False])
def test_memory_in_any_order(layout, same):
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(memory(*LAYOUTS[layout]))
        opt = module.Adam([param], lr=0.1)
        for step in range(10):
            grad = gradient(param, torch.Generator().manual_seed(step)).contiguous()
            param.grad = memory(*LAYOUTS[layout]).copy_(grad) if same else grad
            opt.step()
        results.append([param])
        if module is optim:
            assert bool(opt._packs) == (same and layout != "every second")
    assert apart(*results) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_complex_parameters_by_component(name):
    options = OPTIONS[name][0]
    (ours, a), (torchs, b) = both(name, torch.complex128, **options)
    train(ours, a, 20), train(torchs, b, 20)
    assert a._packs and apart(ours, torchs) < 1e-12
    real = [
        torch.nn.Parameter(torch.view_as_real(p.detach())) for p in parameters(torch.complex128)
    ]
    opt = getattr(optim, name)(real, **options)
    for step in range(20):
        rng = torch.Generator().manual_seed(1000 + step)
        for i, (p, q) in enumerate(zip(real, parameters(torch.complex128), strict=True)):
            p.grad = None if step % 7 == 3 and i == 1 else torch.view_as_real(gradient(q, rng))
        opt.step()
    assert all(
        torch.equal(torch.view_as_real(p.detach()), q) for p, q in zip(ours, real, strict=True)
    )


def test_a_gradient_that_is_a_conjugated_view():
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.zeros(4, dtype=torch.complex128))
        opt = module.SGD([param], lr=1.0)
        for step in range(3):
            grad = torch.full((4,), 1 + 2j, dtype=torch.complex128)
            param.grad = grad.conj() if step == 1 else grad
            opt.step()
        results.append(param.detach())
    assert torch.equal(*results) and results[0][0] == -3 - 2j


def test_the_gradient_goes_through_a_differentiable_step():
    """Torch's own, in this mode, corrects the bias in single precision; ours is held to it and
    to central differences of steps that are not differentiable."""

    def end(make, start, **options):
        param = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        weight = param.clone() if options else torch.nn.Parameter(param.detach().clone())
        opt = make([weight], lr=0.1, weight_decay=0.1, **options)
        for step in range(3):
            weight.grad = (step + 1.0) * param**2 if options else (step + 1.0) * param.detach() ** 2
            opt.step()
        return param, (weight**2).sum()

    start = [1.0, -2.0, 3.0]
    grads = {}
    for module in (optim, torch.optim):
        param, loss = end(module.Adam, start, differentiable=True)
        loss.backward()
        grads[module] = param.grad
    assert torch.allclose(grads[optim], grads[torch.optim], rtol=1e-4)
    for i in range(3):
        near = [[x + s * 1e-6 * (i == j) for j, x in enumerate(start)] for s in (1, -1)]
        up, down = (end(optim.Adam, point)[1].item() for point in near)
        assert grads[optim][i].item() == pytest.approx((up - down) / 2e-6, rel=1e-7)


def test_a_gradient_scaler_unscales_skips_and_goes_on():
    results = []
    for module in (optim, torch.optim):
        params = parameters(torch.float32)
        opt = module.Adam(params, lr=0.1, fused=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        for step in range(12):
            opt.zero_grad()
            loss = sum((p**2).sum() for p in params) * (float("inf") if step == 5 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        results.append((params, opt.state[params[0]]["step"].item()))
    assert apart(results[0][0], results[1][0]) < 3e-6
    assert results[0][1] == results[1][1] == 11


def test_clipping_within_the_step_is_clip_grad_norm_and_leaves_the_gradients(kernel):
    for bound in (0.5, 1e9):
        (ours, a), (torchs, b) = both("AdamW", ours={"max_norm": bound}, lr=0.1, weight_decay=0.1)
        for step in range(10):
            rng = torch.Generator().manual_seed(step)
            for p, q in zip(ours, torchs, strict=True):
                p.grad = gradient(p, rng)
                q.grad = p.grad.clone()
            kept = [p.grad.clone() for p in ours]
            torch.nn.utils.clip_grad_norm_(torchs, bound)
            a.step(), b.step()
            assert all(torch.equal(p.grad, g) for p, g in zip(ours, kept, strict=True))
        assert apart(ours, torchs) < 1e-12


def test_clipping_takes_the_norm_of_all_packs_together():
    results = []
    for module in (optim, torch.optim):
        params = parameters(torch.float64) + parameters(torch.float32, seed=1)
        params.append(torch.nn.Parameter(memory(*LAYOUTS["transposed"])))
        params.append(torch.nn.Parameter(memory(*LAYOUTS["every second"])))
        options = {"max_norm": 0.5} if module is optim else {}
        opt = module.SGD(params, lr=0.1, **options)
        for step in range(3):
            for i, param in enumerate(params):
                param.grad = gradient(param, torch.Generator().manual_seed(20 * step + i)) / 1e3
            if module is torch.optim:
                torch.nn.utils.clip_grad_norm_(params, 0.5)
            opt.step()
        results.append(params)
    assert apart(*results) < 1e-6


def test_clipping_makes_of_a_nan_what_clip_grad_norm_makes():
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.zeros(3))
        opt = module.SGD([param], lr=1.0, **({"max_norm": 1.0} if module is optim else {}))
        for bad in (float("inf"), float("nan")):
            param.data.zero_()
            param.grad = torch.tensor([bad, 1e6, 1.0])
            if module is torch.optim:
                torch.nn.utils.clip_grad_norm_([param], 1.0)
            opt.step()
            results.append(param.detach().clone())
    assert all(
        torch.equal(p.isnan(), q.isnan()) for p, q in zip(results, results[2:], strict=False)
    )
    assert results[0][1] == 0 and results[1].isnan().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2e21])
@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_no_number_is_skipped_on_request(name, bad, kernel):
    """All is as if the step had not been there: parameters, state, and what comes after."""
    results = []
    for spoiled in (True, False):
        params = parameters(torch.float32)
        opt = getattr(optim, name)(params, lr=0.1, nonfinite="skip")
        train(params, opt, 3)
        if spoiled:
            for param in params:
                param.grad = torch.ones_like(param)
            params[3].grad[1, 0, 1] = bad
            opt.step()
        train(params, opt, 3, first=3)
        results.append((params, states(opt), opt.skipped))
    (ours, kept, skipped), (wanted, plain, none) = results
    assert (skipped, none) == (1, 0)
    assert all(map(torch.equal, ours, wanted))
    assert kept.keys() == plain.keys()
    assert all(torch.equal(kept[key], plain[key]) for key in plain)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            float("nan"),
            r"gradients not finite, of parameter 1, of shape \(5,\); nothing was changed",
        ),
        (
            2e21,
            r"squares add up to (inf|4e\+42), more than its state can hold; nothing was changed",
        ),
    ],
)
def test_a_gradient_that_is_no_number_is_an_error_on_request(bad, message, kernel):
    params = parameters(torch.float32)
    opt = optim.Adam(params, nonfinite="raise", max_norm=1.0)
    train(params, opt, 3)
    before = [p.detach().clone() for p in params], copy.deepcopy(states(opt))
    params[1].grad = torch.full_like(params[1], 0.0)
    params[1].grad[2] = bad
    with pytest.raises(FloatingPointError, match=message):
        opt.step()
    assert all(map(torch.equal, params, before[0]))
    assert all(torch.equal(value, before[1][key]) for key, value in states(opt).items())
    assert copy.deepcopy(opt)._nonfinite == "raise"


@pytest.mark.parametrize("name", NAMES)
def test_a_first_step_that_is_skipped_leaves_no_state(name, kernel):
    """A buffer of zeros would be taken for that of a step; SGD dampens from the second on."""
    options = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
    results = []
    for spoiled in (True, False):
        params = parameters(torch.float32)
        opt = getattr(optim, name)(params, lr=0.1, nonfinite="skip", **options)
        before = states(opt).keys()
        if spoiled:
            params[0].grad = torch.full_like(params[0], torch.nan)
            opt.step()
            assert states(opt).keys() == before
        train(params, opt, 3)
        results.append(params)
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_gradient_that_is_large_and_finite_is_stepped(dtype, kernel):
    """In half precision its norm is none; in double its square is none in single."""
    size = 1e25 if dtype == torch.float64 else 1000.0
    param = torch.nn.Parameter(torch.zeros(10_000, dtype=dtype))
    opt = optim.SGD([param], lr=1.0, nonfinite="raise", max_norm=100.0)
    param.grad = torch.full_like(param, size)
    opt.step()
    assert param.detach().double() == pytest.approx(-np.ones(10_000), rel=1e-2)
    param.grad[7] = torch.inf if dtype != torch.float64 else 1e200  # whose square is none
    with pytest.raises(FloatingPointError):
        opt.step()


def test_a_single_number_whose_square_is_none(kernel):
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = optim.SGD([param], nonfinite="skip", max_norm=1.0)
    param.grad = torch.full_like(param, 1e200)
    opt.step()
    assert param.item() == 0 and opt.skipped == 1


def test_a_refused_step_lets_go_of_the_gradients():
    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], nonfinite="skip")
    for value in (1.0, torch.nan):
        param.grad = torch.full((3,), value)
        opt.step()
    gone = weakref.ref(param.grad)
    opt.zero_grad()
    assert gone() is None


def test_without_a_request_a_nan_stays_within_its_element_and_a_large_gradient_is_survived():
    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], lr=0.1)
    for step in range(5):
        param.grad = torch.ones(3)
        param.grad[:2] = torch.tensor([float("nan"), 2e19]) if step == 0 else 1.0
        opt.step()
    assert param.isnan().tolist() == [True, False, False]
    with pytest.raises(ValueError, match='nonfinite is \'ignore\'; give None, "skip" or "raise"'):
        optim.Adam([param], nonfinite="ignore")


def test_clipping_of_a_gradient_as_small_as_torchs_guard_against_zero():
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = optim.SGD([param], lr=1.0, max_norm=1e-6)
    param.grad = torch.full_like(param, 1e-6)
    opt.step()
    assert param.item() == pytest.approx(-0.5e-6, rel=1e-9)


def test_clipping_of_a_sparse_gradient():
    param = torch.nn.Parameter(torch.zeros(5, 2))
    opt = optim.SGD([param], lr=1.0, max_norm=0.5)
    rows, ones = torch.tensor([[0, 0]]), torch.ones(2, 2)
    param.grad = torch.sparse_coo_tensor(rows, ones, (5, 2), check_invariants=True)
    opt.step()
    assert param.detach().norm().item() == pytest.approx(0.5, rel=1e-5)


def test_a_compiled_training_step():
    def train_step(model, opt, x):
        opt.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    torch._dynamo.reset()
    results = []
    for compiled in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        opt = optim.Adam(model.parameters(), lr=0.1)
        run = torch.compile(train_step, backend="aot_eager") if compiled else train_step
        x = torch.randn(5, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):
                run(model, opt, x)
        results.append(list(model.parameters()))
    assert apart(*results) < 1e-6


# Formats


def test_default_state_of_half_precision_does_not_stall():
    """`v` of a bfloat16 parameter reaches its level; torch's stays at a half."""
    levels = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))
        opt = module.Adam([param], lr=1e-3)
        for _ in range(6000):
            param.grad = torch.ones_like(param)
            opt.step()
        levels.append(opt.state[param]["exp_avg_sq"].float().mean().item())
    assert abs(levels[0] - 1) < 0.01 and levels[1] <= 0.5


def test_stochastic_rounding_moves_what_rounding_to_nearest_holds():
    ends = {}
    for stochastic in (False, True):
        param = torch.nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
        opt = optim.Adam([param], lr=1e-3, stochastic_rounding=stochastic)
        for _ in range(200):
            param.grad = torch.ones_like(param)
            opt.step()
        ends[stochastic] = param.detach().float()
    assert torch.equal(ends[False], torch.ones(1000))
    assert abs(ends[True].mean().item() - 0.8) < 0.005 and ends[True].std() > 0


def test_state_in_bfloat16_is_right_on_average_and_reproducible():
    results = []
    for options in ({"state_dtype": torch.bfloat16}, {"state_dtype": torch.bfloat16}, {}):
        param = torch.nn.Parameter(torch.zeros(20_000))
        opt = optim.Adam([param], lr=1e-3, **options)
        for step in range(300):
            param.grad = torch.full_like(param, 1.0 + (step % 3))
            opt.step()
        results.append((param.detach(), opt.state[param]["exp_avg_sq"]))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].dtype == torch.bfloat16
    relative = results[0][1].float() / results[2][1] - 1
    assert abs(relative.mean()) < 1e-3 and 1e-3 < relative.std() < 0.1


def test_every_rounding_has_a_coin_of_its_own():
    """Of parameter and slots, of two tensors, of two pieces of one, of two steps: uncorrelated."""
    size = 2 * 65_536
    params = [torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16)) for _ in range(2)]
    opt = optim.Adam(params, state_dtype=torch.bfloat16, stochastic_rounding=True)
    coins = {}
    for step in (1, 2):
        for param in params:
            param.data.fill_(1.0)
            param.grad = torch.ones_like(param)
        opt.step()
        for i, param in enumerate(params):
            state = opt.state[param]
            for name, value in (
                ("param", param),
                ("m", state["exp_avg"]),
                ("v", state["exp_avg_sq"]),
            ):
                for piece, part in enumerate(value.detach().chunk(2)):
                    coins[step, i, name, piece] = (part.float() > part.float().mean()).float()
                value.data.fill_(0.0)
    assert all(0.02 < coin.mean() < 0.98 for coin in coins.values())
    between = torch.corrcoef(torch.stack(list(coins.values()))).fill_diagonal_(0)
    assert between.abs().max() < 0.03


def test_stochastic_rounding_where_there_is_no_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(optimizer, "_has_kernel", lambda: False)
    monkeypatch.setattr(optimizer, "_warned", True)
    param = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    opt = optim.Adam([param], stochastic_rounding=True)
    param.grad = torch.ones_like(param)
    with pytest.raises(RuntimeError, match="rounds stochastically"):
        opt.step()


def test_float16_gradients_that_torchs_loop_turns_into_nan():
    param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))
    opt = optim.Adam([param], lr=0.01)
    for _ in range(50):
        param.grad = torch.tensor([0.0, 1e-4], dtype=torch.float16)
        opt.step()
    assert param[0] == 0 and -0.6 < param[1].item() < -0.4


def test_steps_are_counted_beyond_256_whatever_the_default_dtype():
    torch.set_default_dtype(torch.bfloat16)
    try:
        param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float32))
        opt = optim.Adam([param])
        for _ in range(1000):
            param.grad = torch.ones_like(param)
            opt.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert opt.state[param]["step"].item() == 1000
    assert abs(param[0].item() + 1) < 1e-3


# From a rule


def signum(param, grad, m, step, lr=0.01, beta1=0.9):
    m = ema(m, grad, beta1)
    update = lr * sign(m)
    return param - update, m


def test_an_optimizer_from_a_rule_of_three_lines():
    params = parameters()
    opt = Optimizer.from_rule(signum)(params, lr=0.1, weight_decay=0.1)
    assert type(opt).__name__ == "Signum" and opt.defaults["beta1"] == 0.9
    train(params, opt, 20)
    assert opt._packs and set(opt.state[params[0]]) == {"m", "step"}
    others = parameters()
    m = [torch.zeros_like(p) for p in others]
    for step in range(20):
        rng = torch.Generator().manual_seed(1000 + step)
        for i, p in enumerate(others):
            if step % 7 == 3 and i == 1:
                continue
            grad = gradient(p, rng) + 0.1 * p.detach()
            m[i] = 0.9 * m[i] + 0.1 * grad
            p.data -= 0.1 * m[i].sign()
    assert apart(params, others) < 1e-12
    with pytest.raises(TypeError, match="Signum has no option 'betas'; it has lr"):
        Optimizer.from_rule(signum)(params, betas=(0.9, 0.9))
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        Optimizer.from_rule(signum)(params, lr=-1.0)
    with pytest.raises(TypeError, match="the signature is"):
        Optimizer.from_rule(lambda x: x)


def shrinking(param, grad, product: Slot(start=1.0, per="tensor"), step, lr=0.1, beta=0.5):
    product = product * beta
    update = lr * product * grad
    return param - update, product


def test_a_tensor_slot_is_passed_over_with_its_parameter_and_saved(kernel):
    params = parameters(shapes=[(3,), (2, 2)])
    start = [p.detach().clone() for p in params]
    make = Optimizer.from_rule(shrinking)
    opt = make(params)
    for step in range(6):
        if step == 4:
            state = saved(opt)
            opt = make(params)
            opt.load_state_dict(state)
        for i, param in enumerate(params):
            param.grad = None if step % 2 and i else torch.ones_like(param)
        opt.step()
    assert [opt.state[p]["product"].item() for p in params] == [0.5**6, 0.5**3]
    assert [opt.state[p]["step"].item() for p in params] == [6, 3]
    moved = [s - 0.1 * (1 - 0.5**n) for s, n in zip(start, (6, 3), strict=True)]
    assert apart(params, moved) < 1e-12


def test_hyperparameters_may_be_called_as_the_machinery_calls_its_own():
    def damped(param, grad, step, lr=0.1, damp=0.5, group=2.0):
        return param - lr * damp * group * grad

    param = torch.nn.Parameter(torch.ones(3))
    opt = Optimizer.from_rule(damped)([param], damp=0.25)
    param.grad = torch.ones(3)
    opt.step()
    assert torch.allclose(param, torch.full((3,), 0.95))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_of_the_book_is_an_optimizer_that_can_be_saved(rule):
    make = Optimizer.from_rule(rule)
    params = parameters(torch.float32)
    opt = make(params)
    train(params, opt, 5)
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = make(others)
    other.load_state_dict(saved(opt))
    train(params, opt, 5, first=5), train(others, other, 5, first=5)
    assert opt._packs and all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_adamw_of_the_book_is_adamw_of_the_torch_class():
    (ours, a), _ = both("AdamW", lr=0.1, weight_decay=0.5)
    others = parameters()
    b = Optimizer.from_rule(RULES["adamw"])(others, lr=0.1, weight_decay=0.5)
    train(ours, a), train(others, b)
    assert apart(ours, others) < 1e-14
