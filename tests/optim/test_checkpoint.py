"""Checkpoints: state dicts, loading, resuming and copies."""

import copy
import pickle

import pytest
import torch
from harness.torch_cases import (
    CASES,
    SHAPES,
    apart,
    both,
    parameters,
    saved,
    states,
    train,
)

from adam_nbdev import optim


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_checkpoint_continues_in_the_other_library(name, options):
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
def test_resuming_from_a_checkpoint_is_bit_identical_to_not_stopping(name, dtype, options, how):
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


def test_loading_a_checkpoint_keeps_the_float32_state_of_half_precision_parameters():
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


def test_a_checkpoint_of_another_model_is_refused_at_load():
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


def test_a_loaded_checkpoint_is_copied_even_where_it_is_not_needed_yet():
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
