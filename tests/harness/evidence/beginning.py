"""AdaDelta and RAdam"""

from adam_nbdev.rules import adadelta, radam
from harness.oracles import BETAS, EPS, Evidence, each, grid, in_torch

CHANGE = "stride = sqrt(travel + eps) / sqrt(v + eps) * grad"
KEPT = "travel = ema(travel, stride * stride, decay)"
ADADELTA = Evidence(
    adadelta,
    oracles=[(in_torch(adadelta), grid(each(lr=(1.0, 0.3)), each(decay=(0.9, 0.6)), each(eps=(1e-6, 1e-3))))],
    faults=[
        ("RMSprop", "update = lr * stride", "update = lr * grad / sqrt(v + eps)"),
        ("eps outside the roots", CHANGE, "stride = (sqrt(travel) + eps) / (sqrt(v) + eps) * grad"),
        ("eps in one root only", "sqrt(v + eps)", "sqrt(v)"),
        ("yesterday's v", "sqrt(v + eps)", "sqrt((v - (1 - decay) * square) / decay + eps)"),
        ("today's stride", f"{CHANGE}\n    {KEPT}", f"stride = grad / sqrt(v + eps)\n    {KEPT}\n    stride = sqrt(travel + eps) * stride"),
        ("lr kept too", "stride * stride", "(lr * stride) * (lr * stride)"),
        ("roots forgotten", "sqrt(travel + eps) / sqrt(v + eps)", "(travel + eps) / (v + eps)"),
        ("the gradient for the stride", "ema(travel, stride * stride, decay)", "ema(travel, square, decay)"),
        ("averages corrected", "sqrt(travel + eps) / sqrt(v + eps)", "sqrt(unbias(travel, decay, step) + eps) / sqrt(unbias(v, decay, step) + eps)"),
        ("a sum for an average", "travel = ema(travel, stride * stride, decay)", "travel = travel + stride * stride"),
        ("ascent", "param - update", "param + update"),
    ],
)  # fmt: skip

SHORT = [{"beta1": 0.9, "beta2": b2} for b2 in (0.75, 0.6, 0.5, 0.0)]  # of 7, 4, 3 and 1 steps
RADAM = Evidence(
    radam,
    oracles=[(in_torch(radam), grid({"lr": 0.03}, BETAS + SHORT, EPS))],
    faults=[
        ("Adam", "rectify = where(length > 5, sqrt(share), 1)", "rectify = 1 + 0 * share"),
        ("never rectified", "where(length > 5, sqrt(share), 1)", "where(length > 1e9, sqrt(share), 1)"),
        ("from 4 on, as the paper", "length > 5, sqrt(share), 1)", "length > 4, sqrt(share), 1)"),
        ("the denominator from 4 on", "divisor = where(length > 5", "divisor = where(length > 4"),
        ("from 6 on", "length > 5", "length > 6"),
        ("the denominator from the start", "divisor = where(length > 5, (sqrt(v) + eps) / sqrt(1 - beta2 ** step), 1)", "divisor = (sqrt(v) + eps) / sqrt(1 - beta2 ** step)"),
        ("no root", "sqrt(share)", "share"),
        ("upside down", "sqrt(share)", "1 / sqrt(share)"),
        ("nothing at first", "sqrt(share), 1)", "sqrt(share), 0)"),
        ("v not corrected", "(sqrt(v) + eps) / sqrt(1 - beta2 ** step)", "sqrt(v) + eps"),
        ("eps beside the corrected root", "(sqrt(v) + eps) / sqrt(1 - beta2 ** step)", "sqrt(unbias(v, beta2, step)) + eps"),
        ("m not corrected", "rectify * m_hat", "rectify * m"),
        ("a step early", "2 * step * beta2 ** step", "2 * (step - 1) * beta2 ** step"),
        ("bound of v's weights for its steps", "2 / (1 - beta2) - 1", "1 / (1 - beta2)"),
        ("length not corrected", "/ (1 - beta2 ** step)\n    safe", "\n    safe"),
        ("betas swapped", "ema(m, grad, beta1), ema(v, square, beta2)", "ema(m, grad, beta2), ema(v, square, beta1)"),
        ("state overwritten", "param - update, m, v", "param - update, m_hat, v"),
    ],
)  # fmt: skip
