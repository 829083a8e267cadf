"""Measure how fast a step is, beside torch and NumPy, and write the result to book/bench.json.

The file has a record for each processor; that of the processor at hand is measured anew. All
methods of a comparison run in one process, in turns, on the same tensors, and in another order in
each turn: whoever comes after its like finds the caches warm. What is written is the median over
the turns. A number is worth something only beside the others of its run.
"""

import datetime
import json
import os
import platform
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch

from adam_nbdev import __version__, optim
from adam_nbdev.kernels.choice import processor
from adam_nbdev.kernels.cpu import Batch, step_inplace
from adam_nbdev.language.rule import parse
from adam_nbdev.optim.optimizer import Optimizer
from adam_nbdev.readers.arrays import start
from adam_nbdev.rules import RULES, adam

RESULT = Path(__file__).resolve().parent / "bench.json"


def resnet50():
    """The shapes of the parameters of ResNet-50."""
    shapes, width = [(64, 3, 7, 7), (64,), (64,)], 64
    for planes, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            convolutions = [
                (planes, width, 1, 1),
                (planes, planes, 3, 3),
                (4 * planes, planes, 1, 1),
            ]
            convolutions += [(4 * planes, width, 1, 1)] if block == 0 else []
            shapes += [s for c in convolutions for s in (c, c[:1], c[:1])]
            width = 4 * planes
    return [*shapes, (1000, width), (1000,)]


