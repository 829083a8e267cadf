"""The Adams of other libraries as programs for `adam-conformance`: `peers.py LIBRARY OPTIMIZER`.

Such a program reads lines of JSON, the start and then for each step a gradient and a rate, and
writes where the parameters stand after each. It needs the library and NumPy, of whatever age, and
nothing of this project.
"""

import contextlib
import json
import os
import sys
from typing import NamedTuple

import numpy as np

#: Libraries without an Adam of their own, or none that can be asked, and why.
LEFT_OUT = {
    "flax": "it has none of its own and takes optax's",
    "numpyro": "it has none of its own and takes that of jax.example_libraries",
    "transformers": "it has none of its own and takes torch's",
    "pytorch-optimizer": "its Adam and AdamW are torch's",
    "torch-optimizer": "it has relatives of Adam, and none of them is Adam",
    "jittor": "without CUDA it gave no answer within two minutes",
    "the baselines of PyTorch's C++ tests": "they are in its repository and not in its wheel",
}


class Ask(NamedTuple):
    """What a peer is asked: to walk from `begin` along `rows` of a gradient and a rate."""

    begin: np.ndarray
    rows: list
    beta1: float
    beta2: float
    eps: float
    weight_decay: float

    @property
    def betas(self):
        return self.beta1, self.beta2

    def under(self, names):
        """The betas, eps and, if there is a fourth name, the weight decay."""
        return dict(zip(names.split(), self[2:], strict=False))


class Peer(NamedTuple):
    """A way to ask the optimizers of a library."""

    needs: tuple  # what `pip install` is called with, one call after another; () for the desk's own
    desk: bool  # whether it sees the packages of the desk: no second torch
    dtype: str
    optimizers: tuple
    walk: object


#: Under its name for pip, each library.
PEERS = {}


def peer(library, *optimizers, needs=None, desk=False, dtype="float64"):
    """Enter a function `walk(ask, kind, **more)` that yields where an optimizer stands."""

    def entered(walk):
        wanted = (library,) if needs is None else needs
        PEERS[library] = Peer(wanted, desk, dtype, optimizers, walk)
        return walk

    return entered


def of_torch(ask, kind, **more):
    import torch

    param = torch.tensor(ask.begin, requires_grad=True)
    given = {"betas": ask.betas, "eps": ask.eps, "weight_decay": ask.weight_decay}
    optimizer = kind([param], lr=0.1, **given, **more)
    for grad, rate in ask.rows:
        optimizer.param_groups[0]["lr"] = rate
        param.grad = torch.tensor(grad)
        optimizer.step()
        yield param.tolist()


@peer("torch", "Adam", "AdamW", "Adam(amsgrad=True)", needs=(), desk=True)
def _(ask, kind, **more):
    import torch

    return of_torch(ask, getattr(torch.optim, kind), **more)


@peer("heavyball", "AdamW(compile_step=False)", desk=True, dtype="float32")
def _(ask, kind, **more):
    import heavyball

    return of_torch(ask, getattr(heavyball, kind), **more)


@peer("optax", "adam", "adamw", "amsgrad", needs=(), desk=True)
def _(ask, kind):
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    rates = jax.numpy.array([rate for _, rate in ask.rows])
    more = {"weight_decay": ask.weight_decay} if kind == "adamw" else {}
    optimizer = getattr(optax, kind)(lambda count: rates[count], *ask.betas, ask.eps, **more)
    param = jax.numpy.array(ask.begin)
    state = optimizer.init(param)
    for grad, _ in ask.rows:
        update, state = optimizer.update(jax.numpy.array(grad), state, param)
        param = optax.apply_updates(param, update)
        yield param


@peer("jax", "example_libraries.optimizers.adam", needs=(), desk=True)
def _(ask, kind):
    import jax
    from jax.example_libraries import optimizers

    jax.config.update("jax_enable_x64", True)
    rates = jax.numpy.array([rate for _, rate in ask.rows])
    init, update, params = optimizers.adam(lambda i: rates[i], *ask.betas, ask.eps)
    state = init(jax.numpy.array(ask.begin))
    for i, (grad, _) in enumerate(ask.rows):
        state = update(i, jax.numpy.array(grad), state)
        yield params(state)


