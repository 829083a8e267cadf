"""A rule as a kernel for a GPU: what it computes, by Triton's interpreter, and that it compiles."""

import os

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported, by whatever test of this process

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from harness.cases import distance, gradients, reference
from harness.own_rules import RULES as OWN
from harness.torch_cases import NAMES, apart, backends, parameters, saved, states, train

from adam_nbdev import optim
from adam_nbdev.kernels import cache, gpu
from adam_nbdev.kernels.cpu import Batch
from adam_nbdev.kernels.gpu import GpuBatch
from adam_nbdev.kernels.lower import lower
from adam_nbdev.kernels.triton_printer import unprintable
from adam_nbdev.language.prelude import PRELUDES
from adam_nbdev.language.rule import parse
from adam_nbdev.optim import Optimizer, plan
from adam_nbdev.optim.ways import GpuBucket, KernelBucket, ListBucket
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.rules import RULES

pytest.importorskip("triton", reason="Triton is for Linux only")
ADAM = RULES["adam"]
DTYPE = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """The interpreter takes as long for a block as for an element of it."""
    monkeypatch.setattr(gpu, "BLOCK", 8)


def dtype_of(form):
    return DTYPE.get(form, torch.bfloat16)


def batch_of(kind, rule, arrays, formats, prelude=None):
    """A batch for tensors: `arrays` has for each array its tensors."""
    sizes = [x.numel() for x in arrays[0]]
    where = {"device": "cpu"} if kind is GpuBatch else {}
    batch = kind(rule, formats, sizes, prelude, **where)
    batch.pointers[:] = [[x.data_ptr() for x in tensors] for tensors in arrays]
    batch.keys[:] = np.arange(len(sizes), dtype=np.uint32) * 977
    return batch


def run(batch, numbers, prelude=None):
    row, slots = batch.scalars(numbers, prelude)
    batch.run([row])
    return slots


def stepped(rule, grads, param=None, cut=2, **hyperparameters):
    """The parameter after every step, in tensors of a few elements, and the state at the end."""
    param = torch.zeros_like(grads[0]) if param is None else param
    state, history = start(rule, param), []
    slots = {name: x for name, x in state.items() if isinstance(x, float)}
    elements = [x for x in state.values() if isinstance(x, torch.Tensor)]
    arrays = [[x.clone() for x in whole.split(cut)] for whole in (param, param, *elements)]
    forms = [str(x.dtype).removeprefix("torch.") for x in (param, param, *elements)]
    batch = batch_of(GpuBatch, rule, arrays, forms)
    for step, grad in enumerate(grads, start=1):
        for into, given in zip(arrays[1], grad.split(cut), strict=True):
            into.copy_(given)
        chosen = parse(rule).hyperparameters(step, hyperparameters)
        slots = run(batch, {**chosen, **slots, "step": step})
        history.append(torch.cat(arrays[0]).clone())
    names = batch.lowered.arrays[2:]
    return torch.stack(history), {
        **dict(zip(names, map(torch.cat, arrays[2:]), strict=True)),
        **slots,
    }


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_a_gpu_kernel_is_as_exact_as_its_precision(rule, dtype, bound):
    grads = torch.from_numpy(gradients(60)).to(dtype)
    found, _ = stepped(rule, grads, cut=3)
    assert distance(found.numpy(), reference(rule, grads.numpy())) < bound


@pytest.mark.parametrize("rule", OWN, ids=lambda rule: rule.__name__)
def test_a_rule_as_users_write_them_is_a_gpu_kernel_at_once(rule):
    if unprintable(lower(rule)):
        pytest.skip("takes a power of elements")
    grads = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    param = torch.full((5,), 0.25, dtype=torch.float64)
    wanted, state = param.clone(), start(rule, param)
    for step, grad in enumerate(grads, start=1):
        wanted, state = advance(rule, wanted, grad, state, step)
    found, kept = stepped(rule, grads, param, cut=3)
    assert torch.allclose(found[-1], wanted, rtol=1e-13, atol=0)
    for name, value in state.items():
        assert np.allclose(kept[name], value, rtol=1e-12, atol=1e-300)


FORMATS = [
    ("float32",) * 4,
    ("float64",) * 4,
    ("bfloat16", "bfloat16", "float32", "float32"),
    ("bfloat16, stochastic", "bfloat16", "bfloat16, stochastic", "bfloat16, stochastic"),
    ("float32", "float32", "bfloat16, stochastic", "bfloat16, stochastic"),
    ("float16", "float16", "float32", "float32"),
]


