"""Break every rule in every way that some library has broken it: the checks must go red.

The check is that of test_oracles: agreement, in parameter and state, with torch.optim or, where
torch has no such rule, with the paper's formula in closed form.
"""

import pytest
from harness.evidence import EVIDENCE
from harness.mutants import GRADS, function, sources
from harness.oracles import disagreement, disagreements

from adam_nbdev.rules import RULES


def test_every_rule_has_evidence():
    """An oracle that does not come from our code, and ways in which people get the rule wrong."""
    lacks = {name: EVIDENCE.get(name) for name in RULES}
    assert not [n for n, e in lacks.items() if e is None or not e.oracles or not e.faults]
    assert all(e.rule is RULES[n] for n, e in EVIDENCE.items()), "evidence of what is no rule"


@pytest.mark.parametrize("name", RULES)
def test_every_mutant_dies(name, tmp_path):
    evidence = EVIDENCE[name]
    assert disagreement(RULES[name], evidence, GRADS) < 1e-12
    survivors = [
        fault
        for fault, source in sources(RULES[name])
        if all(e < 1e-9 for e in disagreements(function(name, source, tmp_path), evidence, GRADS))
    ]
    assert not survivors
