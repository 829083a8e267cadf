"""Schedules: their values, what they refuse, and torch's."""

import math
import pickle
from functools import partial

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from adam_nbdev import run
from adam_nbdev.around.schedules import (
    constant,
    cosine,
    course,
    from_zero,
    inverse_root,
    linear,
    warmup_stable_decay,
)
from adam_nbdev.rules import adam

LENGTHS = st.integers(1, 10_000)


@st.composite
def chosen(draw):
    """One of the five with fitting numbers, the length of the run, and the warm-up."""
    total = draw(LENGTHS)
    warmup = draw(st.integers(0, total - 1))
    fall = draw(st.integers(1, total - warmup))
    lr = draw(st.floats(1e-12, 1e6))
    given = {"warmup": warmup, "lr": lr}
    all_five = [
        partial(constant, **given),
        partial(inverse_root, **given),
        partial(cosine, total=total, **given),
        partial(linear, total=total, **given),
        partial(warmup_stable_decay, total=total, fall=fall, **given),
    ]
    return draw(st.sampled_from(all_five)), total, warmup, lr


@given(chosen(), st.data())
def test_a_schedule_rises_then_never_rises_again_and_stays_within_its_rate(schedule, data):
    schedule, total, warmup, lr = schedule
    step = data.draw(st.integers(1, total))
    here = schedule(step)
    assert 0 < here <= lr and schedule(warmup + 1) == lr
    assert isinstance(here, float)
    assert (schedule(step + 1) >= here) if step <= warmup else (schedule(step + 1) <= here)
    if step <= warmup:
        assert math.isclose(here, lr * step / (warmup + 1))
    ends = "total" in schedule.keywords
    assert (schedule(total + 1) == schedule(10 * total + 1) == 0) if ends else schedule(total + 1)


@given(st.integers(1, 500), st.integers(0, 400), st.floats(0, 1e3))
def test_known_sums_and_special_cases(total, warmup, lr):
    assume(warmup < total)
    for schedule in (linear, cosine):
        found = math.fsum(schedule(t, total) for t in range(1, total + 1))
        assert math.isclose(found, (total + 1) / 2)
    for step in (1, total // 2 + 1, total):
        straight = linear(step, total, lr, warmup)
        late = warmup_stable_decay(step, total, total - warmup, lr, warmup)
        assert math.isclose(straight, late, abs_tol=1e-300)
        assert math.isclose(inverse_root(step), step**-0.5)
        assert constant(step, lr) == lr


@pytest.mark.parametrize("name", ["step", "lr", "warmup", "total", "fall"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1, 0])
def test_numbers_that_make_no_sense_are_named(name, wrong):
    if wrong == 0 and name in ("lr", "warmup"):
        return
    given = {"step": 1, "lr": 1.0, "warmup": 0, "total": 10, "fall": 2, name: wrong}
    for schedule in (constant, inverse_root, cosine, linear, warmup_stable_decay):
        known = schedule.__code__.co_varnames[: schedule.__code__.co_argcount]
        if name in known:
            with pytest.raises(ValueError, match=f"{name} is {wrong}; it is finite and at least"):
                schedule(**{key: value for key, value in given.items() if key in known})


def test_a_warm_up_longer_than_the_run_is_refused():
    for call in (
        lambda: cosine(1, 10, warmup=10),
        lambda: linear(1, 10, warmup=11),
        lambda: warmup_stable_decay(1, 10, fall=4, warmup=7),
    ):
        with pytest.raises(ValueError, match="do not fit into a run of 10"):
            call()
    assert course(10, 1.0, 9, 10) == (1.0, 1.0)


def rates(make, steps, lr=0.1):
    """The rates of all steps of a scheduler of torch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [1, 20])
def test_torch_has_the_same_cosine_and_line(warmup):
    lrs, total = torch.optim.lr_scheduler, 200

    def sequence(second):
        def make(optimizer):
            up = lrs.LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup)
            return lrs.SequentialLR(optimizer, [up, second(optimizer)], [warmup])

        return make

    pairs = [
        (cosine, lambda o: lrs.CosineAnnealingLR(o, total - warmup)),
        (linear, lambda o: lrs.LinearLR(o, 1.0, 0.0, total - warmup)),
    ]
    for ours, theirs in pairs:
        expected = [ours(step, total, 0.1, warmup) for step in range(1, total + 1)]
        torch.testing.assert_close(rates(sequence(theirs), total), expected, rtol=1e-10, atol=0)


def test_lambda_lr_takes_a_schedule_and_resumes_it():
    lrs = torch.optim.lr_scheduler
    factor = from_zero(partial(cosine, total=50, warmup=5))
    expected = [cosine(step, 50, 0.1, 5) for step in range(1, 51)]
    assert rates(lambda o: lrs.LambdaLR(o, factor), 50) == pytest.approx(expected, rel=1e-15)
    assert pickle.loads(pickle.dumps(factor))(3) == factor(3)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lrs.LambdaLR(optimizer, factor)
    for _ in range(20):
        optimizer.step()
        scheduler.step()
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    resumed = lrs.LambdaLR(other, factor)
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for step in range(21, 51):
        assert other.param_groups[0]["lr"] == pytest.approx(expected[step - 1], rel=1e-15)
        other.step()
        resumed.step()


def test_a_run_asks_for_the_rate_of_its_step():
    rate = partial(warmup_stable_decay, total=20, fall=5, lr=0.1, warmup=3)
    whole = list(run(adam, [1.0, -2.0] * 10, lr=rate))
    rest = run(adam, [1.0, -2.0] * 5, whole[9].param, whole[9].state, step=11, lr=rate)
    assert [step.param for step in rest] == [step.param for step in whole[10:]]
