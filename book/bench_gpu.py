"""Check the kernel for a GPU against fifty digits on the GPU at hand, and measure it beside torch.

The result is put into book/bench_gpu.json, under the name of the card. Times are of steps on the
card, between events of its stream, and of the host, until the call returns; all methods in turns,
medians. A step that is recorded as a CUDA graph is checked and measured besides. Without a GPU,
`--rehearse` runs it through Triton's interpreter, on tiny models, and writes nothing.
"""

import argparse
import datetime
import json
import os
import random
import sys
import time
from pathlib import Path

if "--rehearse" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench import SHAPES, parameters
from harness.cases import distance, gradients, reference

from adam_nbdev import __version__, optim
from adam_nbdev.kernels import gpu
from adam_nbdev.optim import plan
from adam_nbdev.optim.optimizer import Optimizer
from adam_nbdev.optim.ways import GpuBucket, GraphBucket
from adam_nbdev.rules import RULES

RESULT = Path(__file__).resolve().parent / "bench_gpu.json"
LARGEST = {"one tensor of 1 G": [(1_000_000_000,)]}
TINY = {"one tensor": [(5000,)], "many": [(3,)] * 20}


def recorded(step, device):
    """A step as a CUDA graph, to be repeated; without a GPU the step itself."""
    if device.type != "cuda":
        return step
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def checks(device, names=RULES):
    """The distance of rules from fifty digits on the device, in both precisions and ways."""
    found = {}
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 2e-6)):
        for name in names:
            rule = RULES[name]
            grads = torch.from_numpy(gradients()).to(dtype)
            right = reference(rule, grads.numpy())
            for kind in (GpuBucket, GraphBucket):
                apart = distance(path(rule, grads.to(device), kind), right)
                told = f"{name}, {dtype}, {kind.__name__}"
                assert apart < bound, f"{told} is {apart:.1e} from fifty digits"
                found[told] = float(apart)
    return found


def path(rule, grads, kind):
    """The parameter after every step by that kind of bucket; recorded after the first, or not."""
    param, found = torch.nn.Parameter(torch.zeros_like(grads[0])), []
    opt = Optimizer.from_rule(rule)([param], capturable=kind is GraphBucket)
    param.grad, step = torch.zeros_like(param), opt.step
    for grad in grads:
        param.grad.copy_(grad)
        if kind is GraphBucket and len(found) == 1:
            step = recorded(opt.step, param.device)
        step()
        found.append(param.detach().cpu().clone())
    assert {type(bucket) for bucket in opt._plan.buckets} == {kind}
    return torch.stack(found).numpy()


def timed(method, device):
    """Seconds on the device, and until the host went on."""
    if device.type != "cuda":
        before = time.perf_counter()
        method()
        return (time.perf_counter() - before,) * 2
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before = time.perf_counter()
    begin.record()
    method()
    host = time.perf_counter() - before
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3, host


def turns(methods, count, device):
    """Median milliseconds of each method over so many turns: on the device, and of the host."""
    for method in methods.values():
        for _ in range(3):
            method()
    order, times = list(methods.items()), {name: [] for name in methods}
    shuffle = random.Random(0).shuffle
    for _ in range(count):
        shuffle(order)
        for name, method in order:
            times[name].append(timed(method, device))
    medians = {name: 1e3 * np.median(found, axis=0) for name, found in times.items()}
    return {name: {"step": float(ms[0]), "host": float(ms[1])} for name, ms in medians.items()}


def steps(shapes, device, count):
    """One step by torch's ways and by ours, and a copy of as many bytes as a step moves."""
    params = [torch.nn.Parameter(p.detach().to(device)) for p in parameters(shapes)]
    for param in params:
        param.grad = torch.randn_like(param)
    size = sum(p.numel() for p in params)
    a, b = torch.zeros((2, min(size, 2**28)), device=device)
    on_gpu = device.type == "cuda"
    methods = {
        "torch, foreach": torch.optim.Adam(params, foreach=True).step,
        "torch, fused": torch.optim.Adam(params, fused=True).step,
        "ours": optim.Adam(params).step,
        "ours, state in bfloat16": optim.Adam(params, state_dtype=torch.bfloat16).step,
        "ours, clip and step": optim.Adam(params, max_norm=1.0).step,
        "ours, without a kernel": optim.Adam(params, backend="tensors").step,
        "ours, capturable": optim.Adam(params, capturable=True).step,
        "copy": lambda: a.copy_(b),
    }
    fused = torch.optim.Adam(params, fused=True)

    def clip_and_step():
        torch.nn.utils.clip_grad_norm_(params, 1e9)  # whose factor is 1: gradients stay
        fused.step()

    methods["torch, clip and fused"] = clip_and_step
    graphs = {
        "torch, fused, recorded": torch.optim.Adam(params, fused=True, capturable=on_gpu).step,
        "ours, recorded": optim.Adam(params, capturable=True).step,
    }
    for name, step in graphs.items():
        step()  # makes the state, which no graph can
        methods[name] = recorded(step, device)
    found = turns(methods, count, device)
    moved = {"a step": 28 * size, "the copy": 8 * a.numel()}
    return {"tensors": len(shapes), "size": size, "bytes": moved, "ms": found}


def rate(found):
    """GB/s of our step and of the copy."""
    ms, moved = found["ms"], found["bytes"]
    return moved["a step"] / ms["ours"]["step"] / 1e6, moved["the copy"] / ms["copy"]["step"] / 1e6


def main(rehearse):
    if not rehearse and not torch.cuda.is_available():
        sys.exit("No GPU that torch knows is here. --rehearse tries the program without one.")
    if problem := gpu.obstacle():
        sys.exit(problem)
    device = torch.device("cpu" if rehearse else "cuda")
    if rehearse:
        plan.KERNELS["cpu"] = GpuBucket, gpu
    torch.manual_seed(0)
    found = checks(device, ("adam", "nadam") if rehearse else RULES)  # the tests try all
    print(f"{len(found)} runs within their bounds of fifty digits", flush=True)
    result = {"date": datetime.date.today().isoformat(), "torch": torch.__version__}
    result |= {"triton": gpu.require("triton").__version__, "adam_nbdev": __version__, "steps": {}}
    for name, shapes in (TINY if rehearse else SHAPES | LARGEST).items():
        result["steps"][name] = one = steps(shapes, device, 3 if rehearse else 51)
        ms, (ours, copied) = one["ms"], rate(one)
        print(
            f"{name:24} step {ms['ours']['step']:8.3f} ms, host {ms['ours']['host']:7.3f};"
            f" fused {ms['torch, fused']['step']:8.3f}, host {ms['torch, fused']['host']:7.3f};"
            f" recorded {ms['ours, recorded']['step']:.3f},"
            f" fused {ms['torch, fused, recorded']['step']:.3f};"
            f" {ours:.0f} GB/s of {copied:.0f}",
            flush=True,
        )
    if not rehearse:
        records = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        records[torch.cuda.get_device_name()] = result
        RESULT.write_text(json.dumps(records, indent=1) + "\n")
        print(f"written to {RESULT}")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rehearse", action="store_true", help="try it without a GPU")
    main(asked.parse_args().rehearse)
