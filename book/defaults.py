"""Read the defaults of optimizers in torch, optax, Keras and MLX, and write book/defaults.json.

They are read from the signatures of the installed libraries, not from memory. What no signature
says is measured: the first step of each at a learning rate and a gradient of 1. Torch's are those
of the Python that runs this; the others are installed, in their newest versions, into an
environment that is thrown away. So it needs a network: `make defaults`.
"""

import datetime
import inspect
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

RESULT = Path(__file__).resolve().parent / "defaults.json"
PEERS = "optax", "keras", "mlx"
#: What each library calls each optimizer; where it has none, None.
NAMES = {
    "Adam": {"torch": "Adam", "optax": "adam", "keras": "Adam", "mlx": "Adam"},
    "AdamW": {"torch": "AdamW", "optax": "adamw", "keras": "AdamW", "mlx": "AdamW"},
    "NAdam": {"torch": "NAdam", "optax": "nadam", "keras": "Nadam", "mlx": None},
    "RMSprop": {"torch": "RMSprop", "optax": "rmsprop", "keras": "RMSprop", "mlx": "RMSprop"},
    "Adagrad": {"torch": "Adagrad", "optax": "adagrad", "keras": "Adagrad", "mlx": "Adagrad"},
    "Lion": {"torch": None, "optax": "lion", "keras": "Lion", "mlx": "Lion"},
    "SGD": {"torch": "SGD", "optax": "sgd", "keras": "SGD", "mlx": "SGD"},
}
#: Where the optimizers of a library are.
PLACES = {
    "torch": "torch.optim",
    "optax": "optax",
    "keras": "keras.optimizers",
    "mlx": "mlx.optimizers",
}


def defaults(function):
    """The arguments of an optimizer with a number for a default; a rate without one is None."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = parameter.default
        value = list(value) if isinstance(value, tuple) else value
        if value is inspect.Parameter.empty and name in ("lr", "learning_rate"):
            found[name] = None
        elif isinstance(value, (int, float, list)):
            found[name] = value
    return found


def first_step(library, make):
    """How far an optimizer moves a 0 at its first step, at a learning rate and a gradient of 1."""
    if library == "torch":
        import torch

        param = torch.zeros(1, requires_grad=True)
        param.grad = torch.ones(1)
        make([param], lr=1.0).step()
        param = param.detach()
    elif library == "optax":
        import jax.numpy as jnp

        optimizer, start = make(learning_rate=1.0), jnp.zeros(1)
        param, _ = optimizer.update(jnp.ones(1), optimizer.init(start), start)
    elif library == "keras":
        import keras

        param = keras.Variable([0.0])
        make(learning_rate=1.0).apply_gradients([(keras.ops.ones(1), param)])
        param = keras.ops.convert_to_numpy(param)
    else:
        import mlx.core as mx

        start = {"w": mx.zeros(1)}
        param = make(learning_rate=1.0).apply_gradients({"w": mx.ones(1)}, start)["w"]
    return float(f"{-float(param[0]):.4g}")


def read(library):
    """The version of a library that is installed here, and what is said of its optimizers."""
    place = __import__(PLACES[library], fromlist=["optimizers"])
    kinds = {ours: theirs[library] for ours, theirs in NAMES.items() if theirs[library]}
    kinds = {ours: getattr(place, name) for ours, name in kinds.items()}
    return {
        "version": version(library).partition("+")[0],
        "optimizers": {ours: defaults(kind) for ours, kind in kinds.items()},
        "first step": {ours: first_step(library, kind) for ours, kind in kinds.items()},
    }


def installed(folder, *wanted, desk=False, seconds=600):
    """The Python of a new environment, with what is wanted: the words of each `pip install`.

    One that sees the desk has the desk's torch and JAX below what is installed.
    """
    venv.create(folder, with_pip=True)
    python, pins = Path(folder) / "bin" / "python", Path(folder) / "pins.txt"
    if desk:
        (place,) = Path(folder).glob("lib/python*/site-packages")
        (place / "desk.pth").write_text(sysconfig.get_path("purelib"))
        pins.write_text(f"torch=={version('torch').partition('+')[0]}\n")
    pip = [python, "-m", "pip", "install", "-q", *(["-c", pins] if desk else [])]
    for words in wanted:
        how = {"check": True, "capture_output": True, "text": True, "timeout": seconds}
        subprocess.run([*pip, *words.split()], **how)
    return python


def peers():
    """What the other libraries say, each installed into an environment that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        python = installed(folder, " ".join(name for name in PEERS if name != "mlx"), "mlx[cpu]")
        command = [python, __file__, "--read", *PEERS]
        said = subprocess.check_output(command, env={**os.environ, "KERAS_BACKEND": "jax"})
        return json.loads(said.splitlines()[-1])


def main(arguments):
    if arguments[:1] == ["--read"]:
        print(json.dumps({library: read(library) for library in arguments[1:]}))
        return
    found = {"date": datetime.date.today().isoformat(), "torch": read("torch"), **peers()}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main(sys.argv[1:])
