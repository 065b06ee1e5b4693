"""`closedwon erp pause`, `resume` and `status`, as an operator types them."""

from __future__ import annotations

from collections.abc import Callable

from typer.testing import Result

from tests.integration.cli.conftest import LONELY

Closedwon = Callable[..., Result]


def test_pause_and_resume_say_how_the_erp_stands_and_why(closedwon: Closedwon) -> None:
    """Who comes later sees what was done to the ERP, by whom, and that no worker asks for work."""
    paused = closedwon("erp", "pause", "lonely", "--why", "[/closing]", changes=LONELY)
    assert (0, True) == (paused.exit_code, "paused" in paused.output and "[/closing]" in paused.output)
    status = closedwon("erp", "status", changes=LONELY)
    assert (0, True) == (status.exit_code, "paused" in status.output and "none" in status.output)
    page = closedwon("top", "--once", changes=LONELY)
    assert (0, True) == (page.exit_code, "paused" in page.output and "[/closing]" in page.output)

    slowly = closedwon("erp", "resume", "lonely", "--rate", "5", changes=LONELY)
    assert (0, True) == (slowly.exit_code, "at most 5/s" in slowly.output)
    resumed = closedwon("erp", "resume", "lonely", changes=LONELY)
    assert (0, True) == (resumed.exit_code, "open" in resumed.output and "closing" not in resumed.output)


def test_an_erp_that_is_not_configured_is_not_paused(closedwon: Closedwon) -> None:
    """A limit on an unused queue would only look like a pause."""
    mistyped = closedwon("erp", "pause", "stbu")
    assert (2, True) == (mistyped.exit_code, "did you mean `stub`?" in mistyped.output)
