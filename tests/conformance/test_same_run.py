"""The faults that people reported of resumed runs, each made and each named."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adam_nbdev import optim
from adam_nbdev.conformance.checkpoint import to_plain
from adam_nbdev.conformance.plain import Plain, save
from adam_nbdev.conformance.same_run import compare, fingerprint, main, replay


class Net(torch.nn.Module):
    """Two layers of one size; in which order they are registered, the optimizer sees."""

    def __init__(self, order=("first", "second"), dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        layers = {name: torch.nn.Linear(3, 3) for name in ("first", "second")}
        for name in order:
            self.add_module(name, layers[name].to(dtype))

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def groups_of(net, order=(0, 1)):
    decayed = [p for n, p in net.named_parameters() if n.endswith("weight")]
    others = [p for n, p in net.named_parameters() if n.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "lr": 0.02}]
    return [groups[i] for i in order]


def trained(net, optimizer, steps=9):
    chance = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(8, 3, generator=chance).to(net.first.weight.dtype)
        (net(x) ** 2).mean().backward()
        optimizer.step()
    return optimizer


@pytest.fixture
def run():
    net = Net()
    return net, trained(net, torch.optim.Adam(groups_of(net), lr=0.01))


def kinds(found):
    return [finding.kind for finding in found]


def test_a_run_that_was_resumed_well(run):
    net, optimizer = run
    before, other = fingerprint(optimizer, net), Net()
    again = torch.optim.Adam(groups_of(other), lr=0.01)
    again.load_state_dict(optimizer.state_dict())
    assert compare(before, fingerprint(again, other)) == []
    assert json.loads(json.dumps(before, allow_nan=False)) == before


def test_state_matched_by_order_after_a_layer_moved():
    """pytorch#1489: torch's load_state_dict has positions, no names."""
    net = Net()
    optimizer = trained(net, torch.optim.Adam(net.parameters()))
    moved = Net(order=("second", "first"))
    again = torch.optim.Adam(moved.parameters())
    again.load_state_dict(optimizer.state_dict())
    found = compare(fingerprint(optimizer, net), fingerprint(again, moved))
    assert kinds(found) == ["moved"] * 8 + ["order"]
    assert found[0].text == "m of 'first.weight' has what m of 'second.weight' was"
    assert "torch matches by position" in found[-1].text


def test_moments_zeroed_by_a_sharded_load(run):
    net, optimizer = run
    before = fingerprint(optimizer, net)
    for param in (net.first.weight, net.second.weight):
        for key in ("exp_avg", "exp_avg_sq"):
            optimizer.state[param][key].zero_()
    found = compare(before, fingerprint(optimizer, net))
    assert [f.text for f in found] == [
        f"{slot} of 'first.weight', 'second.weight' is all zeros after, and was not"
        for slot in ("m", "v")
    ]
    assert kinds(found) == ["zero", "zero"]


def test_state_cast_to_the_dtype_of_the_parameter():
    net = Net(dtype=torch.bfloat16)
    optimizer = trained(net, optim.Adam(net.parameters()))  # in float32
    again = torch.optim.Adam(net.parameters())
    again.load_state_dict(optimizer.state_dict())
    found = compare(fingerprint(optimizer, net), fingerprint(again, net))
    assert kinds(found) == ["cast", "cast"]
    names = "'first.weight', 'first.bias', 'second.weight' and 1 more"
    assert found[0].text == f"m of {names} was float32 and is bfloat16"


def test_state_rounded_on_the_way_and_float32_again(run):
    net, optimizer = run
    before = fingerprint(optimizer, net)
    kept = optimizer.state[net.first.weight]
    kept["exp_avg"] = kept["exp_avg"].bfloat16().float()
    (finding,) = compare(before, fingerprint(optimizer, net))
    assert finding == ("cast", "m of 'first.weight' was rounded to bfloat16 on the way")


@pytest.mark.parametrize("now", [0.0, 1.0, 5.0])
def test_the_counter_is_lost(run, now):
    net, optimizer = run
    before = fingerprint(optimizer, net)
    for state in optimizer.state.values():
        state["step"].fill_(now)
    (finding,) = compare(before, fingerprint(optimizer, net))
    assert finding.kind == "step" and f"was 9 and is {now:.0f}" in finding.text
    assert ("the counter was lost" in finding.text) == (now < 2)