def gpt2():
    """The shapes of the parameters of GPT-2 small."""
    d, shapes = 768, [(50257, 768), (1024, 768)]
    for _ in range(12):
        shapes += [(d,), (d,), (d, 3 * d), (3 * d,), (d, d), (d,)]
        shapes += [(d,), (d,), (d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    return [*shapes, (d,), (d,)]


def mobilenet():
    """Shapes like those of a narrow MobileNetV2: many tensors, few numbers."""
    shapes, width = [(16, 3, 3, 3), (16,), (16,)], 16
    for out, blocks in ((16, 1), (24, 2), (32, 3), (48, 4), (64, 3), (96, 3), (128, 1)):
        for _ in range(blocks):
            middle = 6 * width
            for c in ((middle, width, 1, 1), (middle, 1, 3, 3), (out, middle, 1, 1)):
                shapes += [c, c[:1], c[:1]]
            width = out
    return [*shapes, (512, width, 1, 1), (1000, 512)]


SHAPES = {
    "GPT-2 small": gpt2(),
    "ResNet-50": resnet50(),
    "one tensor of 32 M": [(32_000_000,)],
    "MLP": [(1000, 784), (1000,), (1000, 1000), (1000,), (10, 1000), (10,)],
    "MobileNet-like": mobilenet(),
    "1,000 tensors of 1,000": [(1000,)] * 1000,
}


def turns(methods, count):
    """The median time of each method, in milliseconds, over so many turns of all of them."""
    for method in methods.values():
        method(), method()
    times, shuffle = {name: [] for name in methods}, random.Random(0).shuffle
    order = list(methods.items())
    for _ in range(count):
        shuffle(order)
        for name, method in order:
            before = time.perf_counter()
            method()
            times[name].append(time.perf_counter() - before)
    return {name: 1e3 * float(np.median(found)) for name, found in times.items()}


def parameters(shapes):
    params = [torch.nn.Parameter(0.1 * torch.randn(shape)) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def many(size):
    return 31 if size > 10**7 else 101 if size > 10**5 else 301


def steps(shapes):
    """One step by torch's three ways and by ours; and what the memory needs for it."""
    params = parameters(shapes)
    size = sum(p.numel() for p in params)
    a, b = torch.zeros(size), torch.ones(size)
    adams = {
        "torch, for-loop": torch.optim.Adam(params, foreach=False),
        "torch, foreach": torch.optim.Adam(params, foreach=True),
        "torch, fused": torch.optim.Adam(params, fused=True),
        "ours": optim.Adam(params),
        "ours, state in bfloat16": optim.Adam(params, state_dtype=torch.bfloat16),
        "ours, without a kernel": optim.Adam(params, backend="tensors"),
    }
    methods = {name: opt.step for name, opt in adams.items()}
    methods["in-place add"] = lambda: a.add_(b)
    clipped, fused = optim.Adam(params, max_norm=1.0), torch.optim.Adam(params, fused=True)

    def clip_and_step():
        torch.nn.utils.clip_grad_norm_(params, 1e9)  # whose factor is 1: gradients stay
        fused.step()

    methods |= {"torch, clip and fused": clip_and_step, "ours, clip and step": clipped.step}
    for name in methods:
        for _ in range(16 * name.startswith("ours")):  # until the kernel has made its choice
            methods[name]()
    found = turns(methods, many(size))
    return {"tensors": len(shapes), "size": size, "ms": found}


def growth():
    """One tensor of 10^3 to 10^8 numbers, by torch's fused way and by ours."""
    found = {}
    for power in range(3, 9):
        params = parameters([(10**power,)])
        a, b = torch.zeros(10**power), torch.ones(10**power)
        fused, ours = torch.optim.Adam(params, fused=True), optim.Adam(params)
        methods = {"torch, fused": fused.step, "ours": ours.step, "in-place add": lambda: a.add_(b)}  # noqa: B023
        found[10**power] = turns(methods, many(10**power))
    return found


def training():
    """A whole iteration, forward, backward and step, of a small and a large MLP."""
    found = {}
    for name, width, batch in (("small", 64, 32), ("large", 2048, 64)):
        torch.manual_seed(0)
        hidden = [
            layer for _ in range(4) for layer in (torch.nn.Linear(width, width), torch.nn.ReLU())
        ]
        model = torch.nn.Sequential(*hidden, torch.nn.Linear(width, 10))
        x = torch.randn(batch, width)

        def iteration(opt, model=model, x=x):
            opt.zero_grad()
            model(x).square().mean().backward()
            opt.step()

        params = list(model.parameters())
        both = {"torch, fused": torch.optim.Adam(params, fused=True), "ours": optim.Adam(params)}
        methods = {way: lambda opt=opt: iteration(opt) for way, opt in both.items()}
        methods["our step"] = both["ours"].step
        found[name] = turns(methods, 51)
    return found


def rules(size=8_000_000):
    """Every rule by its kernel, and the bytes that its step must move."""
    params, found = parameters([(size,)]), {}
    methods, moved = {}, {}
    for name, rule in RULES.items():
        opt = Optimizer.from_rule(rule)(params, lr=1e-6)
        opt.step()
        slots = sum(slot.per == "element" for slot in parse(rule).slots.values())
        methods[name], moved[name] = opt.step, 4 * (3 + 2 * slots)
    for name, ms in turns(methods, 11).items():
        found[name] = {"ms": ms, "bytes": moved[name], "GB/s": moved[name] * size / ms / 1e6}
    return found


def tensor_slots():
    """Adam, and every rule with a slot per tensor, on 1,000 tensors of 1,000."""
    params = parameters(SHAPES["1,000 tensors of 1,000"])
    per = {name: {slot.per for slot in parse(rule).slots.values()} for name, rule in RULES.items()}
    chosen = [name for name in RULES if name == "adam" or "tensor" in per[name]]
    made = {name: Optimizer.from_rule(RULES[name])(params, lr=1e-6) for name in chosen}
    return turns({name: opt.step for name, opt in made.items()}, 301)


def arrays(size=1_000_000):
    """NumPy: the textbook expression, the best in place, and the kernel."""
    rng = np.random.default_rng(0)
    param, grad = rng.normal(size=(2, size)).astype(np.float32)
    m, v, scratch = (np.zeros(size, np.float32) for _ in range(3))
    step, state = [0], start(adam, param)

    def textbook(lr=1e-6, b1=0.9, b2=0.999, eps=1e-8):
        nonlocal m, v, param
        step[0] += 1
        m = b1 * m + (1 - b1) * grad
        v = b2 * v + (1 - b2) * grad**2
        m_hat, v_hat = m / (1 - b1 ** step[0]), v / (1 - b2 ** step[0])
        param = param - lr * m_hat / (np.sqrt(v_hat) + eps)

    n, w, root = (np.zeros(size, np.float32) for _ in range(3))

    def in_place(lr=1e-6, b1=0.9, b2=0.999, eps=1e-8):
        step[0] += 1
        correction = (1 - b2 ** step[0]) ** 0.5
        np.subtract(grad, n, out=scratch)
        np.multiply(scratch, 1 - b1, out=scratch)
        np.add(n, scratch, out=n)
        np.multiply(grad, grad, out=scratch)
        np.subtract(scratch, w, out=scratch)
        np.multiply(scratch, 1 - b2, out=scratch)
        np.add(w, scratch, out=w)
        np.sqrt(w, out=root)
        np.add(root, eps * correction, out=root)
        np.divide(n, root, out=scratch)
        np.multiply(scratch, lr * correction / (1 - b1 ** step[0]), out=scratch)
        np.subtract(param, scratch, out=param)

    def kernel():
        step[0] += 1
        step_inplace(adam, param, grad, state, step[0], lr=1e-6)

    with np.errstate(all="ignore"):
        return turns({"textbook": textbook, "in place": in_place, "kernel": kernel}, 101)


def ahead(size=32_000_000):
    """The time of a kernel that asks for memory ahead of time, and of one that does not."""
    param, grad = torch.randn(2, size)
    numbers = {**parse(adam).defaults, "step": 1, "lr": 1e-6}
    methods = {}
    for form in ("float32", "bfloat16, stochastic"):
        dtype = getattr(torch, form.split(",")[0])
        slots = [torch.zeros(size, dtype=dtype) for _ in range(2)]
        for name in ("asked", "not asked"):
            batch = Batch(adam, ("float32", "float32", form, form), [size])
            batch.choice.forced = name == "asked"
            batch.pointers[:] = [[x.data_ptr()] for x in (param, grad, *slots)]
            row, _ = batch.scalars(numbers)
            methods[f"{form.split(',')[0]}, {name}"] = lambda b=batch, s=slots, r=row: b.run([r])
    return turns(methods, 21)


def threads(size=32_000_000):
    """The time of our step on 1, 2, ... threads."""
    params, most = parameters([(size,)]), torch.get_num_threads()
    opt, methods = optim.Adam(params), {}
    for count in sorted({1, 2, most}):
        methods[count] = lambda count=count: (torch.set_num_threads(count), opt.step())
    found = turns(methods, 21)
    torch.set_num_threads(most)
    return found


def memory(size=32_000_000):
    """By how much the process grows during a step, beyond parameters, gradients and state."""

    def resident(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    params = parameters([(size,)])
    methods = {
        "ours": optim.Adam(params),
        "torch, fused": torch.optim.Adam(params, fused=True),
        "torch, foreach": torch.optim.Adam(params, foreach=True),
    }
    found = {"size": size}
    for name, opt in methods.items():
        opt.step()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
        opt.step()
        found[name] = resident("VmHWM") - before
    return found


def roof(size=16_000_000):
    """How much the memory moves and how much the processor computes: GB/s, and 10^9 a second."""
    a, b, matrix = torch.zeros(size), torch.ones(size), torch.rand(1024, 1024)
    ms = turns({"add": lambda: a.add_(b), "product": lambda: matrix @ matrix}, 21)
    return {"memory": 12 * size / ms["add"] / 1e6, "arithmetic": 2 * 1024**3 / ms["product"] / 1e6}


def machine():
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "adam_nbdev": __version__,
    }


def main():
    torch.manual_seed(0)
    result = {"machine": machine(), "roof": roof(), "memory": memory(), "steps": {}}
    for name, shapes in SHAPES.items():
        result["steps"][name] = found = steps(shapes)
        ms = found["ms"]
        limit = ms["in-place add"] * 28 / 12
        print(
            f"{name:24}{found['tensors']:5} tensors {found['size'] / 1e6:7.2f} M"
            f"  ours {ms['ours']:8.3f} ms, of the limit {limit / ms['ours']:.2f};"
            f" to fused {ms['torch, fused'] / ms['ours']:.2f},"
            f" bfloat16 state {ms['torch, fused'] / ms['ours, state in bfloat16']:.2f},"
            f" clipped {ms['torch, clip and fused'] / ms['ours, clip and step']:.2f}",
            flush=True,
        )
    for name, part in (
        ("growth", growth),
        ("training", training),
        ("rules", rules),
        ("tensor slots", tensor_slots),
        ("numpy", arrays),
        ("ahead", ahead),
        ("threads", threads),
    ):
        result[name] = part()
        print(name, json.dumps(result[name]), flush=True)
    records = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    records[processor()] = result
    RESULT.write_text(json.dumps(dict(sorted(records.items())), indent=1) + "\n")
    print(f"written to {RESULT}")


if __name__ == "__main__":
    sys.exit(main())
