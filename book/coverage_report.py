"""Say how much of the library the tests ran, and name the public functions that none of them ran.

What runs in other processes is not seen, and Numba's functions are left out; pyproject.toml says
which. This only tells, it never fails.
"""

import json
import subprocess
import sys
from pathlib import Path


def measured():
    """What coverage has to say, file by file; nothing if the tests left no data."""
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def module(file):
    """The module's name, wherever the file is installed."""
    parts = Path(file).with_suffix("").parts
    start = len(parts) - 1 - parts[::-1].index("adam_nbdev")
    return ".".join(parts[start:]).removesuffix(".__init__")


def not_run(report):
    """The public functions and methods of which no test ran a line."""
    for file, facts in sorted(report["files"].items()):
        functions = facts["functions"]
        for name, lines in functions.items():
            private = any(part.startswith("_") for part in name.split("."))
            outer = name.rpartition(".")[0]
            inner = outer and outer in functions
            ran, body = lines["executed_lines"], lines["missing_lines"]
            if name and not private and not inner and body and not ran:
                yield f"{module(file)}.{name.partition('@')[0]}"  # name@12: as set in line 12


def main():
    if not (report := measured()):
        return print("No coverage was measured.")
    names = list(not_run(report))
    print(f"== coverage: {report['totals']['percent_covered']:.0f}% of the library's lines ran")
    print(f"public functions no test ran: {', '.join(names) or 'none'}")


if __name__ == "__main__":
    main()
