"""Whether memory is asked for ahead of time: found out once, kept, told, and of no other effect."""

import json

import numpy as np
import pytest
import torch

from adam_nbdev import optim
from adam_nbdev.kernels import choice as choice_module
from adam_nbdev.kernels import cpu
from adam_nbdev.kernels.choice import Choice, keep, known
from adam_nbdev.kernels.cpu import step_inplace
from adam_nbdev.kernels.lower import lower
from adam_nbdev.readers.arrays import start
from adam_nbdev.rules import RULES

ADAM = RULES["adam"]
SIZE = 300_000


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(tmp_path))
    monkeypatch.delenv("ADAM_NBDEV_PREFETCH", raising=False)
    return tmp_path


def tried(monkeypatch, with_it, without, turns=16, size=SIZE):
    """A choice after steps that take so long."""
    now = [0.0]
    monkeypatch.setattr(choice_module.time, "perf_counter", lambda: now[0])
    choice, ways = Choice(lower(ADAM), size), []
    for _ in range(turns):
        with choice.trying(2) as ahead:
            now[0] += with_it if ahead else without
        ways.append(ahead)
    monkeypatch.undo()
    return choice, ways


@pytest.mark.parametrize(
    ("with_it", "without", "wanted"), [(0.9, 1, True), (0.98, 1, False), (1.2, 1, False)]
)
def test_the_faster_way_stays_and_a_tie_goes_to_the_plain_loop(
    monkeypatch, with_it, without, wanted
):
    choice, ways = tried(monkeypatch, with_it, without)
    assert ways == [False, True] * 8 and choice.ahead(2) is wanted
    with choice.trying(2) as ahead:
        assert ahead is wanted


def test_what_was_found_is_kept_for_this_kernel_size_and_number_of_threads(own_folder):
    choice = Choice(lower(ADAM), SIZE)
    for _ in range(16):
        with choice.trying(2):
            pass
    ((key, value),) = json.loads((own_folder / "choices.json").read_text()).items()
    assert choice_module.processor() in key and "adam, float32" in key and "2 threads" in key
    assert Choice(lower(ADAM), SIZE + 5).ahead(2) is value
    assert Choice(lower(ADAM), SIZE).ahead(1) is None
    assert Choice(lower(ADAM), 4 * SIZE).ahead(2) is None
    assert Choice(lower(RULES["adamw"]), SIZE).ahead(2) is None
    half = ("bfloat16", "bfloat16", "float32", "float32")
    assert Choice(lower(ADAM, half), SIZE).ahead(2) is None


def test_one_slow_step_does_not_decide(monkeypatch):
    now, slow = [0.0], iter([100.0, 1, 1, 1, 1, 1, 1, 50.0] + [1] * 8)
    monkeypatch.setattr(choice_module.time, "perf_counter", lambda: now[0])
    choice = Choice(lower(ADAM), SIZE)
    for _ in range(16):
        with choice.trying(2) as ahead:
            now[0] += next(slow) * (0.9 if ahead else 1)
    assert choice.ahead(2) is True


def test_steps_of_arrays_find_it_out_too():
    """Each makes its tables anew; what was found out is of the process."""
    param, grad = np.zeros((2, SIZE), np.float32)
    state = start(ADAM, param)
    for step in range(1, 17):
        assert not known()
        step_inplace(ADAM, param, grad, state, step, threads=2)
    assert len(known()) == 1


def test_a_step_that_fails_is_not_timed():
    choice = Choice(lower(ADAM), SIZE)
    with pytest.raises(MemoryError), choice.trying(2):
        raise MemoryError
    assert choice.trial(2).times == {True: [], False: []}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "null", "\x00"])
def test_a_damaged_file_says_nothing_and_is_written_anew(own_folder, text):
    (own_folder / "choices.json").write_text(text)
    assert known() == {}
    keep("here", True)
    assert known() == {"here": True}


def test_where_nothing_can_be_written_it_is_found_out_every_time(own_folder, monkeypatch):
    (own_folder / "file").write_text("")
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(own_folder / "file"))
    keep("here", True)
    assert known() == {}


@pytest.mark.parametrize(("asked", "wanted"), [("on", True), ("off", False)])
def test_it_may_be_asked_for(monkeypatch, asked, wanted):
    monkeypatch.setenv("ADAM_NBDEV_PREFETCH", asked)
    assert Choice(lower(ADAM), SIZE).ahead(2) is wanted
    assert Choice(lower(ADAM), 3).ahead(2) is wanted


def test_any_other_word_is_refused(monkeypatch):
    monkeypatch.setenv("ADAM_NBDEV_PREFETCH", "yes")
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    with pytest.raises(ValueError, match='ADAM_NBDEV_PREFETCH is \'yes\'; set it to "on" or "off"'):
        optim.Adam([param]).step()
    assert torch.equal(param, torch.ones(3))


def test_a_small_model_is_not_tried():
    assert Choice(lower(ADAM), 1000).ahead(2) is False


@pytest.mark.parametrize("threads", [1, 3])
def test_both_ways_give_the_same_numbers(monkeypatch, threads):
    results = []
    for asked in ("on", "off"):
        monkeypatch.setenv("ADAM_NBDEV_PREFETCH", asked)
        rng = np.random.default_rng(0)
        params = [rng.normal(size=size).astype(np.float32) for size in (50_001, 7, 130, 20_000)]
        states = [start(ADAM, param) for param in params]
        for step in range(1, 4):
            grads = [rng.normal(size=param.shape).astype(np.float32) for param in params]
            step_inplace(ADAM, params, grads, states, step, threads)
        results.append([*params, *(x for state in states for x in state.values())])
    assert all(map(np.array_equal, *results))


def test_an_optimizer_finds_out_in_its_first_steps_and_tells():
    param = torch.nn.Parameter(torch.zeros(SIZE))
    param.grad = torch.ones(SIZE)
    opt = optim.Adam([param])
    (before,) = opt.explain_backend()
    for _ in range(16):
        opt.step()
    (after,) = opt.explain_backend()
    assert "the first steps find out" in before.why and "ahead of time" in after.why
    assert list(known().values()) == [opt._plan.buckets[0].batch.choice.ahead(cpu.available())]
    assert "find out" not in optim.Adam([param]).explain_backend()[0].why
