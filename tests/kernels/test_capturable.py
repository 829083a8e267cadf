"""`capturable=True`: the numbers of a step computed on the device, in Triton's interpreter."""

import os

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported, by whatever test of this process

import copy

import numpy as np
import pytest
import torch
from harness.cases import distance, gradients, reference
from harness.torch_cases import NAMES, apart, backends, parameters, saved, states, train
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from adam_nbdev import Slot, maximum, optim, where
from adam_nbdev.kernels import gpu, graphs
from adam_nbdev.kernels.gpu import GpuBatch
from adam_nbdev.language.rule import parse
from adam_nbdev.optim import Optimizer, plan
from adam_nbdev.optim.buckets import Member
from adam_nbdev.optim.state import Binding
from adam_nbdev.optim.ways import GpuBucket, GraphBucket
from adam_nbdev.rules import RULES

pytest.importorskip("triton", reason="Triton is for Linux only")
GRAPH = {"capturable": True}


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """The bucket of a GPU, for parameters in the memory of the processor."""
    monkeypatch.setattr(gpu, "BLOCK", 8)  # the interpreter takes as long for a block as for one
    monkeypatch.setitem(plan.KERNELS, "cpu", (GpuBucket, gpu))


def few(dtype=torch.float64):
    return parameters(dtype, shapes=[(9,), (2, 3), (), (0,)])


def kinds(opt):
    return {type(bucket) for bucket in opt._plan.buckets}


def recorded(monkeypatch):
    """As if what is launched from now on were recorded; it is run besides."""
    for name in ("is_initialized", "is_current_stream_capturing"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)


class OnDevice(TorchDispatchMode):
    """Fails where the host reads a number of the device or sends one there."""

    READS = "_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "lift_fresh"

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function.overloadpacket.__name__ not in self.READS, f"{function} waits"
        found = function(*args, **kwargs or {})
        into, there = getattr(found, "device", None), [x for x in args if torch.is_tensor(x)]
        for x in there:  # a tensor of no dimensions may stand for a number
            assert into is None or x.device == into or x.ndim == 0, f"{function} copies"
        assert "copy" not in str(function) or len({x.device for x in there}) < 2, "copies"
        return found


@pytest.fixture
def nothing_is_read(monkeypatch):
    """A mode in which the host reads nothing of the device; the interpreter is let alone."""
    launch = GpuBatch.launch

    def launched(*args):
        with _disable_current_modes(), monkeypatch.context() as patch:
            for name, was in patched.items():
                patch.setattr(torch.Tensor, name, was)
            launch(*args)

    names = "item", "__float__", "__bool__", "__int__", "__index__", "tolist", "cpu", "numpy"
    patched = {name: getattr(torch.Tensor, name) for name in names}
    monkeypatch.setattr(GpuBatch, "launch", launched)

    def step(opt):
        with monkeypatch.context() as patch, OnDevice():
            for name in names:
                patch.setattr(torch.Tensor, name, lambda *_: pytest.fail("the host waits"))
            opt.step()

    return step


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_numbers_from_the_device_are_as_exact(rule, dtype, bound, nothing_is_read):
    grads = torch.from_numpy(gradients(50)).to(dtype)
    param, path = torch.nn.Parameter(torch.zeros_like(grads[0])), []
    opt = Optimizer.from_rule(rule)([param], capturable=True)
    param.grad = torch.zeros_like(param)
    for step, grad in enumerate(grads):
        param.grad.copy_(grad)
        nothing_is_read(opt) if step else opt.step()
        path.append(param.detach().clone())
    assert kinds(opt) == {GraphBucket} and set(backends(opt)) == {"kernel"}
    assert distance(torch.stack(path).numpy(), reference(rule, grads.numpy())) < bound
    assert opt.state[param]["step"] == 50 and opt.state[param]["step"].shape == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_class_steps_as_with_numbers_from_the_host(name):
    """Groups that differ, parameters passed over, a rate that changes, a checkpoint on the way."""
    results = []
    for flags in ({"capturable": False}, GRAPH):
        params = few()
        groups = [{"params": params[:2], "lr": 0.1}, {"params": params[2:]}]
        if name == "SGD":
            groups[0] |= {"momentum": 0.9, "dampening": 0.3}
        if name != "Rprop":
            groups[1]["weight_decay"] = 0.1
        more = {"lr_decay": 0.1} if name == "Adagrad" else {}
        groups = [group | flags for group in groups]
        opt = getattr(optim, name)(copy.copy(groups), lr=0.01, **more)
        train(params, opt, 5)
        assert kinds(opt) == {GraphBucket if flags["capturable"] else GpuBucket}
        kept, opt = saved(opt), getattr(optim, name)(groups, **more)
        opt.load_state_dict(kept)
        opt.param_groups[0]["lr"] = 0.2
        train(params, opt, 5, first=5)
        results.append((params, states(opt)))
    (wanted, others), (ours, kept) = results
    assert apart(ours, wanted) < 1e-13 and kept.keys() == others.keys()
    for key, value in others.items():
        assert torch.allclose(kept[key], value, rtol=1e-12, atol=1e-14)
        assert kept[key].shape == value.shape and kept[key].dtype == value.dtype


