"""The Adam optimizer, written once: everything in this library is made from plain functions.

What a reader needs first is here and imported when it is asked for; `import adam_nbdev` alone
imports nothing else.
"""

__version__ = "0.1.0"

_PLACES = {
    "language.primitives": "absolute decoupled ema l2 maximum sign sqrt unbias where",
    "language.convention": "Slot",
    "language.catalogue": "Torch enter",
    "language.run": "run",
    "readers.trace": "table trace",
    "readers.exact": "exact",
    "readers.latex": "expression formula",
    "readers.diff": "code code_diff formula_diff",
    "readers.symbolic": "prove symbolic",
    "readers.javascript": "javascript",
    "readers.arrays": "advance start",
    "readers.grade": "grade",
    "rules": "RULES adagrad adam adamw gradient_descent momentum rmsprop",
    "kernels.cpu": "step_inplace",
    "around.averages": "averaged lookahead",
    "optim": "Optimizer decay_groups",
    "lab.objectives": "quadratic",
    "lab.trajectory": "trajectory tuned",
    "lab.plots": "plot_paths plot_quantities plot_values",
    "lab.live": "bench",
    "lab.playground": "playground",
    "lab.betas": "beta_map",
    "lab.steps": "steps",
    "lab.memory": "memory",
    "lab.takeover": "takeover",
    "lab.walk": "walk",
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names.split()}
__all__ = [*_PLACE]


def __getattr__(name):
    if name not in _PLACE:
        raise AttributeError(f"module 'adam_nbdev' has no attribute '{name}'; it has {', '.join(__all__)}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"adam_nbdev.{_PLACE[name]}"), name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
