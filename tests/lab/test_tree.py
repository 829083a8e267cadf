"""The family tree: every rule of the book has its place in it."""

from adam_nbdev.lab.tree import branch_of, descent
from adam_nbdev.language.catalogue import ENTRIES
from adam_nbdev.rules import RULES


def test_every_rule_has_a_year_and_a_parent_that_is_no_younger():
    lacks = [name for name in RULES if not ENTRIES[name].year]
    assert not lacks, "give enter() a year and a parent"
    for name in RULES.keys() - {"gradient_descent"}:
        parent = ENTRIES[name].parent
        assert parent in RULES, name
        assert ENTRIES[parent].year <= ENTRIES[name].year, name


def test_the_tree_has_one_root_and_a_chapter_and_a_line_for_every_rule():
    branches = [branch for _, branch in descent(branch_of(ENTRIES[name]) for name in RULES)]
    assert [branch.name for branch in branches if not branch.parent] == ["gradient_descent"]
    assert all(branch.page.endswith(".ipynb") and branch.said for branch in branches)
