"""What a cell of a page shows of a run, and of an error."""

import pytest

from adam_nbdev import formula
from adam_nbdev.lab.cell import CHARACTERS, LINES, run_cell
from adam_nbdev.rules import adam


def shown(code):
    """What a page shows of a run, one piece after another."""
    found = []
    run_cell(code, lambda *piece: found.append(piece))
    return found


def test_a_cell_shows_what_a_notebook_would():
    code = "print('a', end='')\nprint('b')\ndisplay([1])\nx = 2\nx + 1"
    assert "".join(text for _, text in shown(code)) == "ab\n[1]\n3\n"
    assert shown("x = 1") == shown("None") == []
    assert shown("from adam_nbdev import adam, formula\nformula(adam)") == [
        ("latex", formula(adam)._repr_latex_())
    ]


@pytest.mark.parametrize(
    ("code", "begins", "ends"),
    [
        ("x = 1\nx +", "line 2\n", "SyntaxError: invalid syntax"),
        ("def f():\n    1 / 0\nf()", "line 3:\n    f()\nline 2, in f:\n    1 / 0\nZero", "by zero"),
        ("def f():\n    f()\nf()", "line 3:\n    f()\nline 2, in f:", ""),
        ("raise SystemExit", "line 1:\n    raise SystemExit\nSystemExit", ""),
        ("import nothing_here", "line 1:", "a notebook has the rest."),
        ("from adam_nbdev import table\ntable(print, [1.0])", "line 2:\n    table(", ""),
    ],
)
def test_an_error_is_told_by_the_lines_of_the_reader(code, begins, ends):
    ((kind, text),) = shown(code)
    assert kind == "error" and text.startswith(begins) and text.endswith(ends)
    assert "adam_nbdev/" not in text and len(text) < 800 and text.count("\n") < 20


@pytest.mark.parametrize(
    "code",
    ["while True: print(1)", "while True: print('x' * 99, end='')", "while True: display(t)"],
)
def test_output_has_an_end(code):
    code = f"from adam_nbdev import adam, table\nt = table(adam, [1.0])\n{code}"
    code = code.replace("while True", "for _ in range(9999)")
    *pieces, (kind, said) = shown(code)
    assert kind == "note" and f"{LINES}" in said and len(pieces) <= LINES
    assert sum(len(text) for kind, text in pieces if kind == "text") <= CHARACTERS


def test_a_table_too_wide_for_the_page_is_text():
    code = "from adam_nbdev import adam, table\ntable(adam, [1.0] * 900)"
    assert [kind for kind, _ in shown(code)] == ["text", "note"]
