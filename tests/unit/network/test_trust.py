"""The authorities that the environment names, for a transport of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon.network.trust import TrustSettingError, authorities_pem, client_context


def test_a_file_that_cannot_be_read_any_more_is_named(trusted: Path) -> None:
    """The context of other calls keeps what was read before; here there is nothing to keep."""
    client_context()
    trusted_text = trusted.read_bytes()
    trusted.unlink()
    try:
        with pytest.raises(TrustSettingError, match=r"SSL_CERT_FILE .*No such file") as refused:
            authorities_pem()
    finally:
        trusted.write_bytes(trusted_text)
    assert str(trusted) in str(refused.value)
