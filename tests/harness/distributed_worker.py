"""What one process of `test_distributed.py` does.

Its arguments are its rank, the number of processes, a folder and scenarios. Every scenario
returns what it found, as tensors and plain values; all of it is stored in the folder. A scenario
that fails leaves its traceback there instead. The tests import the model, the data and the
optimizers from here, for the run of a single process.
"""

import collections
import datetime
import faulthandler
import os
import sys
import traceback
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from adam_nbdev import optim
from adam_nbdev.conformance.checkpoint import from_plain, to_plain

#: Class and options; `max_norm` is ours alone.
RECIPES = {
    "Adam": ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    "AMSGrad": ("Adam", {"lr": 0.01, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    "SGD": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    "clipped": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "max_norm": 0.3}),
    "clipped SGD": ("SGD", {"lr": 0.05, "max_norm": 0.3}),
    "bfloat16 state": ("Adam", {"lr": 0.01, "state_dtype": torch.bfloat16}),
}
STEPS, HALF, EXAMPLES = 10, 5, 8


def model(dtype=torch.float64, seed=0):
    """A network whose tensors do not divide by 2 or 4; most processes get none of the last bias."""
    torch.manual_seed(seed)
    layers = torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1)
    return torch.nn.Sequential(*layers).to(dtype)


def batches(dtype=torch.float64):
    chance = torch.Generator().manual_seed(1)
    x, y = (torch.randn(STEPS, EXAMPLES, n, generator=chance) for n in (5, 1))
    return list(zip(x.to(dtype), y.to(dtype), strict=True))


def optimizer(net, recipe, library=optim, **more):
    name, options = RECIPES[recipe]
    return getattr(library, name)(net.parameters(), **{**options, **more})


def train(net, opt, data, part=slice(None)):
    for x, y in data:
        opt.zero_grad()
        ((net(x[part]) - y[part]) ** 2).mean().backward()
        opt.step()


def whole(tensor):
    """A tensor, gathered from all processes if it is distributed."""
    tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return tensor.detach().clone()


def weights(net):
    return [whole(p) for p in net.parameters()]


def state(opt):
    """The state of every parameter, gathered."""
    return [
        {key: whole(value) for key, value in opt.state[p].items()}
        for group in opt.param_groups
        for p in group["params"]
    ]


def backends(opt):
    """The backend of every parameter."""
    return [row.backend for row in opt.explain_backend()]


def facts(opt):
    """How many parameters take the kernel, and whether the state is spread as they are."""
    params = [p for group in opt.param_groups for p in group["params"]]
    slots = [(p, x) for p in params for key, x in opt.state[p].items() if key != "step"]
    return {
        "kernel": backends(opt).count("kernel"),
        "others": backends(opt).count("tensors"),
        "slots": len(slots),
        "alike": all(
            type(x) is type(p)
            and x.placements == p.placements
            and x.to_local().shape == p.to_local().shape
            for p, x in slots
        ),
    }