@peer("keras", "Adam", "AdamW", "Adam(amsgrad=True)", desk=True)
def _(ask, kind, **more):
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.config.set_floatx("float64")
    given = ask.under("beta_1 beta_2 epsilon weight_decay")
    if more or not ask.weight_decay:  # three departures at once get no name
        del given["weight_decay"]
    optimizer = getattr(keras.optimizers, kind)(0.1, **given, **more)
    param = keras.Variable(ask.begin, dtype="float64")
    for grad, rate in ask.rows:
        optimizer.learning_rate = rate
        optimizer.apply_gradients([(keras.ops.convert_to_tensor(grad), param)])
        yield keras.ops.convert_to_numpy(param)


@peer("tensorflow", "compat.v1.train.AdamOptimizer", dtype="float32")
def _(ask, kind):
    import tensorflow as tf

    param, rate = tf.Variable(ask.begin), tf.Variable(0.1)
    optimizer = tf.compat.v1.train.AdamOptimizer(lambda: rate, *ask.betas, ask.eps)
    for grad, now in ask.rows:
        rate.assign(now)
        optimizer.apply_gradients([(tf.constant(grad), param)])
        yield param.numpy()


@peer("paddlepaddle", "Adam", "AdamW", "Adam(amsgrad=True)")
def _(ask, kind, **more):
    import paddle

    paddle.set_default_dtype("float64")
    param = paddle.create_parameter([len(ask.begin)], "float64")
    param.set_value(ask.begin)
    given = {"parameters": [param], "weight_decay": ask.weight_decay}
    optimizer = getattr(paddle.optimizer, kind)(0.1, *ask.betas, ask.eps, **given, **more)
    for grad, rate in ask.rows:
        optimizer.set_lr(rate)
        param.grad = paddle.to_tensor(grad)
        optimizer.step()
        yield param.numpy()


@peer(
    "mlx", "Adam", "AdamW", "Adam(bias_correction=True)", needs=("mlx[cpu] numpy",), dtype="float32"
)
def _(ask, kind, **more):
    import mlx.core as mx
    import mlx.optimizers

    if kind == "AdamW":
        more["weight_decay"] = ask.weight_decay
    optimizer = getattr(mlx.optimizers, kind)(0.1, ask.betas, ask.eps, **more)
    params = {"param": mx.array(ask.begin)}
    for grad, rate in ask.rows:
        optimizer.learning_rate = rate
        params = optimizer.apply_gradients({"param": mx.array(grad)}, params)
        yield np.array(params["param"])


@peer("tinygrad", "Adam", "AdamW", needs=("tinygrad numpy",), dtype="float32")
def _(ask, kind):
    os.environ.setdefault("DEV", "PYTHON")  # its other devices want a compiler
    from tinygrad import Context, Tensor, nn

    more = {"weight_decay": ask.weight_decay} if kind == "AdamW" else {}
    param = Tensor(ask.begin)
    optimizer = getattr(nn.optim, kind)([param], 0.1, *ask.betas, ask.eps, **more)
    with Context(TRAINING=1):
        for grad, rate in ask.rows:
            optimizer.lr.assign(Tensor([rate])).realize()
            param.grad = Tensor(grad)
            optimizer.step()
            yield param.numpy()


@peer("scikit-learn", "AdamOptimizer")
def _(ask, kind):
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

    params = [ask.begin]
    optimizer = AdamOptimizer(params, 0.1, *ask.betas, ask.eps)
    for grad, rate in ask.rows:
        optimizer.learning_rate_init = rate
        optimizer.update_params(params, [grad])
        yield params[0]


