"""What failed in the last run of the tests, once more and alone: python3 -m tests.harness.again [OPTION of pytest...].

Relies on pytest's own list of it (its cache folder, pyproject.toml). pytest --last-failed alone will not do: where
tests that share a fixture are kept on one worker, that list has their names with the group's, and without workers no
test is called so.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.harness import tree

LIST = tree.BUILD / "pytest" / "v" / "cache" / "lastfailed"


def failed(path: Path = LIST) -> list[str]:
    """Names of the tests that failed or could not begin, as pytest takes them; without a worker group (`@clone`)."""
    names: dict[str, bool] = json.loads(path.read_text(encoding="utf-8"))
    return sorted({re.sub(r"@[\w-]+$", "", name) for name in names})


def main() -> int:
    """pytest's exit status; 1 if there is no list of tests to run again."""
    names = failed() if LIST.exists() else []
    if not names:
        print("no test is listed as failed: nothing to try again", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "pytest", "-n", "0", *sys.argv[1:], *names]
    return subprocess.run(command, cwd=tree.ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
