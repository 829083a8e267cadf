"""Scenarios of training beside torch: what users do to an optimizer between two steps.

Each is a function of `make`, which makes an optimizer of torch or ours; both must end with the
same parameters and the same state.
"""

import copy
import io
import pickle
import warnings

import pytest
import torch
from harness.torch_cases import apart, gradient, make_state_in_double, memory, parameters, saved

from adam_nbdev import optim

SHAPES = [(3, 4), (5,), ()]
SCENARIOS = {}
BOUNDS = {torch.float64: 1e-12, torch.complex128: 1e-12, torch.float32: 3e-6}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def maker(module):
    """`make(name, params, **options)`: an optimizer of that module."""

    def make(name, params, **options):
        opt = getattr(module, name)(params, **options)
        if module is torch.optim and name == "NAdam":
            make_state_in_double(opt)
        return opt

    return make


def go(params, opt, first, last, missing=()):
    """Steps `first` to `last - 1`; those numbered in `missing` have no gradient."""
    for step in range(first, last):
        for i, param in enumerate(params):
            grad = gradient(param, torch.Generator().manual_seed(100 * step + i))
            param.grad = None if i in missing else grad
        opt.step()


def new(dtype=torch.float64, shapes=SHAPES):
    return parameters(dtype, shapes=shapes)


def compare(ours, theirs, bound):
    """Two states of a parameter; of one in half precision the values are other in torch."""
    kept = {key for key, value in theirs.items() if value is not None}
    assert {key for key, value in ours.items() if value is not None} == kept
    for key in kept if bound else ():
        one, other = (torch.as_tensor(state[key]).cdouble() for state in (ours, theirs))
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=10 * bound, atol=1e-300)


def between(name, shapes=SHAPES, **options):
    """A scenario: three steps, what the function does to parameters and optimizer, three more."""

    def decorate(edit):
        def run(make):
            params = new(shapes=shapes)
            opt = make(name, params, **options)
            go(params, opt, 0, 3)
            edit(params, opt)
            go(params, opt, 3, 6)
            return params, opt

        SCENARIOS[edit.__name__] = run
        return run

    return decorate


# Groups


@scenario
def a_group_is_added_late(make):
    params = new()
    opt = make("Adam", params[:2], lr=0.1)
    go(params[:2], opt, 0, 3)
    opt.add_param_group({"params": params[2:], "lr": 0.3, "betas": (0.5, 0.6)})
    go(params, opt, 3, 7)
    return params, opt


@scenario
def a_parameter_is_added_to_a_group(make):
    params = new()
    opt = make("AdamW", params[:2], lr=0.1)
    go(params[:2], opt, 0, 3)
    opt.param_groups[0]["params"].append(params[2])
    go(params, opt, 3, 7)
    return params, opt


@scenario
def a_parameter_is_taken_out_of_a_group_and_put_back(make):
    params = new()
    opt = make("NAdam", params, lr=0.1)
    go(params, opt, 0, 3)
    one = opt.param_groups[0]["params"].pop(1)
    go(params, opt, 3, 5)
    opt.param_groups[0]["params"].append(one)
    go(params, opt, 5, 7)
    return params, opt


@scenario
def parameters_change_their_groups(make):
    params = new()
    opt = make("RMSprop", [{"params": params[:2]}, {"params": params[2:], "lr": 0.3}], lr=0.1)
    go(params, opt, 0, 3)
    one, two = opt.param_groups
    one["params"], two["params"] = two["params"], one["params"]
    go(params, opt, 3, 6)
    return params, opt


@scenario
def the_order_of_the_groups_is_reversed(make):
    params = new()
    opt = make("Adam", [{"params": [p], "lr": 0.1 * (i + 1)} for i, p in enumerate(params)])
    go(params, opt, 0, 3)
    opt.param_groups.reverse()
    go(params, opt, 3, 6)
    return params, opt


@scenario
def groups_of_one_parameter_each(make):
    params = new(shapes=[(2,)] * 8)
    groups = [
        {"params": [p], "lr": 0.01 * i, "weight_decay": 0.1 * (i % 2)} for i, p in enumerate(params)
    ]
    opt = make("NAdam", groups)
    go(params, opt, 0, 5)
    return params, opt