def test_groups_in_another_order(run):
    """torch matches groups by position: state and settings go to the other group."""
    net, optimizer = run
    other = Net()
    swapped = torch.optim.Adam(groups_of(other, order=(1, 0)), lr=0.01)
    plain = compare(fingerprint(optimizer, net), fingerprint(trained(other, swapped), other))
    assert kinds(plain) == ["order"] and plain[0].text == "the groups stand in another order"
    biases = {n: p for n, p in net.named_parameters() if n.endswith("bias")}
    pairs = zip(biases.values(), (0.5, 0.1), strict=True)
    one = [{"params": [bias], "lr": lr} for bias, lr in pairs]
    first = trained(net, torch.optim.Adam(one))
    again = torch.optim.Adam(one[::-1])
    again.load_state_dict(first.state_dict())
    found = compare(fingerprint(first, biases), fingerprint(again, biases))
    assert kinds(found) == ["moved"] * 4 + ["order", "settings", "settings"]
    assert found[-1].text == "group 1 has the settings of group 0: lr was 0.1 and is 0.5"


def test_settings_set_anew(run):
    net, optimizer = run
    before = fingerprint(optimizer, net)
    optimizer.param_groups[1]["lr"] = 0.5
    optimizer.param_groups[1]["betas"] = (0.8, 0.999)
    (finding,) = compare(before, fingerprint(optimizer, net))
    text = "lr was 0.02 and is 0.5, betas was [0.9, 0.999] and is [0.8, 0.999]"
    assert finding == ("settings", f"group 1 has changed: {text}")


def test_parameters_that_come_go_and_are_called_otherwise():
    def state(**slots):
        own = {n: {"m": np.array(x), "step": np.array(3)} for n, x in slots.items()}
        return Plain(own, [{"optimizer": "torch.Adam", "params": list(own), "settings": {}}])

    found = compare(state(a=[1.0], b=[2.0], c=[3.0]), state(d=[1.0], b=[2.0], e=[5.0]))
    assert kinds(found) == ["renamed", "missing", "extra", "group"]
    assert found[0].text == "'a' is called 'd' after"
    assert found[1].text == "'c' is missing after" and found[2].text == "'e' is new after"
    lacks = state(a=[1.0])
    del lacks.slots["a"]["m"], lacks.slots["a"]["step"]
    assert kinds(compare(state(a=[1.0]), lacks)) == ["missing", "step"]
    assert kinds(compare(state(a=[1.0]), state(a=[1.0, 2.0]))) == ["shape"]
    assert kinds(compare(state(a=[1.0]), state(a=[-1.5]))) == ["differs"]
    assert kinds(compare(state(a=[1.0]), state(a=[float("nan")]))) == ["differs"]
    assert compare(state(a=[float("nan")]), state(a=[float("nan")])) == []


@given(st.permutations(range(5)), st.integers(0, 4))
def test_every_permutation_is_found(order, zeroed):
    """And only where something moved."""
    rng = np.random.default_rng(0)
    slots = {f"p{i}": {"m": rng.normal(size=4), "step": np.array(2)} for i in range(5)}
    group = [{"optimizer": "torch.Adam", "params": list(slots), "settings": {}}]
    moved = {f"p{i}": slots[f"p{j}"] for i, j in enumerate(order)}
    found = compare(Plain(slots, group), Plain(moved, group))
    expected = {f"m of 'p{i}' has what m of 'p{j}' was" for i, j in enumerate(order) if i != j}
    assert {f.text for f in found} == expected and set(kinds(found)) <= {"moved"}
    moved[f"p{zeroed}"] = {"m": np.zeros(4), "step": np.array(2)}
    assert "zero" in kinds(compare(Plain(slots, group), Plain(moved, group)))


