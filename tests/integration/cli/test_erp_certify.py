"""`closedwon erp certify`: what is printed, what is asked before, and the exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import requests

from closedwon.certify import CHECKS, TEST_ORG
from tests.integration.cli.conftest import Closedwon, Installation


def orders(url: str) -> int:
    """How many orders the stub ERP has."""
    return len(requests.get(f"{url}/_admin/orders", timeout=10).json()["orders"])


def arm(url: str, **faults: object) -> None:
    """Let the stub ERP misbehave."""
    requests.post(f"{url}/_admin/faults", json=faults, timeout=10).raise_for_status()


@pytest.fixture
def url(installation: Installation) -> str:
    """The stub ERP's address."""
    found = re.search(r'kind = "rest"\nurl = "([^"]+)"', installation.settings)
    assert found is not None
    return found[1]


@pytest.fixture(autouse=True)
def faultless(url: str) -> Iterator[None]:
    """Leave no fault to the next test."""
    yield
    arm(url, lie=None, unknown_products=[], lose_reply=0)


def test_the_report_is_a_table_with_a_verdict(closedwon: Closedwon) -> None:
    """One line for each check, what is left, and the verdict as the last line; a restriction does not fail."""
    result = closedwon("erp", "certify", "stub", "--product", "GC1040", "--product", "SL9080", "--yes")

    assert 0 == result.exit_code, result.output
    first, *_, last = result.stdout.strip().splitlines()
    assert ["check", "outcome", "what", "was", "seen"] == first.split()
    rows = [line.split()[:2] for line in result.stdout.splitlines() if line[:1].islower()][1:]
    assert [each.name for each in CHECKS if each.name != "by-hand"] == [name for name, _ in rows]
    assert {"ok"} == {outcome for name, outcome in rows if name != "unknown-product"}
    assert "A mistyped product code is not noticed." in result.stdout
    assert "test order(s) cancelled, 0 left." in result.stdout
    assert "ERP stub: usable with restrictions: unknown-product" == last


def test_json_is_for_programs(closedwon: Closedwon, url: str) -> None:
    """Nothing else is on the standard output."""
    arm(url, unknown_products=["CLOSEDWON-NO-SUCH-PRODUCT"])
    result = closedwon("erp", "certify", "stub", "--product", "GC1040", "--yes", "--json", "--only", "unknown-product")

    report = json.loads(result.stdout)
    assert (0, "certified", str(TEST_ORG)) == (result.exit_code, report["verdict"], report["org"])
    assert ["unknown-product"] == [check["name"] for check in report["checks"]]


def test_an_erp_that_is_not_safe_ends_with_1(closedwon: Closedwon, url: str) -> None:
    """The promise that is broken is printed with what was seen."""
    arm(url, lie="claim-other-key")
    result = closedwon("erp", "certify", "stub", "--product", "GC1040", "--yes", "--only", "claim")

    assert 1 == result.exit_code
    assert "A key is stored only with an order that has none or this one" in " ".join(result.stdout.split())
    assert "ERP stub: not safe: claim (not all checks were run)" == result.stdout.strip().splitlines()[-1]


def test_nothing_is_created_without_a_yes(closedwon: Closedwon, url: str) -> None:
    """What will be created is said before."""
    before = orders(url)
    result = closedwon("erp", "certify", "stub", "--product", "GC1040", "--by-hand", "L000001")

    assert 2 == result.exit_code
    assert (
        f"in ERP stub at {url}, with product(s) GC1040 in EUR, under keys of the made-up org {TEST_ORG}"
        in result.stderr
    )
    assert "Order L000001 gets such a key, too" in result.stderr
    assert "Nothing was created." in result.stderr
    assert before == orders(url)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lite", "--product", "A"), "there is no ERP 'lite'"),
        (("stub",), "Missing option '--product'"),
        (("stub", "--product", ""), "must not be empty"),
        (("stub", "--product", "A", "--currency", "euro"), "three capital letters"),
        (("stub", "--product", "A", "--only", "unique"), "did you mean `unique-key`?"),
        (("stub", "--product", "A", "--only", "by-hand"), "needs `--by-hand NUMBER`"),
    ],
)
def test_a_mistake_is_explained(closedwon: Closedwon, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2: nothing was checked."""
    result = closedwon("erp", "certify", *arguments, "--yes")

    assert 2 == result.exit_code
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_an_erp_that_does_not_answer_ends_with_2(closedwon: Closedwon, unused_port: int, url: str) -> None:
    """It is neither safe nor not safe."""
    elsewhere = ((url, f"http://localhost:{unused_port}"),)
    result = closedwon("erp", "certify", "stub", "--product", "A", "--yes", changes=elsewhere)

    assert 2 == result.exit_code
    assert "no connection to the ERP" in result.stderr
    assert "Nothing was checked. Check `erps.url` of stub." in result.stderr


def test_an_order_that_is_refused_ends_with_2(closedwon: Closedwon, url: str) -> None:
    """A product that the ERP lacks is a mistake of the command, not of the ERP."""
    arm(url, unknown_products=["NO-SUCH"])
    before = orders(url)
    result = closedwon("erp", "certify", "stub", "--product", "NO-SUCH", "--yes")

    assert 2 == result.exit_code
    assert "has no product 'NO-SUCH'" in result.stderr
    assert "--product, --customer, --currency" in result.stderr
    assert before == orders(url)


def test_a_wrong_token_names_its_setting(closedwon: Closedwon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint is about the setting, not about an order."""
    monkeypatch.setenv("ERP_TOKEN", "not-the-token")
    result = closedwon("erp", "certify", "stub", "--product", "A", "--yes")

    assert 2 == result.exit_code
    assert "erps[stub].token" in result.stderr
    assert "retry" not in result.stderr


def test_settings_that_cannot_be_read_end_with_2(closedwon: Closedwon) -> None:
    """As every mistake: 1 would say that the ERP is not safe."""
    result = closedwon(
        "erp", "certify", "stub", "--product", "A", "--yes", changes=(('kind = "rest"', 'kind = "soap"'),)
    )

    assert 2 == result.exit_code
    assert "kind" in result.stderr
