"""What a rule computes if every operation is one of IEEE 754's, and how sure that is.

The source is evaluated here by walking its syntax, apart from all that the package does. Other
runs change every inexact result by some last digits: how far they part says how well the rule
determines what it computes, so that no reader is blamed for another order of arithmetic.
"""

import ast
import inspect
import operator
import random
import textwrap
from fractions import Fraction

import numpy as np

OPERATORS = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul},
    **{ast.Div: operator.truediv, ast.Pow: operator.pow},
}
COMPARISONS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
PRIMITIVES = {
    "sqrt": np.sqrt,
    "absolute": np.abs,
    "sign": np.sign,
    "maximum": np.maximum,
    "where": lambda condition, x, y: x if condition else y,
}
UNSIGNED = (ast.Mult, ast.Div, ast.USub, "sign", "maximum")  # a zero from these has any sign


def _exact(op, a, b, result):
    """Whether an operation gives a finite number without rounding, in whatever order."""
    if not all(map(np.isfinite, (a, b, result))) or op is ast.Div:
        return not np.isfinite(result)
    if op is ast.Pow:
        return a in (0, 1) or b in (0, 1)
    return OPERATORS[op](Fraction(float(a)), Fraction(float(b))) == Fraction(float(result))


class Arithmetic:
    """Evaluates functions on doubles, changing inexact results by up to `noise`, relatively."""

    def __init__(self, functions, noise=0.0, seed=0):
        self.functions, self.noise, self.chance = functions, noise, random.Random(seed)
        self.smallest, self.largest, self.finite = np.inf, 0.0, True

    def call(self, name, args, named):
        """What a function returns: a list of values."""
        tree = self.functions[name]
        parameters = [a.arg for a in tree.args.args]
        defaults = parameters[len(parameters) - len(tree.args.defaults) :]
        local = {n: self.value(d, {}) for n, d in zip(defaults, tree.args.defaults, strict=True)}
        local |= dict(zip(parameters, args, strict=False)) | named
        for statement in tree.body:
            if isinstance(statement, ast.Return):
                return self.values(statement.value, local)
            if isinstance(statement, ast.Assign):
                (target,) = statement.targets
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                values = self.values(statement.value, local)
                local |= {n.id: v for n, v in zip(names, values, strict=True)}

    def values(self, tree, local):
        """The values of a right-hand side."""
        if isinstance(tree, ast.Tuple):
            return [self.value(part, local) for part in tree.elts]
        if isinstance(tree, ast.Call) and tree.func.id not in PRIMITIVES:
            args = [self.value(a, local) for a in tree.args]
            return self.call(
                tree.func.id, args, {k.arg: self.value(k.value, local) for k in tree.keywords}
            )
        return [self.value(tree, local)]

    def value(self, tree, local):
        """The value of an expression."""
        match tree:
            case ast.Name():
                return local[tree.id]
            case ast.Constant():
                return self.rounded(np.float64(tree.value))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.value(tree.operand, local)
            case ast.UnaryOp():
                return self.seen(ast.USub, -self.value(tree.operand, local), True)
            case ast.Compare():
                a, b = self.value(tree.left, local), self.value(tree.comparators[0], local)
                return COMPARISONS[type(tree.ops[0])](a, b)
            case ast.BinOp():
                op, a, b = type(tree.op), *(self.value(x, local) for x in (tree.left, tree.right))
                result = OPERATORS[op](a, b)
                if op is ast.Pow and a == -np.inf and b == 0.5 and self.noise:
                    result = np.float64(np.nan)  # NumPy and torch take the root
                size = 1 + min(abs(b), 1e4) if op is ast.Pow and np.isfinite(b) else 1
                return self.seen(op, result, self.noise == 0 or _exact(op, a, b, result), size)
            case ast.Call() if tree.func.id in PRIMITIVES:
                args = [self.value(a, local) for a in tree.args]
                result = PRIMITIVES[tree.func.id](*args)
                return self.seen(tree.func.id, result, tree.func.id != "sqrt")
        (result,) = self.values(tree, local)
        return result

    def rounded(self, value):
        """A number that is given; in single precision, maybe rounded."""
        return value if self.noise < 1e-9 or np.float32(value) == value else self.changed(value)

    def seen(self, op, result, exact, size=1):
        """A result, changed in its last digits if it is not exact."""
        if np.isfinite(result) and result != 0:
            self.smallest = min(self.smallest, abs(result))
            self.largest = max(self.largest, abs(result))
        self.finite &= bool(np.isfinite(result))
        if result == 0 and self.noise and op in UNSIGNED:
            return np.copysign(result, self.chance.choice([-1.0, 1.0]))
        return result if exact else self.changed(result, size)

    def changed(self, value, size=1):
        """A value with other last digits."""
        return value * np.float64(1 + size * self.noise * self.chance.uniform(-1, 1))


def functions_of(source, imported):
    """The syntax of every function in a module, and of those that it imports, by name."""
    texts = [source, *(textwrap.dedent(inspect.getsource(f)) for f in imported)]
    trees = [tree for text in texts for tree in ast.parse(text).body]
    return {tree.name: tree for tree in trees if isinstance(tree, ast.FunctionDef)}
