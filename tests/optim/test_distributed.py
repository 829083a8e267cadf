"""torch's distributed engines, on processes of this machine, against the run of one process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from harness import distributed_worker as worker
from harness.distributed_worker import (
    CHECKPOINTS,
    HALF,
    RECIPES,
    batches,
    model,
    optimizer,
    train,
    weights,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
        reason="this build of torch has no gloo",
    ),
]
SCRIPT = Path(worker.__file__).resolve()


def launch(size, folder, *scenarios, limit=120):
    """What each of so many processes found in the scenarios. Nothing outlives the limit."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes, logs = [], [folder / f"log{size}-{rank}" for rank in range(size)]
    strict = ["-W", "error", "-W", "ignore:TypedStorage is deprecated"]  # torch 2.7 warns of itself
    try:
        for rank in range(size):
            command = [sys.executable, *strict, SCRIPT, rank, size, folder, *scenarios]
            with logs[rank].open("wb") as log:
                processes.append(
                    subprocess.Popen(list(map(str, command)), env=env, stdout=log, stderr=log)
                )
        end = time.monotonic() + limit
        codes = [p.wait(timeout=max(0.1, end - time.monotonic())) for p in processes]
    finally:
        for p in processes:
            p.kill()
            p.wait()
    assert codes == [0] * size, "\n".join(log.read_text() for log in logs)
    return [torch.load(folder / f"{size}-{rank}.pt", weights_only=True) for rank in range(size)]


TWO = """ddp ddp_views zero fsdp fsdp_no_kernel fsdp_same fsdp_ignored fsdp_nan fsdp_unused pending
refused checkpoint plain""".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def processes(folder):
    return launch(2, folder, *TWO)


@pytest.fixture
def two(processes):
    """A function that gives what both processes found in a scenario."""

    def found(name):
        results = [process[name] for process in processes]
        failures = [x for x in results if isinstance(x, str)]
        assert not failures, "\n".join(failures)
        return results

    return found


def single(recipe, data=None):
    """The weights of a run on the whole batch by torch's own class."""
    data = batches() if data is None else data
    net = model(data[0][0].dtype)
    name, options = RECIPES[recipe]
    options = dict(options)
    longest = options.pop("max_norm", float("inf"))
    opt = getattr(torch.optim, name)(net.parameters(), **options)

    @opt.register_step_pre_hook
    def clip(*_):
        torch.nn.utils.clip_grad_norm_(net.parameters(), longest)

    train(net, opt, data)
    return weights(net)


def ours(recipe, dtype):
    """The weights and the state of a run on the whole batch by our class."""
    net = model(dtype)
    opt = optimizer(net, recipe)
    train(net, opt, batches(dtype))
    return weights(net), worker.state(opt)


PRECISE = [recipe for recipe in RECIPES if recipe != "bfloat16 state"]


def far(xs, ys):
    return max((x - y).abs().max().item() for x, y in zip(xs, ys, strict=True))


def equal(xs, ys):
    return all(torch.equal(x, y) for x, y in zip(xs, ys, strict=True))


def same_state(one, other):
    """Whether two states have the same keys, dtypes and bits."""
    return all(
        a.keys() == b.keys()
        and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)
        for a, b in zip(one, other, strict=True)
    )


