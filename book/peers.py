"""The Adams of other libraries as programs for `adam-conformance`: `python peers.py LABEL`.

A program reads lines of JSON, the start and then for each step a gradient and a rate, and writes
where the parameters stand after each. It needs the library and NumPy, of whatever age, and nothing
of this project; what each needs is in `PEERS`.
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
    "transformers": "since version 5 it has none of its own and takes torch's",
    "pytorch-optimizer": "its Adam and AdamW are torch's",
    "torch-optimizer": "it has relatives of Adam, and none of them is Adam",
    "the baselines of PyTorch's C++ tests": "test/cpp/api/optim_baseline.h is in its repository and "
    "not in its wheel; its numbers were made by torch.optim, which is asked here",
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


class Peer(NamedTuple):
    """A way to ask the optimizers of a library."""

    library: str  # as pip calls it
    needs: tuple  # what pip is to install for it; nothing if the desk has it
    desk: bool  # whether it works on the torch or JAX of the desk
    dtype: str
    optimizers: tuple
    walk: object


PEERS = {}


def peer(library, *optimizers, needs=None, desk=False, dtype="float64"):
    """Enter a function `walk(ask, kind, **more)` that yields where an optimizer stands."""

    def entered(walk):
        wanted = (library,) if needs is None else needs
        PEERS[library] = Peer(library, wanted, desk, dtype, optimizers, walk)
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
    names = {"beta_1": ask.beta1, "beta_2": ask.beta2, "epsilon": ask.eps, **more}
    if not more:  # three departures at once get no name
        names["weight_decay"] = ask.weight_decay or None
    optimizer = getattr(keras.optimizers, kind)(0.1, **names)
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


@peer("mlx", "Adam", "AdamW", "Adam(bias_correction=True)", needs=("mlx[cpu]", "numpy"), dtype="float32")
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


@peer("tinygrad", "Adam", "AdamW", needs=("tinygrad", "numpy"), dtype="float32")
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
    names = {"b1": ask.beta1, "b2": ask.beta2, "eps": ask.eps}
    last = adam(lambda param, i: ask.rows[i][0], ask.begin, **how, **names)
    return [*found[1:], last]


@peer("qiskit-algorithms", "ADAM", "ADAM(amsgrad=True)")
def _(ask, kind, **more):
    """It holds one rate for all its steps, which is set where it asks for the gradient."""
    from qiskit_algorithms.optimizers import ADAM

    names = {"beta_1": ask.beta1, "beta_2": ask.beta2, "noise_factor": ask.eps}
    optimizer = ADAM(maxiter=len(ask.rows), tol=0, **names, **more)
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
    names = {"beta1": ask.beta1, "beta2": ask.beta2, "eps": ask.eps, "L2": ask.weight_decay}
    optimizer, param = Adam(rate, grad_clip=0.0, **names, **more), ask.begin
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


@peer("mxnet", "Adam", needs=("mxnet", "numpy<1.24"), dtype="float32")
def _(ask, kind):
    np.bool = bool  # it was made for a NumPy that had this name
    import mxnet

    names = {"beta1": ask.beta1, "beta2": ask.beta2, "epsilon": ask.eps, "wd": ask.weight_decay}
    optimizer, param = mxnet.optimizer.Adam(**names), mxnet.nd.array(ask.begin)
    state = optimizer.create_state(0, param)
    for grad, rate in ask.rows:
        optimizer.set_learning_rate(rate)
        optimizer.update(0, param, mxnet.nd.array(grad), state)
        yield param.asnumpy()


@peer("chainer", "Adam", needs=("chainer", "numpy<1.24", "--no-build-isolation"))
def _(ask, kind):
    import chainer

    param = chainer.Parameter(ask.begin)
    names = {"beta1": ask.beta1, "beta2": ask.beta2, "eps": ask.eps}
    rule = chainer.optimizers.Adam(**names, weight_decay_rate=ask.weight_decay).create_update_rule()
    for grad, rate in ask.rows:
        rule.hyperparam.alpha = rate
        param.grad = grad
        rule.update(param)
        yield param.array.copy()


@peer("climin", "Adam", needs=("climin", "numpy<1.24"))
def _(ask, kind):
    """Its further decay, of beta1, is as near to none as it may be."""
    from climin import Adam

    param, grads, rates = ask.begin, *map(iter, zip(*ask.rows))
    names = {"decay_mom1": 1 - ask.beta1, "decay_mom2": 1 - ask.beta2, "offset": ask.eps}
    optimizer = Adam(param, lambda param: next(grads), decay=1 - 1e-16, **names)
    steps = iter(optimizer)
    for rate in rates:
        optimizer.step_rate = rate
        next(steps)
        yield param.copy()


@peer("jittor", "optim.Adam", dtype="float32")
def _(ask, kind):
    import jittor

    param = jittor.array(ask.begin)
    given = {"eps": ask.eps, "betas": ask.betas, "weight_decay": ask.weight_decay}
    optimizer = jittor.optim.Adam([param], 0.1, **given)
    for grad, rate in ask.rows:
        optimizer.lr = rate
        optimizer.step((param * jittor.array(grad)).sum())
        yield param.numpy()


@peer("mindspore", "nn.Adam", "nn.AdamWeightDecay", dtype="float32")
def _(ask, kind):
    import mindspore
    from mindspore import Parameter, Tensor, nn

    param = Parameter(Tensor(ask.begin), name="param")
    names = {"beta1": ask.beta1, "beta2": ask.beta2, "eps": ask.eps}
    rates = Tensor(np.array([rate for _, rate in ask.rows], "float32"))
    kind = getattr(nn, kind.partition(".")[2])
    optimizer = kind([param], list(map(float, rates.asnumpy())), **names, weight_decay=ask.weight_decay)
    for grad, _ in ask.rows:
        optimizer((Tensor(grad),))
        yield param.asnumpy()


@peer("onnx", "Adam(T=0)", "Adam(T=1)", dtype="float32")
def _(ask, kind, T):
    """The operator as its reference computes it; T is its update count at the first step."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    domain, names, new = "ai.onnx.preview.training", "RTXGVH", ("X_new", "V_new", "H_new")
    given = {"alpha": ask.beta1, "beta": ask.beta2, "epsilon": ask.eps}
    decay = ask.weight_decay if T else 0.0  # three departures at once get no name
    given |= {"norm_coefficient": decay, "norm_coefficient_post": 0.0}
    node = onnx.helper.make_node("Adam", list(names), new, domain=domain, **given)
    typed = [onnx.helper.make_tensor_value_info(name, 1, None) for name in (*names, *new)]
    graph = onnx.helper.make_graph([node], "adam", typed[:6], typed[6:])
    opset = onnx.helper.make_opsetid(domain, 1)
    adam = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset]))
    state = ask.begin, np.zeros_like(ask.begin), np.zeros_like(ask.begin)
    for count, (grad, rate) in enumerate(ask.rows, start=T):
        x, v, h = state
        values = np.float32(rate), np.int64(count), x, grad, v, h
        state = adam.run(None, dict(zip(names, values)))
        yield state[0]


def main(library, optimizer):
    head, *rows = map(json.loads, sys.stdin)
    found = PEERS[library]
    kind, _, more = optimizer.partition("(")
    grads = np.array([row["grads"] for row in rows], found.dtype)
    begin, rates = np.array(head.pop("params"), found.dtype), [row["lr"] for row in rows]
    ask = Ask(begin, list(zip(grads, rates)), **head)
    with contextlib.redirect_stdout(sys.stderr):  # some greet
        more = eval(f"dict({more or ')'}")
        walked = [[float(x) for x in row] for row in found.walk(ask, kind, **more)]
    print(*(json.dumps({"params": row}) for row in walked), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