@peer("autograd", "misc.optimizers.adam")
def _(ask, kind):
    """Its step size is one number, so it is given one that multiplies as that of its step."""
    from autograd.misc.optimizers import adam

    rates, found = iter([rate for _, rate in ask.rows]), []

    class Rate:
        def __mul__(self, other):
            return next(rates) * other

    def seen(param, i, grad):
        found.append(param)

    how = {"callback": seen, "num_iters": len(ask.rows), "step_size": Rate()}
    last = adam(lambda param, i: ask.rows[i][0], ask.begin, **how, **ask.under("b1 b2 eps"))
    return [*found[1:], last]


@peer("qiskit-algorithms", "ADAM", "ADAM(amsgrad=True)")
def _(ask, kind, **more):
    """It holds one rate for all its steps, which is set where it asks for the gradient."""
    from qiskit_algorithms.optimizers import ADAM

    given = ask.under("beta_1 beta_2 noise_factor")
    optimizer = ADAM(maxiter=len(ask.rows), tol=0, **given, **more)
    rows, found = iter(ask.rows), []

    def gradient(param):
        found.append(param)
        grad, optimizer._lr = next(rows)
        return grad

    last = optimizer.minimize(lambda param: 0.0, ask.begin, gradient).x
    return [*found[1:], last]


@peer("pennylane", "AdamOptimizer")
def _(ask, kind):
    import pennylane

    optimizer = pennylane.AdamOptimizer(0.1, *ask.betas, ask.eps)
    param = pennylane.numpy.array(ask.begin, requires_grad=True)
    for grad, rate in ask.rows:
        optimizer.stepsize = rate
        (param,) = optimizer.apply_grad([grad], [param])
        yield param


@peer("thinc", "Adam", "Adam(L2_is_weight_decay=False)", dtype="float32")
def _(ask, kind, **more):
    from thinc.api import Adam, Schedule

    rates = [rate for _, rate in ask.rows]
    rate = Schedule("rates", lambda schedule, step, **_: rates[step])
    given, param = ask.under("beta1 beta2 eps L2"), ask.begin
    optimizer = Adam(rate, grad_clip=0.0, **given, **more)
    for grad, _ in ask.rows:
        param, _ = optimizer((0, "param"), param, grad)
        optimizer.step_schedules()
        yield param.copy()


@peer("pymc", "adam")
def _(ask, kind):
    import pymc
    import pytensor

    param, grad = pytensor.shared(ask.begin), pytensor.tensor.dvector()
    rate = pytensor.tensor.dscalar()
    updates = pymc.adam([grad], [param], rate, *ask.betas, ask.eps)
    step = pytensor.function([grad, rate], [], updates=updates, mode="FAST_COMPILE")
    for row in ask.rows:
        step(*row)
        yield param.get_value()


@peer("mxnet", "Adam", needs=("mxnet numpy<1.24",), dtype="float32")
def _(ask, kind):
    np.bool = bool  # it was made for a NumPy that had this name
    import mxnet

    optimizer = mxnet.optimizer.Adam(**ask.under("beta1 beta2 epsilon wd"))
    param = mxnet.nd.array(ask.begin)
    state = optimizer.create_state(0, param)
    for grad, rate in ask.rows:
        optimizer.set_learning_rate(rate)
        optimizer.update(0, param, mxnet.nd.array(grad), state)
        yield param.asnumpy()


@peer("chainer", "Adam", needs=("wheel", "chainer numpy<1.24 --no-build-isolation"))
def _(ask, kind):
    import chainer

    param = chainer.Parameter(ask.begin)
    optimizer = chainer.optimizers.Adam(**ask.under("beta1 beta2 eps weight_decay_rate"))
    rule = optimizer.create_update_rule()
    for grad, rate in ask.rows:
        rule.hyperparam.alpha = rate
        param.grad = grad
        rule.update(param)
        yield param.array.copy()


