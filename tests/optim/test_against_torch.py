"""The torch classes agree with torch.optim: numbers, state, options, and what users do."""

import collections
import copy
import subprocess
import sys
import threading
import warnings
from contextlib import nullcontext

import pytest
import torch
from harness.torch_cases import (
    CASES,
    NAMES,
    SHAPES,
    Additions,
    apart,
    backends,
    both,
    both_backends,
    cases,
    gradient,
    parameters,
    states,
    train,
)
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from adam_nbdev import optim
from adam_nbdev.optim.classes import FromTorch


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float64, 1e-12), pytest.param(torch.float32, 3e-6, marks=pytest.mark.long)],
)
def test_agrees_with_torch_in_parameters_and_state(name, options, dtype, bound):
    (ours, a), (torchs, b) = both(name, dtype, **options)
    train(ours, a), train(torchs, b)
    assert set(backends(a)) == {"kernel"}
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
        "backend",
    }


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_state_has_torchs_keys_in_torchs_order_and_no_more_parameters(name, options):
    (ours, a), (torchs, b) = both(name, **options)
    train(ours, a, 2), train(torchs, b, 2)
    kept = [
        [{k: v for k, v in opt.state[p].items() if v is not None} for p in params if p in opt.state]
        for params, opt in ((ours, a), (torchs, b))
    ]
    assert [list(state) for state in kept[0]] == [list(state) for state in kept[1]]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_the_public_attributes_and_no_more(name):
    params, opt = both(name)[0]
    train(params, opt, 1)
    known, copied = (
        {key for key in found.__dict__ if not key.startswith("_")}
        for found in (opt, copy.deepcopy(opt))
    )
    assert known == copied


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adagrad", "SGD"])
def test_fused_on_meta_is_torchs_error(name):
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.ones(3, device="meta"))
        opt = getattr(module, name)([param], fused=True)
        param.grad = torch.ones(3, device="meta")
        with pytest.raises(RuntimeError, match=r"`fused=True` requires all the params to be float"):
            opt.step()


# Two backends that are different code


@pytest.mark.parametrize(("name", "options"), cases(pytest.mark.long))
def test_the_tensors_backend_agrees_with_the_kernel_and_is_other_code(name, options):
    """Every rule ends in `param - update`: by torch, or in a kernel, which torch does not see."""
    (ours, a), _ = both(name, **options)
    by_torch = Additions(a)
    train(ours, a)
    assert by_torch.count == 0, "the kernel reads no tensors"
    others = parameters()
    b = getattr(optim, name)(others, **options, backend="tensors")
    by_torch = Additions(b)
    train(others, b)
    assert by_torch.count >= 60 and set(backends(b)) == {"tensors"}
    assert apart(others, ours) < 1e-12
    assert all(apart([v + 1e-300], [states(a)[k] + 1e-300]) < 1e-11 for k, v in states(b).items())


WITHOUT_NUMBA = """
import re, sys, warnings
sys.modules["numba"] = None
import torch
from adam_nbdev import optim
params = [torch.nn.Parameter(torch.ones(shape)) for shape in (3, (2, 2))]
opt = optim.Adam(params)

def step():
    for param in params:
        param.grad = torch.ones_like(param)
    opt.step()

with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    step()
(warning,) = [w for w in found if "numba" in str(w.message)]
assert warning.category is UserWarning
assert re.search(r'pip install "adam_nbdev\\[kernels\\]"', str(warning.message))
with warnings.catch_warnings():
    warnings.simplefilter("error")
    step(), step()
assert [row.backend for row in opt.explain_backend()] == ["tensors"] * 2
assert all(opt.state[param]["step"] == 3 for param in params)
"""


@pytest.mark.long
def test_without_numba_it_still_steps_and_warns_once():
    command = [sys.executable, "-c", WITHOUT_NUMBA]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


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
        assert backends(ours) == ["tensors" if strided else "kernel"]
        torch.testing.assert_close(param, theirs, rtol=1e-6, atol=0)


# What users do


def test_closures_hooks_schedulers_and_a_tensor_as_learning_rate():
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


