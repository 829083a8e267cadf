"""Optimizers for torch: Adam, AdamW, Adagrad, RMSprop, SGD, and one from any rule"""

from .classes import SGD, Adagrad, Adam, AdamW, RMSprop
from .optimizer import Optimizer

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
