"""Every rule of the book by its name, in the order in which the book meets them"""

# Written by `make export` from the table of contents. DO NOT EDIT!
from ._momentum import gradient_descent, momentum, nesterov
from ._adagrad import adagrad
from ._rmsprop import rprop, rmsprop, rmsprop_corrected, rmsprop_momentum, rmsprop_centred, rmsprop_centred_momentum
from ._adam import adam
from ._bias import adam_uncorrected
from ._parents import laprop
from ._convergence import amsgrad, amsgrad_corrected, amsgrad_torch, adopt
from ._weight_decay import adamw, adamc
from ._denominator import adamax, adabelief, yogi
from ._beginning import radam, adadelta
from ._family import lion, nadam
from ._direction import signum, cautious_adam, adan, ademamix

#: Every rule of the book by its name.
RULES = {
    rule.__name__: rule
    for rule in (
        gradient_descent,
        momentum,
        nesterov,
        adagrad,
        rprop,
        rmsprop,
        rmsprop_corrected,
        rmsprop_momentum,
        rmsprop_centred,
        rmsprop_centred_momentum,
        adam,
        adam_uncorrected,
        laprop,
        amsgrad,
        amsgrad_corrected,
        amsgrad_torch,
        adopt,
        adamw,
        adamc,
        adamax,
        adabelief,
        yogi,
        radam,
        adadelta,
        lion,
        nadam,
        signum,
        cautious_adam,
        adan,
        ademamix,
    )
}
__all__ = ["RULES", *RULES]
