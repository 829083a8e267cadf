"""Every form of `conformance.translate` in float64: torch and optax themselves, others as rules.

The rules are composed of the primitives and of rules of the book, as the sources of Keras 3.16.0,
MLX 0.32.2, DeepSpeed 0.19.6 and tf.compat.v1.train say; those libraries themselves do not run here.
"""

import inspect

import jax
import numpy as np
import optax
import torch

from adam_nbdev import decoupled, ema, l2, maximum, sqrt
from adam_nbdev.conformance.forms import FORMS
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.rules import RULES


def adam_raw(param, grad, m, v, step, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = ema(m, grad, beta1), ema(v, grad * grad, beta2)
    rate = lr * sqrt(1 - beta2**step) / (1 - beta1**step)
    update = rate * m / (sqrt(v) + eps)
    return param - update, m, v


def amsgrad_raw(param, grad, m, v, v_max, step, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = ema(m, grad, beta1), ema(v, grad * grad, beta2)
    v_max = maximum(v_max, v)
    rate = lr * sqrt(1 - beta2**step) / (1 - beta1**step)
    update = rate * m / (sqrt(v_max) + eps)
    return param - update, m, v, v_max


def rmsprop_inside(param, grad, v, buffer, step, lr=0.1, decay=0.9, eps=1e-8, momentum=0.0):
    v = ema(v, grad * grad, decay)
    buffer = momentum * buffer + lr * grad / sqrt(v + eps)
    update = buffer
    return param - update, v, buffer


def rmsprop_inside_centred(
    param, grad, v, m, buffer, step, lr=0.1, decay=0.9, eps=1e-8, momentum=0.0
):
    v, m = ema(v, grad * grad, decay), ema(m, grad, decay)
    buffer = momentum * buffer + lr * grad / sqrt(v - m * m + eps)
    update = buffer
    return param - update, v, m, buffer


def adagrad_inside(param, grad, accumulator, step, lr=0.1, eps=0.0):
    accumulator = accumulator + grad * grad
    update = lr * grad / sqrt(accumulator + eps)
    return param - update, accumulator


def deepspeed(decouple):
    def chosen(s):
        return RULES["adam" if s["bias_correction"] else "adam_uncorrected"], {}

    return chosen, decouple


def keras_rmsprop(s):
    return (rmsprop_inside_centred if s.get("centered") else rmsprop_inside), {}


#: For each form the rule that some settings ask for, and slots that start elsewhere; and whether
#: its weight decay is decoupled.
MADE = {
    "keras.Adam": (lambda s: (amsgrad_raw if s["amsgrad"] else adam_raw, {}), True),
    "keras.AdamW": (lambda s: (amsgrad_raw if s["amsgrad"] else adam_raw, {}), True),
    "keras.Nadam": (lambda s: (RULES["nadam"], {}), True),
    "keras.RMSprop": (keras_rmsprop, True),
    "keras.Adagrad": (
        lambda s: (adagrad_inside, {"accumulator": s["initial_accumulator_value"]}),
        True,
    ),
    "tensorflow.AdamOptimizer": (lambda s: (adam_raw, {}), True),
    "tensorflow.RMSPropOptimizer": (lambda s: (keras_rmsprop(s)[0], {"v": 1.0}), True),
    "tensorflow.AdagradOptimizer": (
        lambda s: (adagrad_inside, {"accumulator": s["initial_accumulator_value"]}),
        True,
    ),
    "mlx.Adam": deepspeed(True),
    "mlx.AdamW": deepspeed(True),
    "mlx.RMSprop": (lambda s: (RULES["rmsprop"], {}), True),
    "mlx.Adagrad": (lambda s: (RULES["adagrad"], {}), True),
    "deepspeed.FusedAdam": deepspeed("adam_w_mode"),
    "deepspeed.DeepSpeedCPUAdam": deepspeed("adamw_mode"),
    "deepspeed.Adam": deepspeed("adam_w_mode"),
    "deepspeed.AdamW": deepspeed(True),
    "transformers.adamw_torch": (lambda s: (RULES["adam"], {}), True),
}
#: What these libraries call the hyperparameters of the rules.
OURS = {
    **{"learning_rate": "lr", "beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps"},
    **{"rho": "decay", "alpha": "decay", "adam_beta1": "beta1", "adam_beta2": "beta2"},
    "adam_epsilon": "eps",
}


def run_made(name, settings, grads, param):
    """A form that is made here, on gradients (steps, n)."""
    choose, decouple = MADE[name]
    rule, starts = choose(settings)
    given = {OURS.get(key, key): value for key, value in settings.items()}
    if "betas" in given:
        given["beta1"], given["beta2"] = given.pop("betas")
    if name == "keras.Nadam":
        given["momentum_decay"] = 1.0
    decay = given.pop("weight_decay", None) or 0.0
    decouple = settings[decouple] if isinstance(decouple, str) else decouple
    given = {n: given[n] for n in inspect.signature(rule).parameters if n in given}
    state, path = start(rule, param), []
    state |= {slot: np.full_like(param, value) for slot, value in starts.items()}
    for step, grad in enumerate(grads, 1):
        if decouple:
            param = decoupled(param, given["lr"], decay)
        else:
            grad = l2(param, grad, decay)
        param, state = advance(rule, param, grad, state, step, **given)
        path.append(param)
    return np.array(path)


def run_torch(name, settings, grads, param):
    """An optimizer of torch, in float64."""
    weight = torch.tensor(param, requires_grad=True)
    optimizer = getattr(torch.optim, name.split(".")[1])([weight], **settings)
    default, path = torch.get_default_dtype(), []
    torch.set_default_dtype(torch.float64)  # torch's NAdam keeps a product in it
    try:
        for grad in grads:
            weight.grad = torch.tensor(grad)
            optimizer.step()
            path.append(weight.detach().numpy().copy())
    finally:
        torch.set_default_dtype(default)
    return np.array(path)


def run_optax(name, settings, grads, param, before=None):
    """An optimizer of optax, in float64; `before` is chained before it."""
    optimizer = getattr(optax, name.split(".")[1])(**settings)
    return optax_run(optax.chain(before, optimizer) if before else optimizer, grads, (), param)[
        :, 0
    ]


def optax_run(optimizer, grads, slots, begin):
    """An optimizer of optax on these gradients, in float64: (steps, 1 + slots, n).

    A slot has the name that it has in the state of optax; `begin` is a number or (n,).
    """

    def step(carried, grad):
        param, state = carried
        update, state = optimizer.update(grad, state, param)
        param = optax.apply_updates(param, update)
        kept = [optax.tree_utils.tree_get(state, slot) for slot in slots]
        return (param, state), jax.numpy.stack([param, *kept])

    with jax.enable_x64(True):
        param = jax.numpy.full(grads.shape[1:], begin)
        _, history = jax.lax.scan(step, (param, optimizer.init(param)), jax.numpy.array(grads))
    return np.asarray(history)


def run_form(name, settings, grads, param, **more):
    """The path of the parameters (steps, n) under a form of a library with these settings."""
    runs = {"torch": run_torch, "optax": run_optax}
    return runs.get(name.split(".")[0], run_made)(name, settings, grads, param, **more)


assert MADE.keys() == {n for n in FORMS if n.split(".")[0] not in ("torch", "optax")}