def test_the_runs_differ_where_they_should():
    """Else the tests below would say nothing."""
    runs = [single(recipe) for recipe in PRECISE]
    assert min(far(a, b) for i, a in enumerate(runs) for b in runs[:i]) > 1e-5
    half = [(x[: len(x) // 2], y[: len(y) // 2]) for x, y in batches()]
    assert far(single("Adam", half), single("Adam")) > 1e-3


def test_data_parallel_is_the_run_on_the_whole_batch(two):
    one, other = two("ddp")
    assert equal(one, other)
    assert far(one, single("Adam")) < 1e-12


def test_data_parallel_with_bucket_views_and_clipping(two):
    (one, others), (other, _) = two("ddp_views")
    assert equal(one, other) and others == 0
    assert far(one, single("clipped", batches(torch.float32))) < 1e-5


def test_the_zero_redundancy_optimizer(two):
    (one, (owned, module)), (other, (rest, _)) = two("zero")
    assert equal(one, other) and owned + rest == 4 and 0 < owned < 4
    assert module == "adam_nbdev.optim"
    assert far(one, single("Adam")) < 1e-12


@pytest.mark.parametrize("recipe", PRECISE)
def test_sharded_is_the_run_on_the_whole_batch(two, recipe):
    found = [process[recipe] for process in two("fsdp")]
    for one, facts in found:
        assert far(one, single(recipe)) < 1e-12
        assert facts["kernel"] == 4 and facts["others"] == 0
        assert facts["alike"]
        slots = {"AMSGrad": 3, "SGD": 1, "clipped SGD": 0}.get(recipe, 2)
        assert facts["slots"] == 4 * slots
    assert equal(found[0][0], found[1][0])


@pytest.mark.parametrize("recipe", PRECISE)
def test_sharded_without_the_kernel(two, recipe):
    for process in two("fsdp_no_kernel"):
        one, facts = process[recipe]
        assert far(one, single(recipe)) < 1e-12
        assert facts["kernel"] == 0 and facts["others"] == 4 and facts["alike"]


def test_sharded_with_the_same_data_has_the_bits_of_a_single_process(two):
    expected, expected_state = ours("Adam", torch.float32)
    for one, state in two("fsdp_same"):
        assert equal(one, expected)
        assert same_state(state, expected_state)


def test_clipping_counts_sharded_and_other_parameters_together(two):
    for one, launches in two("fsdp_ignored"):
        assert sorted(launches) == [1, 3]
        assert far(one, single("clipped")) < 1e-12


def test_a_nan_on_one_process_stops_the_step_of_all(two):
    for one, skipped in two("fsdp_nan"):
        assert skipped == 1
        assert far(one, single("Adam")) < 1e-12


def test_a_sharded_layer_that_is_frozen_and_thawed(two):
    net = model()
    net[0].requires_grad_(False)
    opt = optimizer(net, "Adam", torch.optim)
    train(net, opt, batches()[:HALF])
    net[0].requires_grad_(True)
    train(net, opt, batches()[HALF:])
    for one, facts in two("fsdp_unused"):
        assert far(one, weights(net)) < 1e-12
        assert facts["kernel"] == 4 and facts["others"] == 0


@pytest.mark.parametrize("recipe", ["Adam", "SGD", "clipped"])
def test_a_gradient_that_is_still_to_be_summed_is_summed(two, recipe):
    name, options = RECIPES[recipe]
    longest = options.get("max_norm", float("inf"))
    param = torch.linspace(-1, 1, 4, dtype=torch.float64).requires_grad_()
    options = {k: v for k, v in options.items() if k != "max_norm"}
    opt = getattr(torch.optim, name)([param], **options)
    for step in range(1, worker.STEPS + 1):
        param.grad = torch.full((4,), 1.0 / step + 2.0 / step, dtype=torch.float64)
        torch.nn.utils.clip_grad_norm_([param], longest)
        opt.step()
    one, other = (process[recipe] for process in two("pending"))
    assert torch.equal(one, other)
    assert far([one], [param.detach()]) < 1e-12


def test_what_is_spread_otherwise_than_its_parameter_is_refused(two):
    for errors, old, new in two("refused"):
        assert [e.partition(":")[0] for e in errors] == ["ValueError"] * 2 + ["RuntimeError"] * 2
        assert all("torch.distributed.checkpoint" in e for e in errors[:2])
        assert all("nothing was changed" in e for e in errors[2:])
        assert equal(old, new)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_continues_with_the_same_bits_on_as_many_processes(two, name):
    for process in two("checkpoint"):
        straight, resumed, saved, restored, facts, rates = process[name]
        assert same_state(saved, restored)
        assert equal(straight, resumed)
        assert facts["kernel"] == 4 and facts["others"] == 0 and facts["alike"]
        assert rates == [RECIPES[CHECKPOINTS[name][0]][1]["lr"]]
        if name == "low":
            assert restored[0]["exp_avg"].dtype == torch.bfloat16


def continues(name, after, restored, saved):
    """Check a run that loaded what two processes saved, against one that was never interrupted."""
    recipe, dtype, _ = CHECKPOINTS[name]
    assert same_state(restored, saved)
    expected, _ = ours(recipe, dtype)
    if dtype == torch.float64:
        assert far(after, expected) < 1e-12
    elif name == "low":  # the random numbers belong to the elements of a process
        assert far(after, expected) < 5e-3
    else:
        assert equal(after, expected)


def test_a_sharded_state_in_plain_form_is_whole_and_goes_on(two):
    net = model()
    opt = optimizer(net, "Adam", torch.optim)
    train(net, opt, batches()[:HALF])
    names = dict(net.named_parameters())
    for after, slots in two("plain"):
        assert far(after, single("Adam")) < 1e-12
        for name, own in slots.items():
            kept = opt.state[names[name]]
            found = own["m"], own["v"], own["step"]
            assert far(found, (kept["exp_avg"], kept["exp_avg_sq"], kept["step"])) < 1e-12
            assert own["m"].shape == names[name].shape


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_of_two_processes_continues_on_one(two, folder, name):
    recipe, dtype, flat = CHECKPOINTS[name]
    saved = two("checkpoint")[0][name][2]
    net = model(dtype, seed=1)
    opt = optimizer(net, recipe, lr=0.7)
    worker.load(net, opt, folder / name, flat, no_dist=True)
    restored = worker.state(opt)
    train(net, opt, batches(dtype)[HALF:])
    continues(name, weights(net), restored, saved)


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_continues_on_four(two, folder):
    saved = two("checkpoint")[0]
    for process in launch(4, folder, "resume"):
        found = process["resume"]
        assert not isinstance(found, str), found
        for name, (after, restored, facts) in found.items():
            continues(name, after, restored, saved[name][2])
            assert facts["kernel"] == 4 and facts["others"] == 0 and facts["alike"]