@pytest.mark.parametrize("name", ["Adam", "NAdam"])
def test_a_checkpoint_goes_to_the_host_and_back(name):
    """The same numbers in the same places, whoever computes them in the middle."""
    results = []
    for turns in ([False] * 3, [False, True, False], [True, False, True]):
        params, kept = few(), None
        for number, flag in enumerate(turns):
            opt = getattr(optim, name)(params, lr=0.1, weight_decay=0.1)
            if kept is not None:
                opt.load_state_dict(kept)
            opt.param_groups[0]["capturable"] = flag
            train(params, opt, 3, first=3 * number)
            assert kinds(opt) == {GraphBucket if flag else GpuBucket}
            kept = saved(opt)
        results.append(params)
    assert max(apart(results[0], other) for other in results[1:]) < 1e-13


def test_numbers_that_are_tensors_take_effect_where_they_are(nothing_is_read):
    """A rate, decay rates and a weight decay are changed in place; nothing is uploaded for it."""
    results = []
    for graph in (False, True):
        params = few()
        numbers = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1}
        if graph:
            numbers = {
                n: tuple(map(tensor, x)) if n == "betas" else tensor(x) for n, x in numbers.items()
            }
        opt = optim.Adam(params, **numbers, capturable=graph)
        train(params, opt, 2)
        for lr, decay in ((0.01, 0.5), (0.3, 0.0)):
            if graph:
                opt.param_groups[0]["lr"].fill_(lr)
                opt.param_groups[0]["weight_decay"].fill_(decay)
                nothing_is_read(opt)
            else:
                opt.param_groups[0] |= {"lr": lr, "weight_decay": decay}
                opt.step()
        results.append(params)
    assert apart(*results) < 1e-13


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


@pytest.fixture
def meta(monkeypatch):
    """A device that has no numbers at all, only shapes and types: nothing can be read of it."""
    monkeypatch.setattr(gpu, "_upload", lambda x, device: torch.from_numpy(x).to(device))
    monkeypatch.setattr(GpuBatch, "launch", lambda batch, *_: setattr(batch, "launched", True))


def test_a_tensor_elsewhere_is_a_float_of_now(meta):
    batch = graphs.GraphBatch(RULES["adam"], ("float32",) * 4, [3], device="meta")
    assert isinstance(batch._number(torch.tensor(0.5)), float)
    assert isinstance(batch._number(torch.ones((), device="meta")), torch.Tensor)


def test_random_bits_are_those_of_the_host():
    """To the bit, with a parameter passed over now and then, and counts that differ."""
    results = []
    for graph in (False, True):
        params = few(torch.bfloat16)
        half = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
        opt = optim.AdamW(params, lr=0.01, **half, capturable=graph)
        train(params, opt, 10)
        results.append([*params, *states(opt).values()])
    assert all(map(torch.equal, *results))


def test_keys_are_those_of_the_host_for_every_count():
    params = parameters(torch.bfloat16, shapes=[(1,)] * 4)
    for param in params:
        param.grad = torch.ones_like(param)
    opt = optim.Adam(params, stochastic_rounding=True, capturable=True)
    opt.step()
    (bucket,) = opt._plan.buckets
    for count in (1, 2**16 - 1, 2**24):
        steps = np.full(4, count, np.uint32)
        keys = bucket.indices * np.uint32(0x9E3779B1) + steps * np.uint32(0x85EBCA6B)
        assert np.array_equal(bucket.keys(torch.full((4,), count)).numpy().view(np.uint32), keys)


