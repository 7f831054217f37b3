"""Whether a package of a lock has a known vulnerability.

    make audit      ENV=gpu: of that environment; ARGS='--vulnerability-service osv': by another database

Exit status: 0 when every package was looked up and none has one, 1 when one has, 2 when not all could be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str]) -> int:
    """arguments: options of pip-audit, then the locks"""
    locks = [argument for argument in arguments if argument.endswith(".lock")]
    command = ["pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    command += [argument for argument in arguments if argument not in locks]
    for lock in locks:
        command += ["--requirement", lock]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"error: pip-audit could not look anything up: {reason}", file=sys.stderr)
        return 2
    return judged(found)


def judged(found: Sequence[Any]) -> int:
    """Says what pip-audit found of each package, worst last; the exit status."""
    missing = [item["name"] for item in found if "skip_reason" in item]
    bad = [item for item in found if item.get("vulns")]
    if missing and len(missing) == len(found):
        print(
            f"error: the database of vulnerabilities knows none of {len(missing)} packages, so it is out of reach "
            "(an index that only mirrors files?): nothing was checked",
            file=sys.stderr,
        )
        return 2
    for item in bad:
        for flaw in item["vulns"]:
            mended = ", ".join(flaw["fix_versions"]) or "no version"
            print(f"{item['name']} {item['version']}: {flaw['id']}, mended in {mended}")
    if missing:
        print(f"error: not checked, unknown to the database: {', '.join(missing)}", file=sys.stderr)
    print(f"{len(found) - len(missing)} packages checked, {len(bad)} with known vulnerabilities")
    return 1 if bad else 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
