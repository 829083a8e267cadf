"""Which backend a parameter takes: asked for by `backend=`, told by `explain_backend()`."""

import copy

import pytest
import torch
from harness.torch_cases import (
    LAYOUTS,
    NAMES,
    Additions,
    apart,
    backends,
    gradient,
    launches,
    memory,
    parameters,
    states,
    train,
)

from adam_nbdev import optim


def of_all_kinds():
    """Two parameters of one launch, one of another, one that fits no kernel, one left out."""
    params = parameters(shapes=[(3, 4), (5,)])
    params += parameters(torch.float32, shapes=[(2, 2)])
    params.append(torch.nn.Parameter(memory(*LAYOUTS["every second"])))
    for step, param in enumerate(params):
        param.grad = gradient(param, torch.Generator().manual_seed(step))
    return [*params, torch.nn.Parameter(torch.ones(7))]


def test_every_parameter_is_explained_in_the_order_of_the_groups():
    params = of_all_kinds()
    opt = optim.Adam([{"params": params[:3]}, {"params": params[3:]}])
    rows = opt.explain_backend()
    assert [row.parameter for row in rows] == list(range(5))
    assert [row.shape for row in rows] == [tuple(param.shape) for param in params]
    assert [row.backend for row in rows] == ["kernel"] * 3 + ["tensors", None]
    assert [row.launch for row in rows] == [0, 0, 1, None, None]
    assert "float64" in rows[0].why and "float32" in rows[2].why
    assert "gaps" in rows[3].why and "no gradient" in rows[4].why


def test_an_explanation_prints_as_a_table():
    head, *lines = repr(optim.Adam(of_all_kinds()).explain_backend()).splitlines()
    assert head.split() == ["parameter", "shape", "backend", "launch", "why"]
    assert len(lines) == 5 and all(line.startswith(str(i)) for i, line in enumerate(lines))


def test_what_is_told_is_what_is_done():
    """Torch subtracts once for a parameter that is read on tensors, never for a kernel."""
    params = of_all_kinds()
    opt = optim.SGD(params, lr=0.1)
    by_torch = Additions(opt)
    opt.step()
    assert by_torch.count == backends(opt).count("tensors") == 1


def test_an_explanation_changes_nothing_and_follows_the_parameters():
    params = of_all_kinds()
    opt, other = optim.Adam(params), optim.Adam(of_all_kinds())
    for _ in range(3):
        opt.explain_backend()
        opt.step(), other.step()
    assert all(map(torch.equal, params, other.param_groups[0]["params"]))
    ours, plain = states(opt), states(other)
    assert ours.keys() == plain.keys() and all(torch.equal(ours[k], plain[k]) for k in ours)
    assert len(optim.Adam(params).explain_backend()) == 5 and params[4] not in opt.state
    params[3].data = torch.zeros(4, 6, dtype=torch.float64)
    params[3].grad, params[0].grad = torch.ones_like(params[3]), None
    assert [row.backend for row in opt.explain_backend()] == [None, *["kernel"] * 3, None]
    assert launches(opt) == [[1, 3], [2]]


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_may_be_demanded(name):
    results = []
    for backend in (None, "kernel"):
        params = parameters()
        opt = getattr(optim, name)(params, backend=backend)
        train(params, opt, 5)
        assert set(backends(opt)) == {"kernel"}
        results.append(params)
    assert all(map(torch.equal, *results))


def test_a_parameter_that_cannot_take_the_kernel_demanded_is_refused_and_nothing_changes():
    params = of_all_kinds()
    opt = optim.Adam(params, backend="kernel")
    before = [param.detach().clone() for param in params]
    with pytest.raises(RuntimeError, match=r"parameter 3 of Adam takes no kernel, .*gaps"):
        opt.step()
    assert all(map(torch.equal, params, before)) and not states(opt)
    params[3].grad = None
    opt.step()
    assert set(backends(opt)) == {"kernel"} and len(opt.state) == 3


def test_tensors_may_be_demanded_and_the_demand_is_copied():
    params = parameters()
    opt = optim.Adam(params, backend="tensors")
    train(params, opt, 2)
    twins, twin = copy.deepcopy((params, opt))
    others = parameters()
    other = optim.Adam(others)
    for step in range(2, 5):
        train(params, opt, 1, first=step), train(twins, twin, 1, first=step)
    train(others, other, 5)
    assert all(map(torch.equal, params, twins)) and apart(params, others) < 1e-12
    assert set(backends(opt)) == set(backends(twin)) == {"tensors"}


def test_a_backend_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match='backend is \'gpu\'; give None, "kernel" or "tensors"'):
        optim.Adam(parameters(), backend="gpu")
