"""Isolation: attacks on the kernel, on other processes and on the crypto server, each of which must fail.

tests/guest_programs/isolation.c makes them, one a run, beside a victim with a secret. The server's own suite
(test_server.py) has the attacks of hostile requests.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import image, tree
from tests.harness.guest import Boot

SOURCE = tree.ROOT / "tests" / "guest_programs" / "isolation.c"
ATTACKS = re.findall(r'\{"(\w+)", \1\}', SOURCE.read_text())


@pytest.mark.parametrize("cpus, debug", [(1, False), (3, True), (8, False)])
def test_attacks_fail(boot: Boot, built: None, tmp_path: Path, cpus: int, debug: bool) -> None:
    """Refused or killed; victim, server and every frame as before."""
    guest = boot(image=image.make(tmp_path, ["isolation"]), cpus=cpus, debug=debug)
    assert guest.run("isolation -l").split() == ATTACKS
    for name in ATTACKS:
        output = guest.run(f"isolation {name}", timeout=600)
        assert output.endswith("all checks hold\n"), (name, output)
        assert "the frame is still there" not in output
    guest.run("crypto_cli")
