"""Break every rule in every way that some library has broken it: the checks must go red.

The check is that of test_oracles: agreement, in parameter and state, with torch.optim or, where
torch has no such rule, with the paper's formula in closed form.
"""

import pytest
from harness.cases import disagreement
from harness.mutants import GRADS, function, sources

from adam_nbdev.rules import RULES


@pytest.mark.parametrize("name", RULES)
def test_every_mutant_dies(name, tmp_path):
    assert disagreement(RULES[name], name, GRADS) < 1e-12
    survivors = [
        fault
        for fault, source in sources(RULES[name])
        if disagreement(function(name, source, tmp_path), name, GRADS) < 1e-9
    ]
    assert not survivors
