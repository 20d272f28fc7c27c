"""The crypto server against bad requests, many requests, dying clients, hostile clients, and its own death."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import image
from tests.harness.guest import SERVER_DEATH, Boot

CPUS = [1, 3, 8]


@pytest.fixture
def server_image(built: None, tmp_path: Path) -> Path:
    """An image with the clients of this suite."""
    clients = ["server_bad", "server_load", "server_kill", "server_attack"]
    return image.make(tmp_path, clients)


@pytest.mark.parametrize("cpus", CPUS)
def test_invalid_requests_end_in_error_and_the_server_lives(
    boot: Boot, server_image: Path, cpus: int
) -> None:
    """Each invalid request is answered ERROR or not taken; mappings are given back."""
    guest = boot(image=server_image, cpus=cpus)
    guest.run("server_bad")


@pytest.mark.parametrize("cpus", CPUS)
@pytest.mark.parametrize("clients, requests", [(16, 1), (17, 1), (50, 10), (1, 100)])
def test_queued_requests_are_all_served_in_order(
    boot: Boot, server_image: Path, cpus: int, clients: int, requests: int
) -> None:
    """As many as the queue holds, one more, and many more, from many clients and from one."""
    guest = boot(image=server_image, cpus=cpus, debug=cpus == 3)
    guest.run(f"server_load {clients} {requests}")


@pytest.mark.parametrize("cpus", CPUS)
def test_killed_clients_disturb_nobody(boot: Boot, server_image: Path, cpus: int) -> None:
    """Clients killed with their requests in the queue and in line; the server can't be killed."""
    guest = boot(image=server_image, cpus=cpus, mem="512M")
    guest.run("server_kill")
    assert guest.run("kill 2", status=None) and guest.status != 0
    guest.run("crypto_cli")


@pytest.mark.parametrize("cpus", CPUS)
def test_hostile_clients_do_not_hurt_the_server(boot: Boot, server_image: Path, cpus: int) -> None:
    """Sizes rewritten, memory given up, exec, fork and exit while the server has the request."""
    guest = boot(image=server_image, cpus=cpus, debug=cpus == 3)
    guest.run("server_attack")


@pytest.mark.parametrize("cpus", CPUS)
def test_the_server_comes_back(boot: Boot, built: None, tmp_path: Path, cpus: int) -> None:
    """A server with a planted bug: lost requests are reported, waiting ones served, pid 2 again."""
    planted = image.make(tmp_path, ["server_crash"], replace={"crypto_srv": "crypto_srv_bug"})
    guest = boot(image=planted, cpus=cpus, debug=cpus == 3)
    guest.forgive(SERVER_DEATH)
    guest.run("server_crash")
    assert "crypto_srv: died (status 7), starting again\n" in guest.console
    guest.run("crypto_cli")


def test_the_server_comes_back_with_the_memory(boot: Boot, built: None, tmp_path: Path) -> None:
    """Another process holds all memory for longer than a program that does not run is tried."""
    planted = image.make(tmp_path, ["server_crash"], replace={"crypto_srv": "crypto_srv_bug"})
    guest = boot(image=planted, mem="16M")
    guest.forgive(SERVER_DEATH)
    guest.run("server_crash hungry")


def test_without_a_server_clients_are_told(boot: Boot, built: None, tmp_path: Path) -> None:
    """An image without /crypto_srv boots, says so once, and refuses requests."""
    guest = boot(image=image.make(tmp_path, without=["crypto_srv"]), audited=False)
    text = guest.run("crypto_cli", status=1)
    assert text == "crypto_cli: the kernel does not take the request (no crypto server?)\n"
    assert guest.console.count("crypto requests are refused") == 1


def test_started_from_the_shell_it_says_so_and_exits(boot: Boot) -> None:
    guest = boot()
    text = guest.run("crypto_srv", status=1)
    assert text.startswith("crypto_srv: the kernel runs the server") and text.count("\n") == 1
    guest.run("crypto_cli")
