"""Ask the Adams of other libraries which they are, and write book/field.json.

Each library is installed, in the newest version that this Python takes, into an environment that is
thrown away, and asked by `adam-conformance` as a program, book/peers.py; torch, optax and JAX are
those of the Python that runs this. A library that cannot be installed, crashes or hangs is skipped,
and the reason recorded. So it needs a network, and a quarter of an hour: `make field`.
"""

import contextlib
import datetime
import io
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from defaults import installed
from peers import LEFT_OUT, PEERS

from adam_nbdev.conformance.runner import main as conformance

RESULT = Path(__file__).resolve().parent / "field.json"
PROGRAM = RESULT.with_name("peers.py")


def report(python, library, optimizer, home, dtype="float64", seconds=120):
    """What `adam-conformance` says of an optimizer that runs under this Python."""
    words = ["env", f"HOME={home}", str(python), str(PROGRAM), library, optimizer]
    options = ["--form", "json", "--dtype", dtype, "--seconds", str(seconds), "--program", *words]
    with contextlib.redirect_stdout(io.StringIO()) as written:
        conformance(options)
    (said,) = json.loads(written.getvalue())
    if said["status"] == 2:
        return {"skipped": said["said"].removeprefix("it could not be asked: RuntimeError: ")}
    return {"dtype": dtype, **{key: said[key] for key in ("said", "dialect", "distance")}}


def reason(error):
    """Why pip brought nothing, in a sentence."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"pip was not done after {error.timeout:g} seconds"
    told = re.findall(r"^\s*(\w*error: .*)", error.stderr, re.IGNORECASE | re.MULTILINE)
    told = [line for line in told if "subprocess-exited" not in line]
    return f"pip could not install it: {told[0] if told else 'it said nothing'}"


def rows(library, peer, seconds=120):
    """What is recorded of a library: a row for each optimizer, or one that says why not."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            python = sys.executable
            if peer.needs:
                python = installed(folder, *peer.needs, desk=peer.desk)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            return [{"library": library, "skipped": reason(error)}]
        show = f"from importlib.metadata import version; print(version({library!r}))"
        said = subprocess.run([python, "-c", show], capture_output=True, text=True)
        head = {"library": library, "version": said.stdout.partition("+")[0].strip()}
        if said.returncode:
            return [{"library": library, "skipped": "it is not installed"}]
        found = [
            {
                **head,
                "optimizer": each,
                **report(python, library, each, folder, peer.dtype, seconds),
            }
            for each in peer.optimizers
        ]
        if library == "onnx":
            vectors = subprocess.check_output([python, PROGRAM, library, "vectors"])
            found[0]["vectors"] = json.loads(vectors)
        return found


def main():
    found = []
    for library, peer in PEERS.items():
        for row in rows(library, peer):
            print(
                library, row.get("optimizer", ""), row.get("said", row.get("skipped")), flush=True
            )
            found.append(row)
    found += [{"library": library, "skipped": why} for library, why in LEFT_OUT.items()]
    head = {"date": datetime.date.today().isoformat(), "python": platform.python_version()}
    text = json.dumps({**head, "rows": found}, indent=1, ensure_ascii=False)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main()
