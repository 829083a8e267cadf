"""Draw the picture of the README: five optimizers on their way down a valley."""

from pathlib import Path

from adam_nbdev.lab.figures import book_style
from adam_nbdev.lab.objectives import quadratic
from adam_nbdev.lab.plots import plot_paths
from adam_nbdev.lab.trajectory import trajectory
from adam_nbdev.rules import RULES

PICTURE = Path(__file__).parent / "static" / "valley.svg"
LEARNING_RATES = {"gradient_descent": 0.035, "momentum": 0.02, "adagrad": 0.4}
LEARNING_RATES |= {"rmsprop": 0.04, "adam": 0.15}


def draw():
    """The picture, a figure of matplotlib."""
    book_style()
    valley = quadratic(condition=50, angle=0.4)
    runs = [trajectory(RULES[n], valley, steps=40, lr=lr) for n, lr in LEARNING_RATES.items()]
    return plot_paths(valley, runs)


def main():
    draw().savefig(PICTURE, facecolor="white", transparent=False, metadata={"Date": None})


if __name__ == "__main__":
    main()
