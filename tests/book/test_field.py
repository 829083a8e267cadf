"""The recorded table of the field: whole, dated, and made so that no peer can stop it."""

import datetime
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from adam_nbdev.conformance.dialects import AdamDialect
from adam_nbdev.conformance.runner import TOLERANCE

sys.path.append(str(Path(__file__).resolve().parents[2] / "book"))

import field
import peers

SAID = json.loads(field.RESULT.read_text(encoding="utf-8"))
ASKED = [row for row in SAID["rows"] if "said" in row]


def test_every_row_has_a_version_and_a_dialect_or_a_reason():
    assert datetime.date.fromisoformat(SAID["date"]) <= datetime.date.today()
    assert {row["library"] for row in SAID["rows"]} == {*peers.PEERS, *peers.LEFT_OUT}
    assert len({row["library"] for row in ASKED}) >= 12
    for row in SAID["rows"]:
        if "skipped" in row:
            assert row["skipped"] and "\n" not in row["skipped"]
        else:
            assert row["version"][0].isdigit() and row["optimizer"]
            assert row["dialect"] is None or str(AdamDialect(**row["dialect"])) == row["said"]
            assert row["dialect"] is None or row["distance"] < TOLERANCE[row["dtype"]]


@pytest.mark.long
@pytest.mark.parametrize("library", ["torch", "optax"])
def test_a_library_of_the_desk_is_what_is_recorded(library):
    recorded = [row for row in ASKED if row["library"] == library]
    if recorded[0]["version"] != version(library).partition("+")[0]:
        pytest.skip(f"the record is of {library} {recorded[0]['version']}; `make field`")
    found = field.rows(library, peers.PEERS[library])
    assert [row["dialect"] for row in found] == [row["dialect"] for row in recorded]
    assert all(row["distance"] < 1e-12 for row in found)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('it wants an older Python')", "it wants an older Python"),
        ("import os; os._exit(3)", "status 3: it said nothing"),
        ("import time; time.sleep(60)", "no answer within 0.5 seconds"),
        ("print('hello')", "JSONDecodeError"),
    ],
)
def test_a_peer_that_crashes_or_hangs_is_skipped_with_the_reason(code, said, tmp_path, monkeypatch):
    (tmp_path / "peer.py").write_text(code)
    monkeypatch.setattr(field, "PROGRAM", tmp_path / "peer.py")
    peer = peers.Peer((), False, "float64", ("Adam",), None)
    (row,) = field.rows("numpy", peer, seconds=0.5 if "sleep" in code else 20)
    assert row["version"] == version("numpy") and said in row["skipped"]


def test_a_peer_that_cannot_be_installed_is_skipped_with_the_reason(monkeypatch):
    peer = peers.Peer(("x",), False, "float64", ("Adam", "AdamW"), None)
    told = "  error: subprocess-exited-with-error\n  ModuleNotFoundError: No module named 'y'\n"
    errors = {
        "No module named 'y'": subprocess.CalledProcessError(1, "pip", stderr=told),
        "it said nothing": subprocess.CalledProcessError(1, "pip", stderr=""),
        "not done after 600 seconds": subprocess.TimeoutExpired("pip", 600),
    }
    for said, error in errors.items():

        def fails(*wanted, error=error, **how):
            raise error

        monkeypatch.setattr(field, "installed", fails)
        (row,) = field.rows("x", peer)
        assert row["library"] == "x" and said in row["skipped"]


def test_a_peer_of_the_desk_that_the_desk_lacks_is_skipped():
    peer = peers.Peer((), True, "float64", ("Adam",), None)
    (row,) = field.rows("no-such-library", peer)
    assert row == {"library": "no-such-library", "skipped": "it is not installed"}