@scenario
def maximize_is_toggled_in_one_group(make):
    params = new()
    opt = make("Adam", [{"params": params[:1]}, {"params": params[1:]}], lr=0.1)
    for step in range(6):
        opt.param_groups[0]["maximize"] = step % 2 == 0
        go(params, opt, step, step + 1)
    return params, opt


@scenario
def weight_decay_changes_at_every_step(make):
    params = new()
    opt = make("SGD", params, lr=0.1, momentum=0.9, weight_decay=0.5)
    for step in range(6):
        opt.param_groups[0]["weight_decay"] = 0.1 * (step % 3)
        go(params, opt, step, step + 1)
    return params, opt


@scenario
def betas_change_at_every_step(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    for step in range(6):
        opt.param_groups[0]["betas"] = (0.5 + 0.05 * step, 0.9 + 0.01 * step)
        go(params, opt, step, step + 1)
    return params, opt


@scenario
def amsgrad_is_switched_off_midway(make):
    params = new()
    opt = make("Adam", params, lr=0.1, amsgrad=True)
    go(params, opt, 0, 4)
    opt.param_groups[0]["amsgrad"] = False
    go(params, opt, 4, 8)
    opt.param_groups[0]["amsgrad"] = True
    go(params, opt, 8, 12)
    return params, opt


@scenario
def momentum_is_switched_on_and_off(make):
    params = new()
    opt = make("SGD", params, lr=0.1)
    for step in range(9):
        opt.param_groups[0]["momentum"] = 0.9 if step // 3 == 1 else 0.0
        go(params, opt, step, step + 1)
    return params, opt


@between("SGD", lr=0.1, momentum=0.9)
def nesterov_is_switched_on_midway(params, opt):
    opt.param_groups[0]["nesterov"] = True


@between("NAdam", lr=0.1, weight_decay=0.3)
def decoupled_decay_is_switched_on_midway(params, opt):
    opt.param_groups[0]["decoupled_weight_decay"] = True


@between("Adam", lr=0.0)
def a_rate_of_zero(params, opt):
    opt.param_groups[0]["lr"] = 0.1


@scenario
def a_tensor_as_rate_is_changed_in_place(make):
    params, rate = new(), torch.tensor(0.1, dtype=torch.float64)
    opt = make("Adam", params, lr=rate)
    for step in range(6):
        rate.mul_(0.5 if step % 2 else 3.0)
        go(params, opt, step, step + 1)
    return params, opt


@scenario
def a_group_has_keys_of_the_user(make):
    params = new()
    opt = make("AdamW", [{"params": params, "name": "all", "best": float("inf")}], lr=0.1)
    go(params, opt, 0, 3)
    opt.param_groups[0]["note"] = "later"
    go(params, opt, 3, 5)
    return params, opt


@scenario
def named_parameters(make):
    model = torch.nn.Linear(3, 2, dtype=torch.float64)
    opt = make("Adam", list(model.named_parameters()), lr=0.1)
    params = list(model.parameters())
    go(params, opt, 0, 4)
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    go(params, opt, 4, 6)
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    return params, opt


# Schedules


def with_schedule(make, name, schedule, **options):
    params = new()
    opt = make(name, params, lr=0.1, **options)
    schedule = schedule(opt)
    for step in range(8):
        go(params, opt, step, step + 1)
        schedule.step()
    return params, opt


SCHEDULERS = torch.optim.lr_scheduler


@scenario
def a_staircase_of_rates(make):
    return with_schedule(make, "Adam", lambda opt: SCHEDULERS.StepLR(opt, 2, 0.5))


@scenario
def a_cosine_of_rates(make):
    return with_schedule(make, "RMSprop", lambda opt: SCHEDULERS.CosineAnnealingLR(opt, 8))


@scenario
def one_cycle_of_rates_and_betas(make):
    cycle = SCHEDULERS.OneCycleLR
    return with_schedule(make, "AdamW", lambda opt: cycle(opt, 0.3, total_steps=10))


@scenario
def cycles_of_rates_and_momentum(make):
    cycles = SCHEDULERS.CyclicLR
    return with_schedule(make, "SGD", lambda opt: cycles(opt, 0.01, 0.1, 3), momentum=0.9)


@scenario
def warmup_and_then_decay(make):
    def both(opt):
        first = SCHEDULERS.LinearLR(opt, 0.1, total_iters=3)
        return SCHEDULERS.SequentialLR(opt, [first, SCHEDULERS.ExponentialLR(opt, 0.8)], [3])

    return with_schedule(make, "NAdam", both)


@scenario
def a_rate_that_falls_on_a_plateau(make):
    params = new()
    opt = make("Adagrad", params, lr=0.1)
    schedule = SCHEDULERS.ReduceLROnPlateau(opt, patience=1)
    for step in range(8):
        go(params, opt, step, step + 1)
        schedule.step(1.0)
    return params, opt


# Gradients


@scenario
def no_gradient_at_all(make):
    params = new()
    opt = make("Adam", params)
    opt.step(), opt.step()
    return params, opt


@scenario
def gradients_that_alternate(make):
    params = new()
    opt = make("NAdam", params, lr=0.1)
    for step in range(9):
        go(params, opt, step, step + 1, missing=[step % 3])
    return params, opt


@scenario
def the_first_gradient_comes_late(make):
    params = new()
    opt = make("SGD", params, lr=0.1, momentum=0.9, dampening=0.3)
    go(params, opt, 0, 3, missing=[1])
    go(params, opt, 3, 6)
    return params, opt


def descend(make, name, to_none, **options):
    params = new()
    opt = make(name, params, lr=0.1, **options)
    for _ in range(6):
        opt.zero_grad(set_to_none=to_none)
        sum((p**4).sum() for p in params[: 2 + to_none]).backward()
        opt.step()
    return params, opt


@scenario
def gradients_are_set_to_none(make):
    return descend(make, "Adam", True)


@scenario
def gradients_are_set_to_zero(make):
    return descend(make, "Adam", False, weight_decay=0.1)


@scenario
def gradients_are_accumulated(make):
    params = new()
    opt = make("AdamW", params, lr=0.1)
    for step in range(8):
        sum((p**4).sum() for p in params).backward()
        if step % 4 == 3:
            opt.step()
            opt.zero_grad()
    return params, opt


@scenario
def gradients_are_scaled_in_place(make):
    params = new()
    opt = make("SGD", params, lr=0.1, momentum=0.9)
    opt.register_step_pre_hook(lambda opt, *_: [p.grad.mul_(0.5) for p in params] and None)
    go(params, opt, 0, 5)
    return params, opt


@scenario
def gradients_are_clipped(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    opt.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_norm_(params, 0.1) and None)
    go(params, opt, 0, 5)
    return params, opt


@scenario
def gradients_are_zero(make):
    params = new()
    opt = make("RMSprop", params, lr=0.1, momentum=0.9, centered=True)
    for _ in range(3):
        for param in params:
            param.grad = torch.zeros_like(param)
        opt.step()
    return params, opt


@scenario
def two_parameters_have_one_gradient(make):
    params = new(shapes=[(4,), (4,)])
    opt = make("Adam", params, lr=0.1)
    for step in range(5):
        grad = gradient(params[0], torch.Generator().manual_seed(step))
        params[0].grad = params[1].grad = grad
        opt.step()
    return params, opt


@scenario
def closures(make):
    params = new()
    opt = make("AdamW", params, lr=0.1)

    def closure():
        opt.zero_grad()
        loss = sum((p**4).sum() for p in params)
        loss.backward()
        return loss

    losses = [opt.step(closure).item() for _ in range(6)]
    assert losses[-1] < losses[0]
    return params, opt


@scenario
def requires_grad_is_switched_off_and_on(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    go(params, opt, 0, 3)
    params[0].requires_grad_(False)
    go(params, opt, 3, 5)  # torch steps what has a gradient all the same
    params[0].requires_grad_(True)
    go(params, opt, 5, 7)
    return params, opt


# Parameters that move


@between("Adam", lr=0.1)
def data_is_replaced(params, opt):
    params[0].data = params[0].data.clone() * 2


@between("NAdam", lr=0.1)
def data_becomes_every_second_number(params, opt):
    params[1].data = torch.stack([params[1].data] * 2, -1).reshape(-1)[::2]


@between("Adam", shapes=[(4,), (4,)], lr=0.1)
def data_is_swapped_between_two(params, opt):
    params[0].data, params[1].data = params[1].data, params[0].data


@scenario
def a_module_goes_to_single_precision_and_back(make):
    model = torch.nn.Linear(3, 2, dtype=torch.float64)
    opt = make("SGD", model.parameters(), lr=0.1)
    params = list(model.parameters())
    go(params, opt, 0, 2)
    for dtype in (torch.float32, torch.float64):
        opt.zero_grad()
        model.to(dtype)
    go(params, opt, 2, 4)
    return [p.float() for p in params], opt


@scenario
def views_of_one_memory(make):
    base = torch.zeros(12, dtype=torch.float64)
    params = [torch.nn.Parameter(part) for part in (base[:4], base[4:8], base[8:])]
    opt = make("Adam", params, lr=0.1)
    go(params, opt, 0, 5)
    return [*params, base], opt


@scenario
def views_that_overlap(make):
    base = torch.zeros(8, dtype=torch.float64)
    params = [torch.nn.Parameter(base[:6]), torch.nn.Parameter(base[2:])]
    opt = make("SGD", params, lr=0.1, momentum=0.9)
    go(params, opt, 0, 5)
    return [*params, base], opt


@scenario
def channels_last(make):
    params = new(shapes=[(2, 3, 4, 5)])
    params[0].data = params[0].data.to(memory_format=torch.channels_last)
    opt = make("Adam", params, lr=0.1)
    go(params, opt, 0, 4)
    return params, opt


@between("RMSprop", shapes=[(2, 3, 4, 5)], lr=0.1, momentum=0.9)
def channels_last_midway(params, opt):
    params[0].data = params[0].data.to(memory_format=torch.channels_last)


@scenario
def transposed(make):
    params = [torch.nn.Parameter(memory((4, 6), (1, 4))), *new()]
    opt = make("NAdam", params, lr=0.1)
    go(params, opt, 0, 4)
    return params, opt


@scenario
def every_second_of_a_matrix(make):
    params = [torch.nn.Parameter(memory((4, 6), (12, 2))), *new()]
    opt = make("Adagrad", params, lr=0.1)
    go(params, opt, 0, 4)
    return params, opt


@scenario
def empty_parameters(make):
    params = [*new(), *new(shapes=[(0,), (3, 0)])]
    opt = make("NAdam", params, lr=0.1)
    go(params, opt, 0, 4)
    return params, opt


@scenario
def only_empty_parameters(make):
    params = new(shapes=[(0,), (3, 0)])
    opt = make("Adam", params, lr=0.1, amsgrad=True)
    go(params, opt, 0, 4)
    return params, opt


# Dtypes


@scenario
def complex_parameters(make):
    params = new(torch.complex128)
    opt = make("AdamW", params, lr=0.1, amsgrad=True)
    go(params, opt, 0, 5)
    return params, opt


@scenario
def complex_and_real_parameters(make):
    params = [*new(torch.complex128), *new(), *new(torch.float32)]
    opt = make("RMSprop", params, lr=0.1, centered=True, momentum=0.9)
    go(params, opt, 0, 5)
    return params, opt


@scenario
def single_precision(make):
    params = new(torch.float32)
    opt = make("Adam", params, lr=0.1, weight_decay=0.1)
    go(params, opt, 0, 10)
    return params, opt


@scenario
def half_precision(make):
    params = new(torch.float16)
    opt = make("SGD", params, lr=0.1, momentum=0.9)
    for _ in range(4):
        for param in params:
            param.grad = torch.full_like(param, 0.5)
        opt.step()
    return params, opt


@scenario
def bfloat16(make):
    params = new(torch.bfloat16)
    opt = make("Adam", params, lr=0.1)
    for _ in range(4):
        for param in params:
            param.grad = torch.full_like(param, 0.5)
        opt.step()
    return params, opt


# State by hand


@between("Adam", lr=0.1)
def the_state_is_cleared(params, opt):
    opt.state.clear()


@between("NAdam", lr=0.1)
def the_state_of_one_is_deleted(params, opt):
    del opt.state[params[1]]


@between("Adam", lr=0.1)
def averages_are_zeroed_in_place(params, opt):
    for state in opt.state.values():
        state["exp_avg"].zero_()
        state["exp_avg_sq"].mul_(0.5)


@between("Adam", lr=0.1)
def a_count_is_set_back_in_place(params, opt):
    opt.state[params[0]]["step"].zero_()
    opt.state[params[1]]["step"].fill_(1.0)


@between("AdamW", lr=0.1)
def a_count_is_replaced(params, opt):
    opt.state[params[0]]["step"] = torch.tensor(100.0)


@between("NAdam", lr=0.1)
def a_running_product_is_changed_in_place(params, opt):
    opt.state[params[0]]["mu_product"].mul_(0.5)


@between("SGD", lr=0.1, momentum=0.9, dampening=0.5)
def a_buffer_is_set_to_none(params, opt):
    opt.state[params[0]]["momentum_buffer"] = None


@between("Rprop", lr=0.1)
def a_step_size_is_changed_in_place(params, opt):
    opt.state[params[0]]["step_size"].mul_(3.0)


@scenario
def the_state_has_keys_of_the_user(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    go(params, opt, 0, 2)
    opt.state[params[0]]["seen"] = torch.tensor(2.0)
    go(params, opt, 2, 4)
    return params, opt


@scenario
def a_moving_average_of_the_weights(make):
    model = torch.nn.Linear(3, 2, dtype=torch.float64)
    params, opt = list(model.parameters()), make("SGD", model.parameters(), lr=0.1)
    average = torch.optim.swa_utils.AveragedModel(model)
    for step in range(5):
        go(params, opt, step, step + 1)
        average.update_parameters(model)
    return [*params, *average.module.parameters()], opt


# Copies and checkpoints


@scenario
def a_deep_copy_goes_on(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    go(params, opt, 0, 3)
    twins, twin = copy.deepcopy((params, opt))
    go(params, opt, 3, 5)
    go(twins, twin, 3, 7)
    return [*params, *twins], twin


@scenario
def a_pickle_goes_on(make):
    params = new()
    opt = make("RMSprop", params, lr=0.1, momentum=0.9)
    go(params, opt, 0, 3)
    twins, twin = pickle.loads(pickle.dumps((params, opt)))
    go(twins, twin, 3, 7)
    return twins, twin


@scenario
def a_file_of_data_only(make):
    params = new()
    opt = make("NAdam", params, lr=0.1)
    go(params, opt, 0, 3)
    kept, others = saved(opt), [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = make("NAdam", others, lr=0.9)
    other.load_state_dict(kept)
    go(others, other, 3, 7)
    return others, other


@scenario
def an_optimizer_that_went_on_loads_an_earlier_state(make):
    params = new()
    opt = make("Adagrad", params, lr=0.1)
    go(params, opt, 0, 3)
    kept = copy.deepcopy(opt.state_dict())
    go(params, opt, 3, 6)
    opt.load_state_dict(kept)
    go(params, opt, 6, 9)
    return params, opt


@scenario
def a_state_without_some_parameters(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    go(params, opt, 0, 3, missing=[1])
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = make("Adam", others)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    go(others, other, 3, 6)
    return others, other


@between("Adam", lr=0.1)
def an_older_state_without_flags(params, opt):
    kept = copy.deepcopy(opt.state_dict())
    for key in ("foreach", "maximize", "fused", "differentiable", "capturable"):
        del kept["param_groups"][0][key]
    opt.load_state_dict(kept)


@scenario
def a_state_in_single_precision(make):
    single = new(torch.float32)
    first = make("Adam", single, lr=0.1)
    go(single, first, 0, 3)
    params = [torch.nn.Parameter(p.detach().float()) for p in single]
    opt = make("Adam", params)
    opt.load_state_dict(copy.deepcopy(first.state_dict()))
    go(params, opt, 3, 6)
    return params, opt


# Flags and hooks


def flagged(make, name, **flags):
    params = new()
    opt = make(name, params, lr=0.1, **flags)
    go(params, opt, 0, 4)
    return params, opt


@scenario
def foreach(make):
    return flagged(make, "Adam", foreach=True)


@scenario
def not_foreach(make):
    return flagged(make, "SGD", foreach=False, momentum=0.9)


@scenario
def fused(make):
    return flagged(make, "AdamW", fused=True)


@scenario
def hooks_before_and_after_a_step(make):
    params, calls = new(), []
    opt = make("Adam", params, lr=0.1)
    opt.register_step_pre_hook(lambda opt, *_: calls.append("pre"))
    opt.register_step_post_hook(lambda opt, *_: calls.append("post"))
    go(params, opt, 0, 3)
    assert calls == ["pre", "post"] * 3
    return params, opt


@scenario
def hooks_of_state_dicts(make):
    params = new()
    opt = make("Adam", params, lr=0.1)
    opt.register_state_dict_post_hook(lambda opt, found: {**found, "note": 1})
    opt.register_load_state_dict_pre_hook(
        lambda opt, found: {"state": found["state"], "param_groups": found["param_groups"]}
    )
    opt.register_load_state_dict_post_hook(lambda opt: opt.param_groups[0].update(lr=0.2))
    go(params, opt, 0, 3)
    found = copy.deepcopy(opt.state_dict())
    assert found["note"] == 1
    opt.load_state_dict(found)
    assert opt.param_groups[0]["lr"] == 0.2
    go(params, opt, 3, 6)
    return params, opt


@scenario
def a_step_within_the_backward_pass(make):
    """Every parameter has an optimizer of its own, which steps as soon as there is a gradient."""
    params = new()
    opts = {p: make("Adam", [p], lr=0.1) for p in params}

    def step(param):
        opts[param].step()
        opts[param].zero_grad()

    for param in params:
        param.register_post_accumulate_grad_hook(step)
    for _ in range(4):
        sum((p**4).sum() for p in params).backward()
    return params[:1], opts[params[0]]


@scenario
def a_scaler_that_finds_infinities(make):
    params = new(torch.float32)
    opt = make("Adam", params, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    for step in range(8):
        opt.zero_grad()
        loss = sum((p**2).sum() for p in params) * (float("inf") if step in (2, 5) else 1.0)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        scaler.step(opt)
        scaler.update()
    return params, opt


@scenario
def two_optimizers_of_one_parameter(make):
    params = new()
    one, two = make("Adam", params, lr=0.1), make("SGD", params, lr=0.1, momentum=0.9)
    for step in range(4):
        go(params, one, step, step + 1)
        two.step()
    return params, one


@scenario
def the_whole_optimizer_in_a_file(make):
    params = new()
    opt = make("AdamW", params, lr=0.1)
    go(params, opt, 0, 3)
    file = io.BytesIO()
    torch.save((params, opt), file)
    file.seek(0)
    twins, twin = torch.load(file, weights_only=False)
    go(twins, twin, 3, 6)
    return twins, twin


# The test


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_ends_as_with_torch(name):
    ends = []
    for module in (optim, torch.optim):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ends.append(SCENARIOS[name](maker(module)))
    (ours, a), (theirs, b) = ends
    assert len(ours) == len(theirs)
    for p, q in zip(ours, theirs, strict=True):
        assert p.dtype == q.dtype and p.shape == q.shape
        assert p.numel() == 0 or apart([p], [q]) < BOUNDS.get(p.dtype, 0.1)
        compare(a.state.get(p, {}), b.state.get(q, {}), BOUNDS.get(p.dtype))
    assert len(a.state) == len(b.state)
    for one, other in zip(a.param_groups, b.param_groups, strict=True):
        assert one.keys() == other.keys() and len(one["params"]) == len(other["params"])