@pytest.mark.parametrize("decay", ["", "l2", "decoupled"])
@pytest.mark.parametrize("formats", FORMATS, ids=lambda formats: "-".join(formats))
def test_it_comes_to_what_the_loop_of_the_processor_comes_to(formats, decay):
    """In every format; stochastic rounding included, which takes the same random bits."""
    results = []
    for kind in (GpuBatch, Batch):
        rng = torch.Generator().manual_seed(0)
        arrays = [
            [torch.randn(n, generator=rng).abs().to(dtype_of(form)) for n in (13, 0, 8, 3)]
            for form in formats
        ]
        batch = batch_of(kind, ADAM, arrays, formats, PRELUDES[decay])
        for step in (5, 6):
            prelude = {"lr": 0.1, "scale": -0.5, "weight_decay": 0.1}
            run(batch, {**parse(ADAM).defaults, "lr": 0.1, "step": step}, prelude)
        results.append(arrays)
    for form, ours, theirs in zip(formats, *results, strict=True):
        for x, y in zip(ours, theirs, strict=True):
            if "float64" in form:
                assert torch.allclose(x, y, rtol=1e-13, atol=0)
            else:  # a processor joins a product and a sum, so the last place may differ
                near = (x.float() - y.float()).abs() <= 2 * torch.finfo(
                    x.dtype
                ).eps * y.float().abs()
                assert near.float().mean() > 0.9 or x.numel() == 0
                assert torch.allclose(x.float(), y.float(), rtol=4 * torch.finfo(x.dtype).eps)


def test_random_bits_are_those_of_the_processor():
    """Halfway between two bfloat16, which way each element goes, in two arrays."""
    formats = ("bfloat16, stochastic", "bfloat16", "bfloat16, stochastic", "bfloat16, stochastic")
    results = []
    for kind in (GpuBatch, Batch):
        arrays = [[torch.ones(200).to(dtype_of(form)) for _ in range(2)] for form in formats]
        batch = batch_of(kind, ADAM, arrays, formats)
        run(batch, {**parse(ADAM).defaults, "lr": 2.0**-9, "step": 1})
        results.append(torch.stack([x for tensors in arrays for x in tensors]))
    assert torch.equal(*results) and 0.1 < (results[0][0] == 1).float().mean() < 0.9


def test_rows_keys_and_missing_gradients():
    """Two rows of scalars, and a tensor without a gradient, which stays as it is."""
    arrays = [[torch.ones(3), torch.ones(9), torch.ones(20)] for _ in range(2)]
    arrays += [[torch.zeros_like(x) for x in arrays[0]] for _ in range(2)]
    batch = batch_of(GpuBatch, ADAM, arrays, ("float32",) * 4)
    batch.pointers[1, 1], batch.rows[:] = 0, [0, 0, 1]
    rows = [batch.scalars({**parse(ADAM).defaults, "lr": lr, "step": 1})[0] for lr in (0.1, 0.5)]
    batch.run(rows)
    assert [x[0].item() for x in arrays[0]] == pytest.approx([0.9, 1.0, 0.5])
    assert (arrays[2][1] == 0).all() and (arrays[2][2] != 0).all()


def test_only_what_has_changed_is_uploaded(monkeypatch):
    uploads = []
    upload = gpu._upload
    monkeypatch.setattr(
        gpu, "_upload", lambda x, device: uploads.append(x.size) or upload(x, device)
    )
    arrays = [[torch.ones(3), torch.ones(9)] for _ in range(4)]
    batch = batch_of(GpuBatch, ADAM, arrays, ("float32",) * 4)
    run(batch, {**parse(ADAM).defaults, "step": 1})
    uploads.clear()
    run(batch, {**parse(ADAM).defaults, "step": 2})
    assert uploads == [len(batch.lowered.needed)], "the numbers of the step"
    moved = [x.clone() for x in arrays[1]]
    batch.pointers[1] = [x.data_ptr() for x in moved]
    uploads.clear()
    run(batch, {**parse(ADAM).defaults, "step": 2})
    assert uploads == [8], "the addresses"


