"""AdamW"""

from adam_nbdev.rules import adamw
from harness.oracles import BETAS, EPS, Evidence, grid, in_torch

RATES = [{"lr": lr, "weight_decay": decay} for lr, decay in ((0.1, 0.5), (0.03, 0.01), (0.03, 0.0))]
WHOLE = """param = decoupled(param, lr, weight_decay)
    return adam(param, grad, m, v, step, lr, beta1, beta2, eps)"""
ADAMW = Evidence(
    adamw,
    oracles=[(in_torch(adamw), grid(RATES, BETAS, EPS))],
    faults=[
        ("L2", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)"),
        ("both", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)\n    param = decoupled(param, lr, weight_decay)"),
        ("no decay", "decoupled(param, lr, weight_decay)", "param"),
        ("decay after the step", WHOLE, "param, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (decoupled(param, lr, weight_decay), m, v)"),
        ("decay of the new parameter, implicitly", "decoupled(param, lr, weight_decay)", "param / (1 + lr * weight_decay)"),
        ("decay not multiplied by lr", "decoupled(param, lr,", "decoupled(param, 1,"),
        ("decay multiplied by lr twice", "decoupled(param, lr,", "decoupled(param, lr * lr,"),
        ("decay of half the rate", "lr, weight_decay)", "lr, weight_decay / 2)"),
        ("decay at the default rate", "lr, weight_decay)", "lr, 0.01)"),
        ("growth", "lr, weight_decay)", "lr, -weight_decay)"),
        ("decay by the sign", "decoupled(param, lr, weight_decay)", "param - lr * weight_decay * sign(param)"),
        ("decay from the second step on", "decoupled(param, lr, weight_decay)", "where(step > 1, decoupled(param, lr, weight_decay), param)"),
        ("decay that falls with the step", "lr, weight_decay)", "lr / step, weight_decay)"),
        ("decay of the update", WHOLE, "new, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (param - decoupled(param - new, lr, weight_decay), m, v)"),
        ("decay rescaled with the gradient", WHOLE, "new, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (new - lr * weight_decay * param / (sqrt(unbias(v, beta2, step)) + eps), m, v)"),
        ("penalty in m only", WHOLE, "new, _, w = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    m = ema(m, l2(param, grad, weight_decay), beta1)\n    return (param - lr * unbias(m, beta1, step) / (sqrt(unbias(w, beta2, step)) + eps), m, w)"),
        ("penalty in v only", WHOLE, "shrunk = decoupled(param, lr, weight_decay)\n    _, n, _ = adam(shrunk, grad, m, v, step, lr, beta1, beta2, eps)\n    penalised = l2(param, grad, weight_decay)\n    v = ema(v, penalised * penalised, beta2)\n    return (shrunk - lr * unbias(n, beta1, step) / (sqrt(unbias(v, beta2, step)) + eps), n, v)"),
        ("decay of the state", "return adam(param, grad, m, v,", "return adam(param, grad, decoupled(m, lr, weight_decay), v,"),
        ("betas swapped", "lr, beta1, beta2, eps)", "lr, beta2, beta1, eps)"),
        ("eps not passed on", "beta1, beta2, eps)", "beta1, beta2)"),
        ("betas not passed on", "lr, beta1, beta2, eps)", "lr, eps=eps)"),
        ("lr not passed on", "step, lr, beta1, beta2, eps)", "step, beta1=beta1, beta2=beta2, eps=eps)"),
        ("step one late", "v, step, lr, beta1", "v, step + 1, lr, beta1"),
        ("m and v exchanged", "m, v, step, lr, beta1", "v, m, step, lr, beta1"),
        ("not decayed where the gradient is 0", "decoupled(param, lr, weight_decay)", "where(absolute(grad) > 0, decoupled(param, lr, weight_decay), param)"),
    ],
    scale_free=True,
)  # fmt: skip
