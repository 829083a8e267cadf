"""Adam"""

from adam_nbdev.rules import adam
from harness.oracles import BETAS, EPS, Evidence, grid, in_torch

ADAM = Evidence(
    adam,
    oracles=[(in_torch(adam), grid({"lr": 0.03}, [*BETAS, {"beta1": 0.95, "beta2": 0.95}], EPS))],
    faults=[
        ("step starts at 0", "beta1, step), unbias(v, beta2, step)", "beta1, step - 1 + 1e-9), unbias(v, beta2, step)"),
        ("step starts at 2", "beta1, step), unbias(v, beta2, step)", "beta1, step + 1), unbias(v, beta2, step + 1)"),
        ("no bias correction", "unbias(m, beta1, step), unbias(v, beta2, step)", "m, v"),
        ("m not corrected", "unbias(m, beta1, step)", "m"),
        ("v not corrected", "unbias(v, beta2, step)", "v"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("eps squared inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps * eps)"),
        ("eps_hat", "lr * m_hat / (sqrt(v_hat) + eps)", "lr * m_hat * sqrt(1 - beta2**step) / (sqrt(v) + eps)"),
        ("eps dropped", "(sqrt(v_hat) + eps)", "sqrt(v_hat)"),
        ("eps on the parameter", "(sqrt(v_hat) + eps)", "sqrt(v_hat) + eps"),
        ("betas swapped", "ema(m, grad, beta1), ema(v, square, beta2)", "ema(m, grad, beta2), ema(v, square, beta1)"),
        ("one beta for both", "ema(v, square, beta2)", "ema(v, square, beta1)"),
        ("state overwritten by its corrected value", "param - update, m, v", "param - update, m_hat, v_hat"),
        ("v overwritten", "param - update, m, v", "param - update, m, v_hat"),
        ("variance for second moment", "square = grad * grad", "square = (grad - m) * (grad - m)"),
        ("absolute value for square", "square = grad * grad", "square = sqrt(grad * grad)"),
        ("root missing", "sqrt(v_hat) + eps", "v_hat + eps"),
        ("root taken twice", "sqrt(v_hat)", "sqrt(sqrt(v_hat))"),
        ("old v", "unbias(v, beta2, step)", "unbias((v - (1 - beta2) * square) / beta2, beta2, step)"),
        ("gradient for m", "lr * m_hat", "lr * grad"),
        ("Nesterov's m", "lr * m_hat", "lr * (beta1 * m_hat + (1 - beta1) * grad)"),
        ("undamped m", "ema(m, grad, beta1)", "beta1 * m + grad"),
        ("ascent", "param - update", "param + update"),
        ("L2 that was not asked for", "square = grad * grad", "grad = grad + 0.01 * param\n    square = grad * grad"),
        ("decay that was not asked for", "param - update", "param - 0.001 * param - update"),
        ("clipped", "param - update", "param - update / (1 + update * update)"),
    ],
    scale_free=True,
)  # fmt: skip