def test_views_that_are_not_aligned():
    base = [torch.zeros(40) for _ in range(4)]
    arrays = [[x[1:12], x[13:36]] for x in base]
    for grad in arrays[1]:
        grad.fill_(1.0)
    run(batch_of(GpuBatch, ADAM, arrays, ("float32",) * 4), {**parse(ADAM).defaults, "step": 1})
    touched = [i for i, x in enumerate(base[0]) if x != 0]
    assert touched == [*range(1, 12), *range(13, 36)]


def test_what_single_precision_does_not_hold_is_computed_in_double():
    found, _ = stepped(ADAM, torch.tensor([[1e-4, 0.0, 3.0]] * 2), eps=1e-50)
    assert found[0].tolist() == pytest.approx([-1e-3, 0.0, -1e-3])


def test_a_gradient_whose_square_overflows_single_precision_is_survived():
    found, state = stepped(ADAM, torch.tensor([[2e19], [1.0], [1.0]]))
    assert found.isfinite().all() and state["v"].isfinite().all()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_number_that_is_none_stays_in_its_element(rule):
    grads = torch.from_numpy(gradients(10)).float()
    clean, _ = stepped(rule, grads, cut=3)
    grads[4, 1] = np.nan
    found, _ = stepped(rule, grads, cut=3)
    assert found[-1, 1].isnan() and torch.equal(found[-1, [0, 2]], clean[-1, [0, 2]])


def test_a_model_of_no_elements():
    arrays = [[torch.ones(0)] for _ in range(4)]
    run(batch_of(GpuBatch, ADAM, arrays, ("float32",) * 4), {**parse(ADAM).defaults, "step": 1})
    assert apart([torch.ones(1)], [torch.ones(1)]) == 0


COMPILED = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adam_nbdev.kernels.gpu import triton_kernel
from adam_nbdev.kernels.lower import lower
from adam_nbdev.rules import RULES

TYPES = {
    "_pointers": "*i64", "_count": "i32", "_tensors": "*i32", "_firsts": "*i64", "_sizes": "*i64",
    "_rows": "*i64", "_scalars": "*fp64", "_keys": "*u32",
    "_aligned": "constexpr", "_block": "constexpr",
}

def compiled(lowered, aligned=True):
    chosen = {"_aligned": aligned, "_block": 2048}
    source = ASTSource(triton_kernel(lowered).elements, TYPES, constexprs=chosen)
    target = GPUTarget("cuda", 90, 32)
    return triton.compile(source, target=target, options={"enable_fp_fusion": True}).asm["ptx"]

for rule in RULES.values():
    lowered = lower(rule)
    wide = re.findall(r"(?:ld|st)\\.global\\.v4", compiled(lowered))
    assert len(wide) % (len(lowered.arrays) + len(lowered.stores)) == 0 < len(wide), rule.__name__
for name in ("adam", "nadam", "rprop"):
    assert compiled(lower(RULES[name], plain=True))
assert not re.findall(r"(?:ld|st)\\.global\\.v", compiled(lower(RULES["adam"]), aligned=False))
for formats in FORMATS:
    assert compiled(lower(RULES["adam"], formats))