def watched(module):
    """What hooks and the profiler see of the steps of an Adam, and where its parameters end."""
    seen, params = [], parameters()
    opt = module.Adam(params, lr=0.1)

    def before(opt, given, named):
        seen.append(("before", len(given), named))

    def after(opt, given, named):
        seen.append(("after", len(given), named))

    def instead(opt, given, named):
        return (opt, lambda: seen.append("closure")), named

    hooks = [
        lambda: [],
        lambda: [register_optimizer_step_pre_hook(before)],
        lambda: [register_optimizer_step_post_hook(after)],
        lambda: [opt.register_step_pre_hook(instead)],
        lambda: [opt.register_step_post_hook(after)],
    ]
    for register in hooks:
        train(params, opt, 1)
        handles = register()
        with nullcontext() if handles else torch.profiler.profile(acc_events=True) as profile:
            opt.step()
        for handle in handles:
            handle.remove()
        if profile:
            seen += [event.key for event in profile.key_averages() if "step" in event.key]
    return seen, params


def hooked(module, how):
    """What a hook sees that is called after a step, of a kind of step."""
    seen, params = [], parameters()
    train(params, opt := module.Adam(params), 1)

    def after(opt, given, named):
        seen.append((len(given), list(named)))

    step = torch.compile(lambda: opt.step(), backend="eager") if how == "compiled" else opt.step
    step()
    handle = opt.register_step_post_hook(after)
    step(**({"closure": lambda: 0.0} if how == "a keyword" else {}))
    handle.remove()
    return seen


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # by torch, when it compiles its own
@pytest.mark.parametrize("how", ["a keyword", "compiled"])
def test_a_hook_that_comes_late_is_called_as_by_torch(how):
    assert hooked(optim, how) == hooked(torch.optim, how) != []


def test_a_hook_is_called_once_if_a_subclass_has_a_step_of_its_own():
    class Mine(type("Fresh", (FromTorch, torch.optim.Adam), {})):
        def step(self, closure=None):
            return super().step(closure)

    calls, params = [], parameters()
    opt = Mine(params)
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    train(params, opt, 2)
    assert calls == ["after"] * 2


def test_a_profiler_sees_a_step_in_another_thread():
    every = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    params = parameters()
    train(params, opt := optim.Adam(params), 1)
    with torch.profiler.profile(experimental_config=every, acc_events=True) as profile:
        thread = threading.Thread(target=opt.step)
        thread.start()
        thread.join()
    assert "Optimizer.step#Adam.step" in [event.key for event in profile.key_averages()]


def test_hooks_and_profiler_see_of_a_step_what_they_see_of_torchs():
    (ours, params), (theirs, expected) = watched(optim), watched(torch.optim)
    assert ours == theirs and "Optimizer.step#Adam.step" in ours and len(ours) == 5
    assert apart(params, expected) < 1e-12


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


@both_backends
@pytest.mark.parametrize(("name", "options", "edit"), EDITS)
def test_groups_and_state_edited_by_hand_are_followed_at_once(name, options, edit, backend):
    """Every parameter has a gradient at every step, so that nothing else asks for a new look."""
    results = []
    for module in (optim, torch.optim):
        params = parameters(shapes=SHAPES[:3])
        chosen = {"backend": backend} if module is optim else {}
        opt = getattr(module, name)(params, lr=0.1, **options, **chosen)
        for step in range(8):
            if step == 4:
                edit(opt, params)
                opt.param_groups[0]["lr"] = 0.2
            for i, param in enumerate(params):
                param.grad = gradient(param, torch.Generator().manual_seed(10 * step + i))
            opt.step()
        results.append(params)
    assert apart(*results) < 1e-12


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


def test_the_options_foreach_fused_and_capturable_are_accepted():
    for flags in ({"foreach": True}, {"fused": True}, {"capturable": True}, {"foreach": False}):
        (ours, a), (torchs, b) = both("Adam", **flags)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(ours, a, 5), train(torchs, torch.optim.Adam(torchs), 5)
        assert apart(ours, torchs) < 1e-12 and b is not None


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


@pytest.mark.long
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
