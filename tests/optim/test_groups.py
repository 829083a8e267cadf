"""The groups of what decays: a partition of the parameters of any tree of modules."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from adam_nbdev.optim import AdamW, decay_groups, explain_decay


class Custom(nn.Module):
    """A gain, a number, a matrix and a bias of three dimensions, with names of their own."""

    def __init__(self):
        super().__init__()
        self.gain, self.heat = nn.Parameter(torch.ones(3)), nn.Parameter(torch.tensor(1.0))
        self.mix, self.bias_k = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(1, 1, 2))


LEAVES = [
    lambda: nn.Linear(3, 3),
    lambda: nn.Linear(3, 3, bias=False),
    lambda: nn.Conv1d(3, 3, 2),
    lambda: nn.Embedding(3, 3),
    lambda: nn.EmbeddingBag(3, 3),
    lambda: nn.LayerNorm((2, 3)),
    lambda: nn.RMSNorm(3),
    lambda: nn.BatchNorm2d(3),
    lambda: nn.GroupNorm(1, 3),
    lambda: nn.InstanceNorm1d(3, affine=True),
    lambda: nn.GRU(3, 3),
    lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
    lambda: nn.ParameterList([torch.ones(2, 2), torch.ones(2)]),
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    nn.ReLU,
    Custom,
]


@st.composite
def trees(draw):
    """A random tree of modules in which modules and weights are shared and some are frozen."""
    made = [draw(st.sampled_from(LEAVES))() for _ in range(draw(st.integers(1, 6)))]
    for _ in range(draw(st.integers(0, 3))):
        made.append(nn.Sequential(*draw(st.lists(st.sampled_from(made), min_size=1, max_size=4))))
    square = [m for m in made if isinstance(getattr(m, "weight", None), nn.Parameter)]
    square = [m for m in square if m.weight.shape == (3, 3)]
    for module in square[1:]:
        if draw(st.booleans()) and not hasattr(module, "parametrizations"):
            module.weight = square[0].weight
    tree = nn.ModuleList(made)
    for param in tree.parameters():
        param.requires_grad_(draw(st.booleans()))
    return tree


def numbers(groups):
    return [id(param) for group in groups for param in group["params"]]


@settings(deadline=None, max_examples=60)
@given(trees(), st.booleans(), st.booleans())
def test_the_groups_are_a_partition(tree, decay_embeddings, keep_frozen):
    wanted = [id(p) for p in tree.parameters() if p.requires_grad or keep_frozen]
    if not wanted:
        with pytest.raises(ValueError, match="has no parameters"):
            decay_groups(tree, 0.1, decay_embeddings, keep_frozen)
        return
    groups = decay_groups(tree, 0.1, decay_embeddings, keep_frozen)
    found = numbers(groups)
    assert len(found) == len(set(found)) and set(found) == set(wanted)
    for group in groups:
        there = numbers([group])
        assert there == [i for i in wanted if i in set(there)], "in the order of the model"
    told = explain_decay(tree, decay_embeddings, keep_frozen)
    decaying = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    assert [row.decays for row in told] == [i in decaying for i in wanted]
    names = [name for row in told for name in row.name.split(", ")]
    assert len(names) == len(set(names))
    known = dict(tree.named_parameters(remove_duplicate=False))
    rows = zip(told, wanted, strict=True)
    assert all(id(known[name]) == i for row, i in rows for name in row.name.split(", "))
    AdamW(groups)


@settings(deadline=None, max_examples=60)
@given(trees(), st.booleans())
def test_what_decays_is_a_matrix_in_no_use_a_bias_a_norm_or_an_embedding(tree, decay_embeddings):
    if not list(tree.parameters()):
        return
    groups = decay_groups(tree, 0.1, decay_embeddings)
    decaying = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    norms = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm2d, nn.InstanceNorm1d)
    spared = norms if decay_embeddings else (*norms, nn.Embedding, nn.EmbeddingBag)
    for param in tree.parameters():
        uses = [
            (module, name)
            for module in tree.modules()
            for name, other in module.named_parameters(recurse=False)
            if other is param
        ]
        no = any(isinstance(module, spared) or "bias" in name for module, name in uses)
        assert (id(param) in decaying) == (param.ndim > 1 and not no)


def test_every_normalisation_of_torch_is_known():
    made = [
        *(getattr(nn, f"{kind}Norm{n}d") for kind in ("Batch", "Lazy", "Instance") for n in "123"
          if hasattr(nn, f"{kind}Norm{n}d")),
        *(nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    ]  # fmt: skip
    for kind in made:
        shape = (1, 4) if kind is nn.GroupNorm else (4,)
        affine = {"affine": True} if "Instance" in kind.__name__ else {}
        rows = explain_decay(kind(*shape, **affine))
        assert rows and not any(row.decays for row in rows)
        assert {row.why for row in rows} == {f"in {kind.__name__}"}

    class Mine(nn.LayerNorm):
        pass

    assert {row.why for row in explain_decay(Mine((2, 2)))} == {"in Mine"}


def test_the_names_of_parameters_are_enough_for_most():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), Custom())
    by_name = decay_groups(model.named_parameters(), 0.1)
    assert [numbers([g]) for g in by_name] == [numbers([g]) for g in decay_groups(model, 0.1)]
    shared = [("a.weight", model[0].weight), ("b.weight", model[0].weight)]
    assert [row.name for row in explain_decay(shared)] == ["a.weight, b.weight"]


def test_only_what_is_in_the_first_group_shrinks():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with torch.no_grad():
        for param in model.parameters():
            param.fill_(1.0)
    model[0].weight.requires_grad_(False)  # frozen: it stays, though it is in the groups
    frozen, optimizer = model[0].weight, AdamW(decay_groups(model, 0.5), lr=0.1)
    for param in model.parameters():
        param.grad = torch.zeros_like(param) if param.requires_grad else None
    optimizer.step()
    assert all(torch.equal(p, torch.ones_like(p)) for p in model.parameters())
    frozen.requires_grad_(True)
    frozen.grad = torch.zeros_like(frozen)
    optimizer.step()
    assert torch.allclose(frozen, torch.full_like(frozen, 0.95))
    assert len(numbers(decay_groups(model, 0.5))) == 4
    model[0].weight.requires_grad_(False)
    assert len(numbers(decay_groups(model, 0.5, keep_frozen=False))) == 3


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf, -math.inf])
def test_a_decay_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=f"weight_decay is {wrong}; it is finite and at least 0"):
        decay_groups(nn.Linear(2, 2), wrong)
