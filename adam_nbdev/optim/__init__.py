"""Optimizers for torch: Adam and its kin with torch's names, and one from any rule"""

from .classes import CLASSES, SGD, Adagrad, Adam, AdamW, RMSprop, class_of
from .groups import decay_groups, explain_decay
from .optimizer import Optimizer

__all__ = [
    "CLASSES",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "class_of",
    "decay_groups",
    "explain_decay",
]


def __getattr__(name):
    try:
        return class_of(name)
    except KeyError:
        raise AttributeError(f"module 'adam_nbdev.optim' has no optimizer '{name}'") from None
