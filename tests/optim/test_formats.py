"""Formats: bfloat16 and half precision, state in other dtypes, stochastic rounding."""

import pytest
import torch

from adam_nbdev import optim
from adam_nbdev.kernels import cache


@pytest.mark.long
def test_default_state_of_bfloat16_parameters_does_not_stall():
    """`v` of a bfloat16 parameter reaches its level; torch's stays at a half."""
    levels = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))
        opt = module.Adam([param], lr=1e-3)
        for _ in range(6000):
            param.grad = torch.ones_like(param)
            opt.step()
        levels.append(opt.state[param]["exp_avg_sq"].float().mean().item())
    assert abs(levels[0] - 1) < 0.01 and levels[1] <= 0.5


def test_stochastic_rounding_moves_what_rounding_to_nearest_holds():
    ends = {}
    for stochastic in (False, True):
        param = torch.nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
        opt = optim.Adam([param], lr=1e-3, stochastic_rounding=stochastic)
        for _ in range(200):
            param.grad = torch.ones_like(param)
            opt.step()
        ends[stochastic] = param.detach().float()
    assert torch.equal(ends[False], torch.ones(1000))
    assert abs(ends[True].mean().item() - 0.8) < 0.005 and ends[True].std() > 0


def test_state_in_bfloat16_is_right_on_average_and_reproducible():
    results = []
    for options in ({"state_dtype": torch.bfloat16}, {"state_dtype": torch.bfloat16}, {}):
        param = torch.nn.Parameter(torch.zeros(20_000))
        opt = optim.Adam([param], lr=1e-3, **options)
        for step in range(300):
            param.grad = torch.full_like(param, 1.0 + (step % 3))
            opt.step()
        results.append((param.detach(), opt.state[param]["exp_avg_sq"]))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].dtype == torch.bfloat16
    relative = results[0][1].float() / results[2][1] - 1
    assert abs(relative.mean()) < 1e-3 and 1e-3 < relative.std() < 0.1


def test_every_stochastic_rounding_has_random_bits_of_its_own():
    """Of parameter and slots, of two tensors, of two pieces of one, of two steps: uncorrelated."""
    size = 2 * 65_536
    params = [torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16)) for _ in range(2)]
    opt = optim.Adam(params, state_dtype=torch.bfloat16, stochastic_rounding=True)
    coins = {}
    for step in (1, 2):
        for param in params:
            param.data.fill_(1.0)
            param.grad = torch.ones_like(param)
        opt.step()
        for i, param in enumerate(params):
            state = opt.state[param]
            for name, value in (
                ("param", param),
                ("m", state["exp_avg"]),
                ("v", state["exp_avg_sq"]),
            ):
                for piece, part in enumerate(value.detach().chunk(2)):
                    coins[step, i, name, piece] = (part.float() > part.float().mean()).float()
                value.data.fill_(0.0)
    assert all(0.02 < coin.mean() < 0.98 for coin in coins.values())
    between = torch.corrcoef(torch.stack(list(coins.values()))).fill_diagonal_(0)
    assert between.abs().max() < 0.03


@pytest.mark.parametrize("missing", [True, False], ids=["no numba", "tensors"])
def test_stochastic_rounding_where_there_is_no_kernel_is_refused(monkeypatch, missing):
    if missing:
        monkeypatch.setattr(cache, "obstacle", lambda: "Numba is not installed")
    param = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    chosen = {} if missing else {"backend": "tensors"}
    opt = optim.Adam([param], stochastic_rounding=True, **chosen)
    param.grad = torch.ones_like(param)
    with pytest.raises(RuntimeError, match="rounds stochastically"):
        opt.step()


def test_float16_gradients_that_torchs_loop_turns_into_nan():
    param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))
    opt = optim.Adam([param], lr=0.01)
    for _ in range(50):
        param.grad = torch.tensor([0.0, 1e-4], dtype=torch.float16)
        opt.step()
    assert param[0] == 0 and -0.6 < param[1].item() < -0.4


def test_steps_are_counted_beyond_256_whatever_the_default_dtype():
    torch.set_default_dtype(torch.bfloat16)
    try:
        param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float32))
        opt = optim.Adam([param])
        for _ in range(1000):
            param.grad = torch.ones_like(param)
            opt.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert opt.state[param]["step"].item() == 1000
    assert abs(param[0].item() + 1) < 1e-3
