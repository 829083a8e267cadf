"""Parameters that take no kernel: the rule is read on tensors, and the steps are torch's."""

import pytest
import torch

from adam_nbdev.optim import SGD


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("strided", [False, True])
def test_sgd_dampens_every_gradient_but_the_first(strided, nesterov):
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": nesterov}
    options["dampening"] = 0.0 if nesterov else 0.5
    param, theirs = (torch.ones(8)[:: 1 + strided].requires_grad_() for _ in range(2))
    ours, reference = SGD([param], **options), torch.optim.SGD([theirs], **options)
    for step in range(4):
        grad = torch.full((8,), 1.0 + step)[:: 1 + strided]
        param.grad, theirs.grad = grad, grad.clone()
        if step == 3:  # a new optimizer that loads goes on
            kept, ours = ours.state_dict(), SGD([param], **options)
            ours.load_state_dict(kept)
        ours.step()
        reference.step()
        assert len(ours._others) == strided
        torch.testing.assert_close(param, theirs, rtol=1e-6, atol=0)
