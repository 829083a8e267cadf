"""Threads, forks, and processes of one thread: every script runs alone, under a time limit."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

HEAD = """
import copy, faulthandler, os, sys, threading
faulthandler.dump_traceback_later({limit}, exit=True)
import torch
from adam_nbdev.kernels import cpu
from adam_nbdev.optim import Adam, SGD

{launcher}
torch.set_num_threads(2)
BIG = 300_000  # elements: enough for four pieces, so that a step takes all threads

def start(seed=0):
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(BIG, generator=chance).requires_grad_()

def grad(step):
    return torch.randn(BIG, generator=torch.Generator().manual_seed(100 + step))

def steps(param, opt, first, last):
    for step in range(first, last):
        param.grad = grad(step)
        opt.step()
        assert [(row.backend, row.launch) for row in opt.explain_backend()] == [("kernel", 0)]

def alone(seed=0, last=6):
    param = start(seed)
    steps(param, Adam([param], lr=0.1, weight_decay=0.1), 0, last)
    return param.detach()

def count():
    '''The number of threads of this process, where it can be known.'''
    return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1

def wait(pid, limit=30):
    '''The exit status of a child; it is killed when the time is over.'''
    import signal, time
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "it hung"

def child(work):
    '''What a forked child exits with: 0 if its work gives a true value.'''
    pid = os.fork()
    if not pid:
        code = 2
        try:
            code = 0 if work() else 1
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return wait(pid)
"""
LAUNCHERS = {"openmp": "", "pool": "cpu._openmp = lambda: None"}


@pytest.fixture(params=LAUNCHERS)
def run(request, tmp_path):
    """A function that runs a script on the threads of torch's OpenMP, or on ours; its output."""
    if request.param == "openmp" and sys.platform != "linux":
        pytest.skip("torch's OpenMP is looked for on Linux only")

    def run(script, limit=60, **env):
        file = tmp_path / "script.py"
        file.write_text(HEAD.format(limit=limit, launcher=LAUNCHERS[request.param]) + script)
        command = [sys.executable, "-W", "error", file]
        everything = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(
            command, **everything, env={**os.environ, **env}, timeout=limit + 20, check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout.split()

    return run


def test_threads_may_step_different_optimizers_at_once(run, tmp_path):
    """Also for the first time, when the kernel is not compiled yet."""
    script = """
params = [start(seed) for seed in range(2)]
barrier, failures = threading.Barrier(2), []

def work(param):
    try:
        opt = Adam([param], lr=0.1, weight_decay=0.1)
        barrier.wait()
        steps(param, opt, 0, 40)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=work, args=(param,)) for param in params]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
for seed, param in enumerate(params):
    assert torch.equal(param, alone(seed, 40)), seed
print(len(os.listdir(os.environ["ADAM_NBDEV_KERNELS"])) > 0)
"""
    assert run(script, ADAM_NBDEV_KERNELS=str(tmp_path / "kernels")) == ["True"]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_a_child_of_a_fork_steps_serially_and_agrees(run):
    """A step after a fork would hang or be killed on the threads that the parent started."""
    script = """
param = start()
opt = Adam([param], lr=0.1, weight_decay=0.1, max_norm=50.0)
steps(param, opt, 0, 3)
kept = copy.deepcopy((param, opt.state_dict()))

def work():
    torch.set_num_threads(1)  # for torch's own work
    cpu.available = lambda: 2  # the step would still take two
    before = count()
    steps(param, opt, 3, 6)
    after = count()
    torch.save(param.detach().clone(), sys.argv[0] + ".pt")
    return after == before

print(child(work))
theirs = torch.load(sys.argv[0] + ".pt", weights_only=True)
assert torch.equal(param, kept[0]), "the child changed the parent"
steps(param, opt, 3, 6)
assert torch.equal(param, theirs)
print(child(lambda: bool((param.detach().numpy() == theirs.numpy()).all())))
"""
    assert run(script) == ["0", "0"]


@needs_fork
def test_workers_that_load_data_are_not_harmed(run):
    """Forked between two steps, they load, and end; the run is the same as without them."""
    script = """
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return grad(i) + os.getpid() * 0

expected = alone()
param = start()
opt = Adam([param], lr=0.1, weight_decay=0.1)
for epoch in range(2):
    loader = torch.utils.data.DataLoader(
        Data(), batch_size=1, num_workers=2, multiprocessing_context="fork", timeout=30,
        persistent_workers=True,
    )
    batches = iter(loader)
    seen = []
    for step in range(6):
        if epoch == 0:
            (param.grad,) = next(batches)
            opt.step()
        else:
            seen.append(torch.equal(next(batches)[0], grad(step)))
    workers = batches._workers
    del batches, loader
    for worker in workers:
        worker.join(30)
    print(*[worker.exitcode for worker in workers])
assert torch.equal(param, expected)
print(all(seen))
"""
    assert run(script) == ["0", "0", "0", "0", "True"]


@needs_fork
def test_a_pool_of_processes_may_train(run):
    """`multiprocessing` with fork, from a parent that stepped: each worker trains and ends well."""
    script = """
import multiprocessing

def work(seed):
    torch.set_num_threads(1)
    return alone(seed).sum().item()

if __name__ == "__main__":
    expected = [alone(seed).sum().item() for seed in range(3)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, range(3)).get(timeout=40)
        pool.close()
        pool.join()
    print(len(found))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
"""
    assert run(script) == ["3"]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_process_that_may_have_one_thread_starts_no_other(run):
    """As in a process of torchrun. The bits are those of two threads."""
    script = """
found = []
for threads in (1, 2):
    torch.set_num_threads(threads)
    assert cpu.available() == threads
    param, before = start(), count()
    opt = Adam([param], lr=0.1, weight_decay=0.1, max_norm=1e9)
    steps(param, opt, 0, 6)
    found.append(param.detach())
    print(count() - before > 0)
assert torch.equal(*found)
"""
    assert run(script, OMP_NUM_THREADS="1") == ["False", "True"]


def test_an_interrupt_waits_for_all_threads(run):
    """Ours are in a pool: what they read must not be freed while they read it."""
    script = """
from concurrent.futures import Future
asked, others = [], [Future(), Future()]

def interrupted(futures):
    asked.append(1)
    if len(asked) == 3:
        for future in futures:
            future.set_result(None)
    raise KeyboardInterrupt

cpu.wait = interrupted
try:
    cpu._wait(others)
except KeyboardInterrupt:
    print(len(asked), all(future.done() for future in others))
"""
    assert run(script) == ["3", "True"]