@pytest.mark.parametrize("library", [torch.optim, optim], ids=["torch", "ours"])
def test_a_step_taken_again(library):
    net = Net()
    optimizer = trained(net, library.Adam(net.parameters(), weight_decay=0.1))
    chance = torch.Generator().manual_seed(5)
    grads = {n: torch.randn(p.shape, generator=chance) for n, p in net.named_parameters()}
    before = fingerprint(optimizer, net)
    other = Net()
    other.load_state_dict(net.state_dict())
    again = library.Adam(other.parameters(), weight_decay=0.1)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # else torch shares the state
    for name, param in other.named_parameters():
        param.grad = grads[name].clone()
    again.step()
    after = {n: p.detach() for n, p in other.named_parameters()}
    assert replay(optimizer, net, grads, after) == []
    assert compare(before, fingerprint(optimizer, net)) == []  # it was a copy
    optimizer.state[net.first.bias]["step"] += 1
    (finding,) = replay(optimizer, net, grads, after)
    assert finding.kind == "differs" and "of 3 numbers of 'first.bias' differ" in finding.text
    with pytest.raises(ValueError, match="no parameter 'x'"):
        replay(optimizer, net, {"x": torch.ones(1)}, after)
    with pytest.raises(ValueError, match=r"`after` has no parameter 'first\.weight'"):
        replay(optimizer, net, grads, {})
    with pytest.raises(ValueError, match="has no name"):
        replay(optimizer, {}, grads, after)


def test_the_command(run, tmp_path, capsys):
    net, optimizer = run
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save(to_plain(optimizer, net), before)
    save(to_plain(optimizer, net), after)
    assert main([str(before), str(after)]) == 0
    assert capsys.readouterr().out == "the same: 4 parameters at step 9\n"
    optimizer.state[net.first.bias]["step"].fill_(0)
    save(to_plain(optimizer, net), after)
    assert main([str(before), str(after)]) == 1
    assert capsys.readouterr().out.startswith("step of 'first.bias' was 9 and is 0")
    assert main([str(before), str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_reads_files_of_torch(run, tmp_path, capsys):
    """With names or without; on its own or in a dict; and says what is wrong with others."""
    net, _ = run
    optimizer = torch.optim.Adam(net.named_parameters(), lr=0.01)
    net.first.bias.grad = torch.ones_like(net.first.bias)
    optimizer.step()
    before, after = tmp_path / "before.pt", tmp_path / "after.pt"
    torch.save(optimizer.state_dict(), before)
    torch.save({"epoch": 3, "optimizer": optimizer.state_dict()}, after)
    assert main([str(before), str(after)]) == 0
    optimizer.state[net.first.bias]["exp_avg"].zero_()
    optimizer.param_groups[0]["lr"] = 0.1
    torch.save(optimizer.state_dict(), after)
    capsys.readouterr()
    assert main([str(before), str(after)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "exp_avg of 'first.bias' is all zeros after, and was not",
        "group 0 has changed: lr was 0.01 and is 0.1",
    ]
    nameless = torch.optim.Adam(net.parameters())
    assert set(to_plain(nameless.state_dict()).slots) == {"0", "1", "2", "3"}
    torch.save(net.state_dict(), after)
    assert main([str(before), str(after)]) == 2
    assert "holds no state_dict of an optimizer" in capsys.readouterr().err
    for damage in (before.read_bytes()[:300], b"PK", b""):
        after.write_bytes(damage)
        assert main([str(before), str(after)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    torch.save({"state": {}, "param_groups": [], "run": print}, after)
    assert main([str(before), str(after)]) == 2
    assert "cannot be read as data of torch" in capsys.readouterr().err


@pytest.mark.long
def test_the_command_as_a_process(run, tmp_path):
    net, optimizer = run
    save(to_plain(optimizer, net), tmp_path / "a")
    (tmp_path / "b").write_bytes(b"nothing")
    code = "import sys; from adam_nbdev.conformance.same_run import main; sys.exit(main())"
    how = {"cwd": tmp_path, "capture_output": True, "text": True}
    found = [
        subprocess.run([sys.executable, "-c", code, *files], **how)
        for files in (["a", "a"], ["a", "b"], ["a"])
    ]
    assert [done.returncode for done in found] == [0, 2, 2]
    assert found[1].stderr == "adam-same-run: b: the file is cut off, or is no safetensors file\n"
    assert "Traceback" not in found[2].stderr