@peer("climin", "Adam", needs=("climin scipy<1.11 numpy<1.24",))
def _(ask, kind):
    """Its further decay, of beta1, is as near to none as it may be."""
    from climin import Adam

    param, grads, rates = ask.begin, *map(iter, zip(*ask.rows, strict=True))
    names = {"decay_mom1": 1 - ask.beta1, "decay_mom2": 1 - ask.beta2, "offset": ask.eps}
    optimizer = Adam(param, lambda param: next(grads), decay=1 - 1e-16, **names)
    steps = iter(optimizer)
    for rate in rates:
        optimizer.step_rate = rate
        next(steps)
        yield param.copy()


@peer("mindspore", "nn.Adam", "nn.AdamWeightDecay", dtype="float32")
def _(ask, kind):
    from mindspore import Parameter, Tensor, nn

    param = Parameter(Tensor(ask.begin), name="param")
    given = ask.under("beta1 beta2 eps weight_decay")
    optimizer = getattr(nn, kind[3:])([param], [rate for _, rate in ask.rows], **given)
    for grad, _ in ask.rows:
        optimizer((Tensor(grad),))
        yield param.asnumpy()


@peer("onnx", "Adam(T=0)", "Adam(T=1)", dtype="float32")
def _(ask, kind, T):
    """The operator as its reference computes it; T is its update count at the first step."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    domain, names, new = "ai.onnx.preview.training", "RTXGVH", ("X_new", "V_new", "H_new")
    given = ask.under("alpha beta epsilon norm_coefficient")
    given["norm_coefficient"] *= bool(T)  # three departures at once get no name
    node = onnx.helper.make_node("Adam", list(names), new, domain=domain, **given)
    node.attribute.append(onnx.helper.make_attribute("norm_coefficient_post", 0.0))
    typed = [onnx.helper.make_tensor_value_info(name, 1, None) for name in (*names, *new)]
    graph = onnx.helper.make_graph([node], "adam", typed[:6], typed[6:])
    opset = onnx.helper.make_opsetid(domain, 1)
    adam = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset]))
    state = ask.begin, np.zeros_like(ask.begin), np.zeros_like(ask.begin)
    for count, (grad, rate) in enumerate(ask.rows, start=T):
        x, v, h = state
        values = np.float32(rate), np.int64(count), x, grad, v, h
        state = adam.run(None, dict(zip(names, values, strict=True)))
        yield state[0]


def onnx_vectors():
    """The test vectors that ONNX makes for its Adam: what they set and expect."""
    from onnx.backend.test.case.node import adam as cases

    found = []
    cases.expect = lambda node, inputs, outputs, **_: found.append((node, inputs, outputs))
    cases.Adam.export_adam()
    cases.Adam.export_adam_multiple()
    for node, (rate, count, *rest), outputs in found:
        a = {each.name: each.f for each in node.attribute}
        x, g, v, h = rest[:: len(rest) // 4]
        g = g + a["norm_coefficient"] * x
        v, h = v + (1 - a["alpha"]) * (g - v), h + (1 - a["beta"]) * (g * g - h)
        plain = np.allclose(x - rate * v / (np.sqrt(h) + a["epsilon"]), outputs[0])
        names = {"beta1": round(a["alpha"], 6), "beta2": round(a["beta"], 6)}
        yield {"T": int(count), **names, "uncorrected": bool(plain)}


def main(library, optimizer):
    if optimizer == "vectors":
        return print(json.dumps(list(onnx_vectors())))
    head, *rows = map(json.loads, sys.stdin)
    found = PEERS[library]
    kind, _, more = optimizer.partition("(")
    grads = np.array([row["grads"] for row in rows], found.dtype)
    begin, rates = np.array(head.pop("params"), found.dtype), [row["lr"] for row in rows]
    ask = Ask(begin, list(zip(grads, rates, strict=True)), **head)
    with contextlib.redirect_stdout(sys.stderr):  # some greet
        more = eval(f"dict({more or ')'}")
        walked = [[float(x) for x in row] for row in found.walk(ask, kind, **more)]
    print(*(json.dumps({"params": row}) for row in walked), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