"""


@pytest.mark.long
def test_the_compiler_takes_every_rule_and_reads_whole_blocks_in_large_words(tmp_path):
    """For an H100, for which no GPU is needed; four numbers at a time, unless not aligned."""
    script = COMPILED.replace("for formats in FORMATS", f"for formats in {FORMATS}")
    places = {"TRITON_CACHE_DIR": str(tmp_path), "ADAM_NBDEV_KERNELS": str(tmp_path)}
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | places
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# In the optimizer: the bucket of a GPU, for parameters that lie in the memory of the processor


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setitem(plan.KERNELS, "cpu", (GpuBucket, gpu))


def kinds(opt):
    return {type(bucket) for bucket in opt._plan.buckets}


@pytest.mark.parametrize("name", NAMES)
def test_every_class_steps_as_by_the_kernel_of_the_processor(name, monkeypatch):
    """Groups that differ, parameters passed over, a rate that changes, a checkpoint on the way."""
    results = []
    for on_gpu in (False, True):
        if on_gpu:
            monkeypatch.setitem(plan.KERNELS, "cpu", (GpuBucket, gpu))
        params = parameters(shapes=[(9,), (2, 3), (), (0,), (20,)])
        groups = [{"params": params[:2], "lr": 0.1}, {"params": params[2:], "weight_decay": 0.1}]
        more = {} if name in ("Adagrad", "Rprop") else {"maximize": True}
        groups = [{"params": params}] if name == "Rprop" else groups
        make = functools.partial(getattr(optim, name), lr=0.01, **more)
        opt = make(groups)
        train(params, opt, 5)
        assert set(backends(opt)) == {"kernel"}
        assert kinds(opt) == {GpuBucket if on_gpu else KernelBucket}
        kept, opt = saved(opt), make(groups)
        opt.load_state_dict(kept)
        opt.param_groups[0]["lr"] = 0.2
        train(params, opt, 5, first=5)
        results.append((params, states(opt)))
    (wanted, others), (ours, kept) = results
    assert apart(ours, wanted) < 1e-12 and kept.keys() == others.keys()
    assert all(torch.allclose(kept[k], v, rtol=1e-10, atol=1e-14) for k, v in others.items())


def test_clipping_the_guard_and_stochastic_state(as_on_a_gpu):
    results = []
    for module_kind in (GpuBucket, KernelBucket):
        plan.KERNELS["cpu"] = (module_kind, gpu)
        params = parameters(torch.bfloat16)
        opt = optim.AdamW(
            params,
            lr=0.1,
            max_norm=0.5,
            nonfinite="skip",
            state_dtype=torch.bfloat16,
            stochastic_rounding=True,
        )
        train(params, opt, 4)
        params[0].grad.fill_(np.nan)
        opt.step()
        assert opt.skipped == 1 and kinds(opt) == {module_kind}
        results.append(params)
    assert apart(*results) < 0.01


@pytest.mark.parametrize("length", [0.5, 1e9, "nan"])
@pytest.mark.parametrize("name", ["Adam", "SGD", "NAdam"])
def test_clipping_asks_the_host_for_nothing(name, length, monkeypatch):
    """The factor is a tensor from the norm to the table of scalars; nobody makes it a float."""
    results = []
    for kind, module in ((KernelBucket, cache), (GpuBucket, gpu)):
        monkeypatch.setitem(plan.KERNELS, "cpu", (kind, module))
        params = parameters(shapes=[(9,), (2, 3), (0,)])
        options = {"max_norm": 0.5 if length == "nan" else length, "weight_decay": 0.1}
        opt = getattr(optim, name)(params, lr=0.1, **options)
        train(params, opt, 3)
        if length == "nan":
            params[0].grad.view(-1)[0] = np.nan
        with monkeypatch.context() as patch:
            if kind is GpuBucket:
                patch.setattr(torch.Tensor, "__float__", lambda x: pytest.fail("waits"))
                patch.setattr(torch.Tensor, "item", lambda x: pytest.fail("waits"))
            opt.step()
        results.append(params)
    assert apart(*[[p.nan_to_num(7.0) for p in params] for params in results]) < 1e-12


def test_clipping_where_single_precision_does_not_hold_a_number(as_on_a_gpu):
    """The kernel in double takes its scalars in another order."""
    ends = []
    for size, options in ((2.0, {"max_norm": 1.0}), (0.5, {})):
        param = torch.nn.Parameter(torch.zeros(4))
        param.grad = torch.full((4,), size)
        opt = optim.Adam([param], eps=1e-50, **options)
        opt.step()
        assert kinds(opt) == {GpuBucket}
        ends.append(opt.state[param]["exp_avg"])
    assert torch.allclose(*ends) and torch.allclose(ends[1], torch.tensor(0.05))


def test_a_rule_that_triton_cannot_print_takes_calls_on_lists(as_on_a_gpu):
    def cubed(param, grad, step, lr=0.1):
        return param - lr * grad**3

    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.full_like(param, 2.0)
    opt = Optimizer.from_rule(cubed)([param])
    opt.step()
    (told,) = opt.explain_backend()
    assert kinds(opt) == {ListBucket} and "a power of elements" in told.why
    assert param.tolist() == pytest.approx([0.2] * 3)


def test_an_unfinished_launch_is_not_counted(as_on_a_gpu, monkeypatch):
    params = parameters()
    opt = optim.Adam(params)
    train(params, opt, 2)
    before = [x.clone() for x in (*params, *states(opt).values())]

    def fails(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(gpu, "_upload", fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            opt.step()
    assert all(map(torch.equal, before, [*params, *states(opt).values()]))
