"""Every rule broken in every way that some library has broken it."""

import ast
import importlib.util
import inspect
import itertools

import numpy as np

from adam_nbdev.language import primitives
from adam_nbdev.rules import RULES
from harness.cases import gradients

GRADS = gradients(60)
GRADS = np.column_stack([GRADS, GRADS[:, 1], GRADS[::-1, 1]])
GRADS[0, 3] = 0.0  # a coordinate that sees nothing at first
GRADS[0, 4] *= -1  # and one whose first two gradients are of opposite sign, with no zero between

ADAMW = """param = decoupled(param, lr, weight_decay)
    return adam(param, grad, m, v, step, lr, beta1, beta2, eps)"""

# What went wrong somewhere: (fault, what the source says, what it said there).
FAULTS = {
    "adam": [
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
    "adam_uncorrected": [
        ("corrected", "lr * m / (sqrt(v) + eps)", "lr * unbias(m, beta1, step) / (sqrt(unbias(v, beta2, step)) + eps)"),
        ("m corrected", "lr * m /", "lr * unbias(m, beta1, step) /"),
        ("eps inside the root", "(sqrt(v) + eps)", "sqrt(v + eps)"),
        ("momentum on the rescaled gradient", "lr * m / (sqrt(v) + eps)", "lr * grad / (sqrt(v) + eps)"),
    ],
    "amsgrad": [
        ("the maximum ignored", "sqrt(v_max)", "sqrt(v)"),
        ("v replaced by its maximum", "param - update, m, v, v_max", "param - update, m, v_max, v_max"),
        ("maximum of the corrected", "maximum(v_max, v)", "maximum(v_max, unbias(v, beta2, step))"),
        ("minimum", "maximum(v_max, v)", "-maximum(-v_max, -v)"),
        ("old v", "v_max = maximum(v_max, v)", "v_max = maximum(v_max, (v - (1 - beta2) * square) / beta2)"),
    ],
    "amsgrad_corrected": [
        ("maximum of the raw", "maximum(v_max, v_hat)", "maximum(v_max, v)"),
        ("as torch", "maximum(v_max, v_hat)\n    update = lr * m_hat / (sqrt(v_max) + eps)", "maximum(v_max, v)\n    update = lr * m_hat / (sqrt(unbias(v_max, beta2, step)) + eps)"),
        ("the maximum ignored", "sqrt(v_max)", "sqrt(v_hat)"),
    ],
    "amsgrad_torch": [
        ("as the paper", "sqrt(v_hat)", "sqrt(v_max)"),
        ("maximum of the corrected", "maximum(v_max, v)", "maximum(v_max, unbias(v, beta2, step))"),
        ("the maximum ignored", "unbias(v_max, beta2, step)", "unbias(v, beta2, step)"),
    ],
    "adopt": [
        ("today's v", "grad / maximum(sqrt(v), eps)", "grad / maximum(sqrt(ema(v, square, beta2)), eps)"),
        ("the first step taken", "0 * grad", "grad / maximum(sqrt(square), eps)"),
        ("v starts at 0", "where(step > 1, ema(v, square, beta2), square)", "ema(v, square, beta2)"),
        ("eps added", "maximum(sqrt(v), eps)", "(sqrt(v) + eps)"),
        ("average, then rescale", "rescaled, beta1)", "grad, beta1) / maximum(sqrt(v), eps)"),
        ("corrected", "lr * m", "lr * unbias(m, beta1, step)"),
    ],
    "adamw": [
        ("L2", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)"),
        ("both", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)\n    param = decoupled(param, lr, weight_decay)"),
        ("no decay", "decoupled(param, lr, weight_decay)", "param"),
        ("decay after the step", ADAMW, "param, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (decoupled(param, lr, weight_decay), m, v)"),
        ("decay of the new parameter, implicitly", "decoupled(param, lr, weight_decay)", "param / (1 + lr * weight_decay)"),
        ("decay not multiplied by lr", "decoupled(param, lr,", "decoupled(param, 1,"),
        ("decay multiplied by lr twice", "decoupled(param, lr,", "decoupled(param, lr * lr,"),
        ("decay of half the rate", "lr, weight_decay)", "lr, weight_decay / 2)"),
        ("decay at the default rate", "lr, weight_decay)", "lr, 0.01)"),
        ("growth", "lr, weight_decay)", "lr, -weight_decay)"),
        ("decay by the sign", "decoupled(param, lr, weight_decay)", "param - lr * weight_decay * sign(param)"),
        ("decay from the second step on", "decoupled(param, lr, weight_decay)", "where(step > 1, decoupled(param, lr, weight_decay), param)"),
        ("decay that falls with the step", "lr, weight_decay)", "lr / step, weight_decay)"),
        ("decay of the update", ADAMW, "new, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (param - decoupled(param - new, lr, weight_decay), m, v)"),
        ("decay rescaled with the gradient", ADAMW, "new, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (new - lr * weight_decay * param / (sqrt(unbias(v, beta2, step)) + eps), m, v)"),
        ("penalty in m only", ADAMW, "new, _, w = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    m = ema(m, l2(param, grad, weight_decay), beta1)\n    return (param - lr * unbias(m, beta1, step) / (sqrt(unbias(w, beta2, step)) + eps), m, w)"),
        ("penalty in v only", ADAMW, "shrunk = decoupled(param, lr, weight_decay)\n    _, n, _ = adam(shrunk, grad, m, v, step, lr, beta1, beta2, eps)\n    penalised = l2(param, grad, weight_decay)\n    v = ema(v, penalised * penalised, beta2)\n    return (shrunk - lr * unbias(n, beta1, step) / (sqrt(unbias(v, beta2, step)) + eps), n, v)"),
        ("decay of the state", "return adam(param, grad, m, v,", "return adam(param, grad, decoupled(m, lr, weight_decay), v,"),
        ("betas swapped", "lr, beta1, beta2, eps)", "lr, beta2, beta1, eps)"),
        ("eps not passed on", "beta1, beta2, eps)", "beta1, beta2)"),
        ("betas not passed on", "lr, beta1, beta2, eps)", "lr, eps=eps)"),
        ("lr not passed on", "step, lr, beta1, beta2, eps)", "step, beta1=beta1, beta2=beta2, eps=eps)"),
        ("step one late", "v, step, lr, beta1", "v, step + 1, lr, beta1"),
        ("m and v exchanged", "m, v, step, lr, beta1", "v, m, step, lr, beta1"),
        ("not decayed where the gradient is 0", "decoupled(param, lr, weight_decay)", "where(absolute(grad) > 0, decoupled(param, lr, weight_decay), param)"),
    ],
    "rmsprop_corrected": [
        ("not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("step starts at 2", "unbias(v, decay, step)", "unbias(v, decay, step + 1)"),
        ("state overwritten", "param - update, v", "param - update, v_hat"),
    ],
    "laprop": [
        ("v not corrected", "(sqrt(v_hat) + eps)", "(sqrt(v) + eps)"),
        ("m not corrected", "lr * m_hat", "lr * m"),
        ("Adam", "rescaled = grad / (sqrt(v_hat) + eps)\n    m = ema(m, rescaled, beta1)", "m = ema(m, grad, beta1)\n    rescaled = m / (sqrt(v_hat) + eps)"),
        ("summed", "ema(m, rescaled, beta1)", "beta1 * m + rescaled"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("state overwritten", "param - update, m, v", "param - update, m_hat, v_hat"),
    ],
    "adagrad": [
        ("sum of gradients", "square = grad * grad", "square = grad"),
        ("average for sum", "accumulator + square", "0.9 * accumulator + 0.1 * square"),
        ("today's square left out", "sqrt(accumulator)", "sqrt(accumulator - square)"),
        ("eps inside the root", "(sqrt(accumulator) + eps)", "sqrt(accumulator + eps)"),
        ("step counted too", "update = lr", "update = lr / sqrt(step)"),
    ],
    "rprop": [
        ("lr at every step", "where(step > 1, size, lr)", "lr + 0 * size"),
        ("size starts at 0", "where(step > 1, size, lr)", "size"),
        ("lr counted as seen", "step > 1", "step > 2"),
        ("a step after a change of sign", "grad = where(agreement < 0, 0, grad)\n    ", ""),
        ("remembered although its sign changed", "param - update, grad, size", "param - update, where(agreement < 0, -sign(previous) * 1.0, grad), size"),
        ("the last step taken back", "update = size * sign(grad)", "update = where(agreement < 0, -size / down * sign(previous), size * sign(grad))"),
        ("factors swapped", "agreement < 0, down, 1)\n    factor = where(agreement > 0", "agreement > 0, down, 1)\n    factor = where(agreement < 0"),
        ("zero taken for agreement", "agreement > 0", "agreement >= 0"),
        ("zero taken for a change", "where(agreement < 0, down, 1)", "down + 0 * grad"),
        ("zero gradient taken for a change of sign", "grad = where(agreement < 0", "grad = where(agreement <= 0"),
        ("no smallest", "maximum(size * factor, smallest)", "size * factor"),
        ("no largest", "size = -maximum(-size, -largest)\n    ", ""),
        ("bounds swapped", "maximum(size * factor, smallest)\n    size = -maximum(-size, -largest)", "-maximum(-size * factor, -smallest)\n    size = maximum(size, largest)"),
        ("yesterday's size", "update = size * sign(grad)", "update = size / factor * sign(grad)"),
        ("scaled by the gradient", "size * sign(grad)", "size * grad"),
        ("lr counted twice", "update = size", "update = lr * size"),
        ("sign remembered for gradient", "param - update, grad, size", "param - update, sign(grad), size"),
        ("compared with the last gradient of any sign", "sign(grad) * previous", "grad * grad"),
    ],
    "rmsprop": [
        ("bias corrected", "sqrt(v)", "sqrt(v / (1 - decay**step))"),
        ("v starts at 1", "(sqrt(v) + eps)", "(sqrt(v + decay**step) + eps)"),
        ("eps inside the root", "(sqrt(v) + eps)", "sqrt(v + eps)"),
        ("old v", "sqrt(v)", "sqrt((v - (1 - decay) * square) / decay)"),
    ],
    "rmsprop_centred": [
        ("not centred", "v - m * m", "v"),
        ("eps inside the root", "(sqrt(variance) + eps)", "sqrt(variance + eps)"),
        ("root missing", "sqrt(variance)", "variance"),
    ],
    "rmsprop_momentum": [
        ("momentum on the raw gradient", "rescaled = grad / (sqrt(v) + eps)\n    buffer = momentum * buffer + rescaled", "buffer = momentum * buffer + grad\n    rescaled = buffer / (sqrt(v) + eps)"),
        ("averaged buffer", "+ rescaled", "+ (1 - momentum) * rescaled"),
        ("lr inside, update unscaled", "update = lr * buffer", "update = buffer"),
        ("eps inside the root", "(sqrt(v) + eps)", "sqrt(v + eps)"),
    ],
    "rmsprop_centred_momentum": [
        ("not centred", "v - m * m", "v"),
        ("centred with the gradient", "v - m * m", "v - grad * m"),
        ("eps inside the root", "(sqrt(variance) + eps)", "sqrt(variance + eps)"),
        ("root missing", "sqrt(variance)", "variance"),
        ("momentum on the raw gradient", "buffer = momentum * buffer + rescaled\n    update = lr * buffer", "buffer = momentum * buffer + grad\n    update = lr * buffer / (sqrt(variance) + eps)"),
        ("average for gradient", "rescaled = grad /", "rescaled = m /"),
        ("averaged buffer", "+ rescaled", "+ (1 - momentum) * rescaled"),
        ("lr inside the buffer", "+ rescaled\n    update = lr * buffer", "+ lr * rescaled\n    update = buffer"),
        ("momentum forgotten", "update = lr * buffer", "update = lr * rescaled"),
        ("Nesterov", "update = lr * buffer", "update = lr * (rescaled + momentum * buffer)"),
        ("bias corrected", "v - m * m", "unbias(v, decay, step) - unbias(m, decay, step) ** 2"),
        ("decay and momentum swapped", "ema(v, square, decay), ema(m, grad, decay)", "ema(v, square, momentum), ema(m, grad, momentum)"),
    ],
    "momentum": [
        ("averaged buffer", "momentum * buffer + grad", "momentum * buffer + (1 - momentum) * grad"),
        ("lr inside the buffer", "+ grad\n    update = lr * buffer", "+ lr * grad\n    update = buffer"),
        ("Nesterov", "lr * buffer", "lr * (grad + momentum * buffer)"),
    ],
    "nesterov": [
        ("no look-ahead", "lr * (grad + momentum * buffer)", "lr * buffer"),
        ("old buffer", "grad + momentum * buffer)", "grad + buffer - grad)"),
    ],
    "gradient_descent": [("sign only", "lr * grad", "lr * grad / (grad * grad + 1e-300) ** 0.5")],
}  # fmt: skip


def sources(rule):
    """(fault, source) for the faults of the table, and all of `broken`, in the rule and in what it
    calls: helpers and other rules.
    """
    plain = without_docstring(rule)
    for fault, said, wrong in FAULTS.get(rule.__name__, []):
        assert said in plain, f"{rule.__name__}: nothing to break for {fault!r}"
        yield fault, plain.replace(said, wrong)
    yield from broken(plain)
    for name in rule.__code__.co_names:
        called = RULES.get(name) or getattr(primitives, name)
        if name not in PRIMITIVES:
            for fault, source in sources(called):
                yield f"{name}: {fault}", f"{source}\n\n\n{plain}"


def broken(plain):
    """(change, source) for every operator turned into another and every call with swapped arguments."""
    swaps = {
        ast.Add: ast.Sub,
        ast.Sub: ast.Add,
        ast.Mult: ast.Div,
        ast.Div: ast.Mult,
        ast.Pow: ast.Mult,
    }
    for number in itertools.count():
        mutant = ast.parse(plain)
        nodes = [n for statement in mutant.body[0].body for n in ast.walk(statement)]
        places = [n for n in nodes if isinstance(n, ast.BinOp) or _ordered(n)]
        if number == len(places):
            return
        place = places[number]
        before = ast.unparse(place)
        if isinstance(place, ast.Call):
            place.args[:2] = place.args[1::-1]
        else:
            place.op = swaps[type(place.op)]()
        yield f"{before} -> {ast.unparse(place)}", ast.unparse(mutant)


def _ordered(node):
    """Whether a node is a call in which the order of the first two arguments matters."""
    return isinstance(node, ast.Call) and len(node.args) > 1 and node.func.id != "maximum"


PRIMITIVES = ("sqrt", "absolute", "sign", "maximum", "where")


def without_docstring(function):
    tree = ast.parse(inspect.getsource(function))
    tree.body[0].body = tree.body[0].body[1:]
    return ast.unparse(tree)


def function(name, source, folder):
    path = folder / "mutant.py"
    path.write_text(
        "from adam_nbdev.language.primitives import *\nfrom adam_nbdev.rules import adam\n\n\n"
        + source
        + "\n"
    )
    spec = importlib.util.spec_from_file_location("mutant", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