def part(rank, size):
    return slice(rank * EXAMPLES // size, (rank + 1) * EXAMPLES // size)


def sharded(net, **options):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if not options:
        fully_shard(net[0], mesh=mesh)
    return fully_shard(net, mesh=mesh, **options)


def save(net, opt, folder, flat=False):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    names = get_state_dict(net, opt, options=options)
    dcp.save(dict(zip(("model", "optimizer"), names, strict=True)), checkpoint_id=folder)


def load(net, opt, folder, flat=False, **how):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    names = get_state_dict(net, opt, options=options)
    found = dict(zip(("model", "optimizer"), names, strict=True))
    dcp.load(found, checkpoint_id=folder, **how)
    states = {"model_state_dict": found["model"], "optim_state_dict": found["optimizer"]}
    set_state_dict(net, opt, **states, options=options)


# scenarios


def ddp(rank, size, folder):
    """Each process has its part of the batch."""
    net = torch.nn.parallel.DistributedDataParallel(model())
    train(net, optimizer(net, "Adam"), batches(), part(rank, size))
    return weights(net)


def ddp_views(rank, size, folder):
    """In single precision; the gradients are views into the buckets; clipped."""
    net = model(torch.float32)
    net = torch.nn.parallel.DistributedDataParallel(net, gradient_as_bucket_view=True)
    opt = optimizer(net, "clipped")
    train(net, opt, batches(torch.float32), part(rank, size))
    return weights(net), backends(opt).count("tensors")


def zero(rank, size, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of torch.jit.script
        from torch.distributed.optim import ZeroRedundancyOptimizer

    net = torch.nn.parallel.DistributedDataParallel(model())
    name, options = RECIPES["Adam"]
    kind = getattr(optim, name)
    opt = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=kind, **options)
    train(net, opt, batches(), part(rank, size))
    return weights(net), [len(opt.optim.state), type(opt.optim).__module__]


def fsdp(rank, size, folder, recipes=RECIPES, **more):
    """Each process has its part of the batch, of the parameters and of their state."""
    found = {}
    for recipe in recipes:
        net = sharded(model())
        opt = optimizer(net, recipe, **more)
        train(net, opt, batches(), part(rank, size))
        found[recipe] = weights(net), facts(opt)
    return found


def fsdp_no_kernel(rank, size, folder):
    """The same, without the kernel."""
    recipes = [r for r in RECIPES if r != "bfloat16 state"]
    return fsdp(rank, size, folder, recipes, backend="tensors")


def fsdp_same(rank, size, folder):
    """All processes have the whole batch, so that the mean of their gradients is exact."""
    net = sharded(model(torch.float32))
    opt = optimizer(net, "Adam")
    train(net, opt, batches(torch.float32))
    return weights(net), state(opt)


def fsdp_ignored(rank, size, folder):
    """Clipped, with a parameter that is not distributed, whose gradient is the same everywhere."""
    net = model()
    sharded(net, ignored_params={net[2].weight})
    opt = optimizer(net, "clipped")
    train(net, opt, batches())
    members = collections.Counter(row.launch for row in opt.explain_backend())
    return weights(net), list(members.values())


def fsdp_nan(rank, size, folder):
    """One process finds a NaN in its part of a gradient; all leave the step out."""
    net = sharded(model())
    opt = optimizer(net, "Adam", nonfinite="skip")
    train(net, opt, batches()[:HALF], part(rank, size))
    for param in net.parameters():
        param.grad = torch.ones_like(param)
    if rank == 1:
        net[0].weight.grad.to_local()[0, 0] = float("nan")
    opt.step()
    train(net, opt, batches()[HALF:], part(rank, size))
    return weights(net), opt.skipped


def fsdp_unused(rank, size, folder):
    """A frozen layer, which is thawed after half of the steps."""
    net = sharded(model())
    net[0].requires_grad_(False)
    opt = optimizer(net, "Adam")
    train(net, opt, batches()[:HALF])
    net[0].requires_grad_(True)
    train(net, opt, batches()[HALF:])
    return weights(net), facts(opt)


def pending(rank, size, folder):
    """Copies of a parameter whose gradient is a sum over the processes that nobody took yet."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor

    mesh, found = init_device_mesh("cpu", (size,)), {}
    for recipe in ("Adam", "SGD", "clipped"):
        name, options = RECIPES[recipe]
        start = torch.linspace(-1, 1, 4, dtype=torch.float64)
        param = torch.nn.Parameter(distribute_tensor(start, mesh, [Replicate()]))
        opt = getattr(optim, name)([param], **options)
        for step in range(1, STEPS + 1):
            ours = torch.full((4,), (rank + 1.0) / step, dtype=torch.float64)
            param.grad = DTensor.from_local(ours, mesh, [Partial()])
            opt.step()
        found[recipe] = param.to_local().detach().clone()
    return found


def refused(rank, size, folder):
    """States and gradients of the wrong kind: the errors, and what they changed."""
    whole_net, net, errors = model(), sharded(model()), []
    whole_opt, opt = optimizer(whole_net, "Adam"), optimizer(net, "Adam")
    train(whole_net, whole_opt, batches()[:1])
    train(net, opt, batches()[:1])
    old = [*weights(net), *weights(whole_net), *(x["exp_avg"] for x in state(opt))]
    param, whole_param = net[0].weight, whole_net[0].weight
    for attempt in (
        lambda: opt.load_state_dict(whole_opt.state_dict()),
        lambda: whole_opt.load_state_dict(opt.state_dict()),
        lambda: (setattr(param, "grad", torch.ones(7, 5, dtype=torch.float64)), opt.step()),
        lambda: (setattr(whole_param, "grad", param.detach().clone()), whole_opt.step()),
    ):
        try:
            attempt()
        except (ValueError, RuntimeError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            errors.append("none")
    new = [*weights(net), *weights(whole_net), *(x["exp_avg"] for x in state(opt))]
    return errors, old, new


def checkpoint(rank, size, folder):
    """Half of the steps, saved; then the rest by the same optimizer, and by one that loads."""
    found = {}
    for name, (recipe, dtype, flat) in CHECKPOINTS.items():
        data, mine = batches(dtype), part(rank, size)
        if dtype == torch.float32:
            mine = slice(None)
        net = sharded(model(dtype))
        opt = optimizer(net, recipe)
        train(net, opt, data[:HALF], mine)
        save(net, opt, folder / name, flat)
        saved = state(opt)
        train(net, opt, data[HALF:], mine)
        new = sharded(model(dtype, seed=1))
        loaded = optimizer(new, recipe, lr=0.7)
        load(new, loaded, folder / name, flat)
        restored = state(loaded)
        train(new, loaded, data[HALF:], mine)
        rates = [group["lr"] for group in loaded.param_groups]
        found[name] = weights(net), weights(new), saved, restored, facts(loaded), rates
    return found


def plain(rank, size, folder):
    """Half of the steps; then the rest by another class, which is given the state by names."""
    net = sharded(model())
    opt = optimizer(net, "Adam")
    train(net, opt, batches()[:HALF], part(rank, size))
    state = to_plain(opt, net)
    new = sharded(model(seed=1))
    with torch.no_grad():
        for param, other in zip(new.parameters(), net.parameters(), strict=True):
            param.copy_(other)
    loaded = from_plain(state, optimizer(new, "Adam", torch.optim), new)
    train(new, loaded, batches()[HALF:], part(rank, size))
    slots = {
        n: {slot: torch.tensor(x) for slot, x in own.items()} for n, own in state.slots.items()
    }
    return weights(new), slots


#: Recipe, precision, whether the state of the optimizer is flat. In single precision all
#: processes have the whole batch.
CHECKPOINTS = {
    "adam": ("AMSGrad", torch.float64, False),
    "same": ("Adam", torch.float32, True),
    "same_sgd": ("SGD", torch.float32, False),
    "low": ("bfloat16 state", torch.float32, False),
}


def resume(rank, size, folder):
    """Load what other processes saved, and go on."""
    found = {}
    for name, (recipe, dtype, flat) in CHECKPOINTS.items():
        net = sharded(model(dtype, seed=1))
        opt = optimizer(net, recipe, lr=0.7)
        load(net, opt, folder / name, flat)
        restored = state(opt)
        mine = part(rank, size) if dtype == torch.float64 else slice(None)
        train(net, opt, batches(dtype)[HALF:], mine)
        found[name] = weights(net), restored, facts(opt)
    return found


def main(rank, size, folder, *names):
    rank, size, folder = int(rank), int(size), Path(folder)
    faulthandler.dump_traceback_later(100, exit=True)
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous{size}",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=30),
    )
    found = {}
    for name in names:
        try:
            found[name] = globals()[name](rank, size, folder)
        except Exception:
            found[name] = traceback.format_exc()
    torch.save(found, folder / f"{size}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
