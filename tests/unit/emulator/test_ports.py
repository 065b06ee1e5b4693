"""Ports of local servers: free when they are chosen, and still free when they are used."""

from __future__ import annotations

import subprocess
import sys

from closedwon.emulators.ports import claim, free_port, is_free, release

_CLAIM = "import sys; from closedwon.emulators.ports import claim; print(claim(int(sys.argv[1])))"


def _another_process_claims(port: int) -> bool:
    ended = subprocess.run([sys.executable, "-c", _CLAIM, str(port)], capture_output=True, text=True, check=True)
    return ended.stdout.strip() == "True"


def test_a_chosen_port_is_chosen_by_no_other_process_until_it_is_released() -> None:
    """Also while no server listens on it, before its first start and between two starts."""
    port = free_port()
    assert (True, False) == (is_free(port), _another_process_claims(port))

    release(port)
    assert _another_process_claims(port)


def test_the_claims_of_a_process_end_with_it() -> None:
    """A process that was killed keeps no port from others."""
    port = free_port()
    release(port)
    assert _another_process_claims(port)

    assert claim(port)
    release(port)


def test_a_process_never_chooses_the_same_port_twice() -> None:
    """Its first server may not listen yet."""
    ports = [free_port() for _ in range(50)]
    for port in ports:
        release(port)

    assert 50 == len({*ports})
