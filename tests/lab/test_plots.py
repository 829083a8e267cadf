"""Figures are the same bytes for the same run, mark what is lost, and refuse what is nothing."""

import dataclasses
import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from adam_nbdev.lab.figures import INK, book_style, spread, style
from adam_nbdev.lab.objectives import quadratic, rosenbrock, saddle, sparse
from adam_nbdev.lab.plots import plot_paths, plot_quantities, plot_values
from adam_nbdev.lab.trajectory import trajectory
from adam_nbdev.language.catalogue import ENTRIES
from adam_nbdev.rules import RULES

VALLEY = quadratic(condition=10, angle=0.3)
RUNS = [trajectory(rule, VALLEY, steps=20, lr=0.05) for rule in RULES.values()]
LONG, LOST = (trajectory(RULES["gradient_descent"], VALLEY, steps=60, lr=lr) for lr in (0.1, 1e6))

ADAM = list(RULES).index("adam")
book_style()


def svg(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def texts(figure):
    """All labels of a figure, as they are drawn: their words and their boxes."""
    figure.draw_without_rendering()
    return [
        (text.get_text(), Text.get_window_extent(text)) for ax in figure.axes for text in ax.texts
    ]


def test_every_rule_has_a_look_of_its_own():
    assert ENTRIES.keys() >= RULES.keys()
    looks = [style(rule) for rule in RULES.values()]
    assert len({look["label"] for look in looks}) == len(looks)
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == len(looks)
    assert style(RULES["adam"]) == style("adam")


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.floats(0.1, 50))
def test_labels_are_spread_in_order(heights, gap):
    placed = spread(heights, gap)
    order = np.argsort(heights, kind="stable")
    assert np.all(np.diff(placed[order]) >= gap - 1e-9)
    assert np.mean(placed) == pytest.approx(np.mean(heights), abs=1e-6)
    if np.all(np.diff(np.sort(heights)) >= gap):
        assert np.allclose(placed, heights)


DRAW = {
    "values": lambda: plot_values(RUNS),
    "paths": lambda: plot_paths(VALLEY, RUNS),
    "quantities": lambda: plot_quantities(RUNS[ADAM], ["grad", "m_hat", "update"]),
    "lost": lambda: plot_values([LONG, LOST]),
}


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(draw, id=name, marks=[pytest.mark.long] * (name in ("values", "quantities")))
        for name, draw in DRAW.items()
    ],
)
def test_the_same_run_gives_the_same_bytes(draw):
    first, second = svg(draw()), svg(draw())
    assert first == second and INK.encode() in first


@pytest.mark.parametrize(
    "draw", [pytest.param(DRAW["values"], marks=pytest.mark.long), DRAW["quantities"]]
)
def test_no_label_covers_another(draw):
    figure = draw()
    for one, other in itertools.combinations([box for _, box in texts(figure)], 2):
        assert not one.overlaps(other)


def test_values_are_those_of_the_runs():
    figure = plot_values(RUNS)
    (ax,) = figure.axes
    for run, line in zip(RUNS, ax.lines, strict=True):
        assert np.array_equal(line.get_ydata(), run.excess)
        assert line.get_color() == style(run.rule)["color"]
    assert [words for words, _ in texts(figure)] == [style(name)["label"] for name in RULES]


def test_labels_can_be_given():
    assert [w for w, _ in texts(plot_values({"small": RUNS[0], "large": RUNS[1]}))] == [
        "small",
        "large",
    ]


def test_what_is_lost_is_marked():
    figure = plot_values([LONG, LOST])
    step = int(np.argmin(np.isfinite(LOST.values)))
    assert f"gradient descent, lr 1e+06,\nnot finite from step {step}" in dict(texts(figure))
    (ax,) = figure.axes
    assert [line.get_marker() for line in ax.lines] == ["None", "None", "x"]
    (ax,) = plot_paths(VALLEY, [LONG, LOST]).axes
    assert "x" in [line.get_marker() for line in ax.lines]


@pytest.mark.parametrize("objective", [rosenbrock(), saddle(), VALLEY], ids=lambda o: o.name)
@pytest.mark.parametrize("lr", [1e-4, 0.1, 1e3])
def test_a_map_shows_its_minima_and_its_start(objective, lr):
    run = trajectory(RULES["adam"], objective, steps=30, lr=lr)
    (ax,) = plot_paths(objective, [run]).axes
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for x, y in [objective.start, *objective.minima()]:
        assert left < x < right and bottom < y < top


def other(run, **changes):
    return dataclasses.replace(run, **changes)


BAD = {
    "give at least one": lambda: plot_values([]),
    "no step": lambda: plot_values(other(RUNS[0], grads=RUNS[0].grads[:0])),
    "the lengths 21, 61 differ": lambda: plot_values([RUNS[0], LONG]),
    "the lengths 20, 21 differ": lambda: plot_values(other(RUNS[0], values=RUNS[0].values[1:])),
    "not finite where it starts": lambda: plot_values(other(RUNS[0], values=np.full(21, np.nan))),
    "has not two coordinates": lambda: plot_paths(
        sparse(), trajectory(RULES["adam"], sparse(), steps=2)
    ),
    "give names": lambda: plot_quantities(RUNS[0], []),
    "1 to 4 coordinates": lambda: plot_quantities(RUNS[0], ["grad"], coordinates=()),
    "'grad' is not finite at step 1": lambda: plot_quantities(
        other(RUNS[0], named={"grad": np.full((20, 2), np.nan)}), ["grad"]
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    with pytest.raises(ValueError, match=message) as error:
        BAD[message]()
    assert "\n" not in str(error.value)


def test_an_unknown_quantity_is_refused():
    with pytest.raises(KeyError, match="names no 'velocity'"):
        plot_quantities(RUNS[0], ["velocity"])


def test_figures_are_not_kept_open():
    code = """
import sys
from adam_nbdev.rules import RULES
from adam_nbdev.lab.objectives import quadratic
from adam_nbdev.lab.plots import plot_values
from adam_nbdev.lab.trajectory import trajectory
plot_values(trajectory(RULES["adam"], quadratic(), steps=2))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