@pytest.mark.parametrize("name", ["Adam", "NAdam"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_with_a_gradient_that_is_no_number_is_left_out(name, bad, nothing_is_read):
    params = few()
    opt = getattr(optim, name)(params, nonfinite="skip", max_norm=1.0, capturable=True)
    train(params, opt, 2)
    before = [x.clone() for x in (*params, *states(opt).values())]
    params[1].grad.view(-1)[2] = bad
    nothing_is_read(opt)
    nothing_is_read(opt)
    assert all(map(torch.equal, before, [*params, *states(opt).values()]))
    assert opt.skipped == 2 and copy.deepcopy(opt).skipped == 2
    params[1].grad.view(-1)[2] = 1.0
    nothing_is_read(opt)
    assert opt.skipped == 2 and opt.state[params[0]]["step"] == 3
    assert not any(map(torch.equal, before, params[:3]))


@pytest.mark.parametrize("length", [0.5, 1e9])
@pytest.mark.parametrize("name", ["Adam", "NAdam"])
def test_clipping_stays_on_the_device(name, length, nothing_is_read):
    results = []
    for graph in (False, True):
        params = few()
        options = {"max_norm": length, "weight_decay": 0.1, "lr": 0.1, "maximize": True}
        opt = getattr(optim, name)(params, **options, capturable=graph)
        train(params, opt, 3)
        nothing_is_read(opt) if graph else opt.step()
        results.append(params)
    assert apart(*results) < 1e-12


def odd(param, grad, product: Slot(start=0.5, per="tensor"), step, lr=0.1, beta=0.9):
    """A rule with choices and divisions by 0 among its scalars, and a slot that is replaced."""
    product = maximum(product * beta, 0.25)
    rate = where(step > 2, lr / (step - 3), 2.0)
    update = rate * product * grad
    return param - update, product


def test_numbers_follow_ieee_and_choices_are_taken_on_the_device(nothing_is_read):
    results = []
    for graph in (False, True):
        param = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        opt = Optimizer.from_rule(odd)([param], capturable=graph)
        path, param.grad = [], torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
        for step in range(6):
            with np.errstate(all="ignore"):  # in the interpreter
                nothing_is_read(opt) if graph and step else opt.step()
            path.append(param.detach().clone())
            if step == 2:
                param.detach().fill_(1.0)
        results.append(torch.stack(path))
    assert torch.equal(results[0].isfinite(), results[1].isfinite())
    assert results[0][2].isinf().all() and torch.allclose(*results, rtol=1e-14)


@pytest.mark.parametrize(("rule", "options"), [("adam", {"eps": 1e-50}), ("fading", {})])
def test_what_single_precision_does_not_hold_is_computed_in_double(rule, options):
    """Today, or at a step that is still to come."""

    def fading(param, grad, step, lr=1e30, decay=1e-20):
        return param - grad / decay**step * decay**step * lr

    param = torch.nn.Parameter(torch.zeros(3))
    param.grad = torch.tensor([1e-4, 0.0, 3.0])
    make = Optimizer.from_rule(RULES.get(rule, fading))
    opt = make([param], **options, capturable=True)
    opt.step()
    (bucket,) = opt._plan.buckets
    assert bucket.batch.tried[1] is False and param[1] == 0 and param.isfinite().all()


def test_nothing_of_the_device_is_read_nor_copied_to_it(meta):
    params = [torch.nn.Parameter(torch.ones(n, device="meta")) for n in (3, 4)]
    keys = {"m": "m", "v": "v", "mu_product": "mu_product"}
    asked = Binding(parse(RULES["nadam"]), keys)
    group, members = {"maximize": False}, []
    for i, param in enumerate(params):
        param.grad = torch.ones_like(param)
        state = {n: torch.zeros_like(param, requires_grad=False) for n in ("m", "v")}
        state["mu_product"] = torch.ones((), dtype=torch.float64, device="meta")
        members.append(Member(i, group, param, state, asked, 0.0))
    formats = ("bfloat16, stochastic", "bfloat16", "float32", "float32")
    bucket = GraphBucket(formats, members, counted=True)
    there = {"factor": torch.ones((), device="meta"), "taken": torch.ones((), device="meta") > 0}
    lr = torch.ones((), dtype=torch.float64, device="meta")
    numbers = {**parse(RULES["nadam"]).defaults, "lr": lr}
    for step in range(3):
        assert bucket.is_current()
        with OnDevice() if step else torch.no_grad():
            ready = bucket.prepare(lambda *_: (numbers, there | {"scale": 1.0}))
            with torch.no_grad():
                bucket.apply(ready)


# The record


def test_a_record_depends_on_nothing_that_changes(monkeypatch):
    """Its addresses lie in memory of their own, and what it fills is no table for others."""
    params = few()
    opt = optim.Adam(params, lr=0.1, capturable=True)
    train(params, opt, 2)
    (bucket,) = opt._plan.buckets
    batch = bucket.batch
    there, known = dict(batch.there), batch.known
    with monkeypatch.context() as patch:
        recorded(patch)
        opt.param_groups[0]["lr"] = 0.5
        for param in params:
            param.grad = param.grad.clone()
        opt.step()
        table = batch.kept[0]
    assert batch.known is known and table is not known[1]
    assert batch.there["pointers"][1] is there["pointers"][1]
    assert len(batch.spare) == graphs.SPARE - 1 and len(batch.kept) == 2
    addresses = batch.kept[1].clone()
    assert addresses[1].tolist() == [param.grad.data_ptr() for param in params]
    train(params, opt, 2)
    assert torch.equal(batch.kept[1], addresses) and batch.kept[0] is table
    assert len(batch.spare) == graphs.SPARE
    with monkeypatch.context() as patch:
        recorded(patch)
        for _ in range(graphs.SPARE):
            opt.step()
        with pytest.raises(RuntimeError, match="take a step outside of a graph"):
            opt.step()


def test_counts_stay_where_they_are_when_all_is_sorted_anew():
    """A graph knows them by their addresses."""
    params = few()
    opt = optim.NAdam(params, capturable=True)
    train(params, opt, 2)
    numbers = [opt.state[p][key] for p in params for key in ("step", "mu_product")]
    was, before = [x.data_ptr() for x in numbers], opt._plan
    opt.add_param_group({"params": parameters(shapes=[(2,)])})
    train(params, opt, 2)
    assert opt._plan is not before
    assert was == [opt.state[p][key].data_ptr() for p in params for key in ("step", "mu_product")]


def test_a_record_is_kept_as_long_as_the_optimizer(monkeypatch):
    params = few()
    opt = optim.Adam(params, capturable=True)
    train(params, opt, 1)
    (bucket,) = opt._plan.buckets
    with monkeypatch.context() as patch:
        recorded(patch)
        opt.step()
    opt.add_param_group({"params": parameters(shapes=[(2,)])})
    opt.step()
    assert bucket in opt._recorded and bucket not in opt._plan.buckets


def test_a_step_that_cannot_be_recorded_is_refused(monkeypatch):
    for options, why in (
        ({}, "has not capturable=True"),
        ({**GRAPH, "backend": "tensors"}, "was asked to read the rule on tensors"),
        ({**GRAPH, "differentiable": True}, "is to be differentiable"),
    ):
        params = few()
        params = [p * 1.0 for p in params] if "differentiable" in options else params
        opt = optim.Adam(params, **options)
        train(params, opt, 1)
        before = [param.detach().clone() for param in params]
        with monkeypatch.context() as patch:
            recorded(patch)
            with pytest.raises(RuntimeError, match=f"repeated as it is, since .* {why}"):
                opt.step()
        assert all(map(torch.equal, before, params))
    opt = optim.Adam(few(), capturable=True)
    recorded(monkeypatch)
    with pytest.raises(RuntimeError, match="take a step before the graph"):
        opt.step()


def test_an_error_cannot_be_raised_by_a_device():
    params = few()
    opt = optim.Adam(params, nonfinite="raise", capturable=True)
    with pytest.raises(RuntimeError, match='give nonfinite="skip"'):
        train(params, opt, 1)


def test_the_option_changes_nothing_on_the_processor(monkeypatch):
    monkeypatch.undo()
    params, others = few(), few()
    opt = Optimizer.from_rule(RULES["nadam"])(params, lr=tensor(0.1), capturable=True)
    train(params, opt, 3), train(others, Optimizer.from_rule(RULES["nadam"])(others, lr=0.1), 3)
    assert GraphBucket not in kinds(opt) and all(map(torch.equal, params, others))
