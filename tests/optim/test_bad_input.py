"""Bad input is a clear error, and a step that fails changes nothing."""

import copy

import numpy as np
import pytest
import torch
from harness.torch_cases import (
    INFO,
    NAMES,
    apart,
    backends,
    both_backends,
    gradient,
    parameters,
    train,
)

from adam_nbdev import optim
from adam_nbdev.optim import ways

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


NOT_TENSORS = [torch.zeros(2), np.zeros(2), "weights", [np.zeros(2)], ["w"]]


@pytest.mark.parametrize("bad", NOT_TENSORS)
def test_parameters_that_are_not_tensors_are_a_type_error(bad):
    with pytest.raises(TypeError):
        optim.Adam(bad)
    with pytest.raises(TypeError):
        optim.Adam(parameters(), learning_rate=0.1)


def test_empty_parameter_lists_non_leaves_and_bad_options_are_refused():
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.Adam([])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.Adam([parameters()[0] * 2])
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        optim.Adam(parameters(), fused=True, foreach=True)
    for bad in ({"state_dtype": torch.float16}, {"max_norm": 0.0}, {"max_norm": float("nan")}):
        with pytest.raises(ValueError, match="give"):
            optim.Adam(parameters(), **bad)


# A step that fails changes nothing


def give_sparse_gradient(params):
    index, value = [[0], [0], [0]], torch.ones(1, dtype=torch.float64)
    params[3].grad = torch.sparse_coo_tensor(index, value, params[3].shape, check_invariants=True)


def give_wrong_shape(params):
    params[3].data = torch.zeros(7, dtype=torch.float64)


@both_backends
@pytest.mark.parametrize("spoil", [give_sparse_gradient, give_wrong_shape])
def test_a_failed_step_leaves_parameters_and_state_as_they_were(spoil, backend):
    params = parameters()
    opt = optim.Adam(params, backend=backend)
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


@both_backends
def test_a_parameter_that_outgrew_its_state_is_refused(backend):
    """A kernel would write beyond the end of the state."""
    params = parameters(shapes=[(3, 4), (3,)])
    opt = optim.Adam(params, backend=backend)
    train(params, opt, 2)
    params[0].data = torch.zeros(1000, 4, dtype=torch.float64)
    for param in params:
        param.grad = torch.ones_like(param)
    before = params[1].detach().clone()
    with pytest.raises(RuntimeError, match=r"'exp_avg' has the shape \(3, 4\).*\(1000, 4\)"):
        opt.step()
    assert torch.equal(params[1], before) and opt.state[params[1]]["step"] == 2
    assert not params[0].any()


def test_a_gradient_that_shrinks_in_place_is_refused():
    param = torch.nn.Parameter(torch.ones(1000, 4))
    opt = optim.SGD([param], lr=1.0)
    param.grad = torch.ones_like(param)
    opt.step()
    param.grad.data = torch.ones(2, 4)
    with pytest.raises(RuntimeError, match=r"gradient of shape \(2, 4\)"):
        opt.step()
    assert not param.any()


def test_a_hyperparameter_that_is_not_a_number_stops_a_step_before_it_begins():
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


def test_a_step_that_failed_to_compile_is_tried_again(monkeypatch):
    class Full(ways.Batch):  # patches internals
        def __init__(self, *args):
            raise OSError("the disk is full")

    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], lr=0.1)
    param.grad = torch.ones(3)
    with monkeypatch.context() as patch:
        patch.setattr(ways, "Batch", Full)
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                opt.step()
    opt.step()
    assert torch.allclose(param.detach(), torch.full((3,), -0.1))


def test_an_interrupted_first_step_leaves_nothing_half_made(monkeypatch):
    """Nothing half made goes on beside what is made anew, which shows in the step counts."""

    class Interrupted(ways.Batch):  # patches internals
        def __init__(self, *args, **kwargs):
            if any("bfloat16" in str(x) for x in (*args, *kwargs.values())):
                raise KeyboardInterrupt
            super().__init__(*args, **kwargs)

    one, two = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3).bfloat16())
    opt = optim.Adam([one, two])
    other = torch.nn.Parameter(torch.ones(3))
    reference = torch.optim.Adam([other])
    for step in range(8):
        one.grad = torch.ones(3)
        two.grad = torch.ones(3).bfloat16() if step == 3 else None
        with monkeypatch.context() as patch:
            if step == 3:
                patch.setattr(ways, "Batch", Interrupted)
                with pytest.raises(KeyboardInterrupt):
                    opt.step()
            else:
                opt.step()
                other.grad = torch.ones(3)
                reference.step()
    assert opt.state[one]["step"] == 7 == reference.state[other]["step"]
    assert apart([one], [other]) < 1e-6 and backends(opt) == ["kernel"]
