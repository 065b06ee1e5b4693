"""The settings file is understood, and what is wrong with it is said with file, key and hint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from closedwon.settings import Audit, Settings, SettingsError, TelemetrySettings

Load = Callable[[str], Settings]


def test_the_example_can_be_used(example: str, load: Load) -> None:
    """What a newcomer copies is right, but for the secrets."""
    settings = load(example)
    assert "00D5g000004Kx1XEAS" == settings.org("production").id
    assert settings.org("production") is settings.org("00D5g000004Kx1XEAS")
    assert "tryton" == settings.erp("tryton").kind
    assert "Opportunity" == settings.route("won-deals").object
    assert TelemetrySettings() == settings.telemetry


def test_the_commented_parts_of_the_example_can_be_used(example: str, load: Load, tmp_path: Path) -> None:
    """What a newcomer uncomments is right too."""
    lines = example.splitlines()
    prose = ("# Closedwon", "# docs/", "# Where", "# Or ", "# An ERP", "# A ", "# Expr", "# Free", "# The", "# auth")
    opened = "\n".join(line.removeprefix("# ") for line in lines if not line.startswith(prose))
    (tmp_path / "salesforce.pem").write_text("key")
    (tmp_path / "salesforce-networks.txt").write_text("13.108.0.0/14")
    opened = opened.replace("PO_Number__c,", "PO_Number__c, Warehouse__c, Account.AccountNumber,")
    opened = opened.replace("ERP_TOKEN", "TRYTON_KEY")
    settings = load(opened)
    assert ("tryton", "facade") == tuple(erp.name for erp in settings.erps)
    route = settings.routes[0]
    assert ("Warehouse__c", "customer.country", "Ordered") == (
        route.order.extra["warehouse"],
        route.order.lookups[0].field,
        route.write_back.stage,
    )
    assert settings.intake is not None
    assert None not in (route.outbound, route.callouts)
    assert "[audit]" in opened
    assert Audit() == settings.audit


def test_a_secret_is_read_from_a_file_beside_the_settings(example: str, load: Load, tmp_path: Path) -> None:
    """A mounted secret is found wherever the process was started."""
    (tmp_path / "secret.txt").write_text("from-a-file\n")
    settings = load(example.replace('{ env = "TRYTON_KEY" }', '{ file = "secret.txt" }'))
    erp = settings.erps[0]
    assert erp.kind == "tryton"
    assert "from-a-file" == erp.key.get_secret_value()


def test_a_line_break_after_a_secret_is_removed(example: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """`echo` and Kubernetes put it there; within a token it would break every request's header."""
    monkeypatch.setenv("TRYTON_KEY", "the-tryton-key\n")
    erp = load(example).erps[0]
    assert erp.kind == "tryton"
    assert "the-tryton-key" == erp.key.get_secret_value()
    monkeypatch.setenv("TRYTON_KEY", " \n")
    with pytest.raises(SettingsError, match="the environment variable TRYTON_KEY is not set"):
        load(example)
    monkeypatch.setenv("TRYTON_KEY", "hunter2\nhunter3")
    with pytest.raises(
        SettingsError, match=r"erps\[0\].key .*: contains a line break or another control char"
    ) as caught:
        load(example)
    assert "hunter" not in str(caught.value)


def test_secrets_are_never_shown(example: str, load: Load) -> None:
    """Neither the settings' text nor an error holds a secret."""
    assert "the-tryton-key" not in repr(load(example))
    with pytest.raises(SettingsError) as caught:
        load(example.replace('{ env = "TRYTON_KEY" }', '"hunter2"').replace("https://erp", "https://me:hunter2@erp"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("table", ["retry", "routes.follow"])
def test_the_maximum_interval_is_not_shorter_than_the_first(example: str, load: Load, table: str) -> None:
    """Temporal refuses such retry settings: orders started with them would never proceed, even after a correction."""
    where = "routes[0].follow.maximum_interval (won-deals)" if table == "routes.follow" else "retry.maximum_interval"
    text = example.replace("[routes.order]", f'[{table}]\ninitial_interval = "7h"\n\n[routes.order]', 1)
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert str(caught.value).endswith(f"closedwon.toml: {where}: must not be shorter than `initial_interval`")
    load(text.replace('"7h"', '"7h"\nmaximum_interval = "7h"'))


CHANGES = [
    (
        'kind = "tryton"',
        'kind = "tryton"\ntimeout = "16m"',
        'erps[0].timeout (tryton): must be at most "5m"; one attempt',
    ),
    (
        'name = "production"',
        'name = "production"\ntimeout = "121s"',
        'orgs[0].timeout (production): must be at most "1m"; one attempt',
    ),
    (
        'quantity = "Quantity"',
        'quantity = "Quantty["',
        "routes[0].order.lines.quantity (won-deals): 'Quantty[' is not a JMESPath expression: Incomplete expression",
    ),
    (
        'quantity = "Quantity"',
        'quantity = "Quantty"',
        "routes[0].order.lines.quantity (won-deals): reads Quantty, which",
    ),
    ('qualify = "IsWon"', 'qualify = "IsWonn"', "routes[0].qualify (won-deals): reads IsWonn, which `select` does not"),
    (
        "Account.BillingCity, ",
        "",
        "routes[0].order.customer.city (won-deals): reads Account.BillingCity, which `select`",
    ),
    (
        "[routes.write_back]",
        "[routes.writeback]",
        "routes[0].writeback (won-deals): is not a key of this table; did you mean `w",
    ),
    (
        "\nnumber =",
        "\nnumbr =",
        "routes[0].write_back.numbr (won-deals): is not a key of this table; did you mean `number`?",
    ),
    (
        "client_secret =",
        "secret =",
        "orgs[0].auth.secret (production): is not a key of this table; did you mean `client_secret`?",
    ),
    ('name = "Name"\n', "", "routes[0].order.name (won-deals): is missing; add it (docs/configure says"),
    (
        "00D5g000004Kx1XEAS",
        "00D5g000004Kx1XEAT",
        "orgs[0].id (production): '00D5g000004Kx1XEAT' is not a Salesforce id: its",
    ),
    (
        "00D5g000004Kx1XEAS",
        "0015g00000AbCdE",
        "orgs[0].id (production): '0015g00000AbCdE' is not a Salesforce id: its key",
    ),
    (
        "client-credentials",
        "client-credential",
        'orgs[0].auth.flow (production): must be one of "client-credentials", "jwt',
    ),
    ('kind = "tryton"', 'kind = "sap"', 'erps[0].kind (tryton): must be one of "tryton", "rest"'),
    ('erp = "tryton" ', 'erp = "trytn" ', "routes[0].erp (won-deals): there is no ERP 'trytn'; did you mean `tryton`?"),
    (
        'erp = "tryton" ',
        'erp = { expr = "a" } ',
        "routes[0].erp.expr (won-deals): is not a key of this table; one of `expression`",
    ),
    (
        'object = "Opportunity"',
        'object = "opportunity"',
        "routes[0].object (won-deals): Salesforce writes this object Opportunity; names are compared with their case",
    ),
    (
        'org = "production"',
        'org = "sandbox"',
        "routes[0].org (won-deals): there is no org 'sandbox'; one of `production`",
    ),
    (
        'name = "won-deals"',
        'name = "Won deals"',
        "routes[0].name (Won deals): must be lower-case letters, digits and hyphens",
    ),
    ('"TRYTON_KEY"', '"TRYTON_KEI"', "erps[0].key (tryton): the environment variable TRYTON_KEI is not set; set it"),
    (
        '{ env = "TRYTON_KEY" }',
        '{ file = "no" }',
        "cannot be read: No such file or directory; correct the path or the file",
    ),
    ('{ env = "TRYTON_KEY" }', '"hunter2"', "erps[0].key (tryton): a secret must not be in the file; write { env ="),
    (
        "https://erp.example.com/erp",
        "erp.example.com",
        "erps[0].url (tryton): is not an http(s) address; write it like https://",
    ),
    (
        "https://erp.exa",
        "http://erp.exa",
        "erps[0].url (tryton): would send credentials to erp.example.com unencrypted; use https",
    ),
    ("https://erp.exa", "https://me:pw@erp.exa", "erps[0].url (tryton): must not hold a user, a password"),
    (
        'qualify = "IsWon"',
        'grace = "soon"',
        "routes[0].grace (won-deals): must be a duration: a number and a unit (ms, s, m, h, d)",
    ),
    ('qualify = "IsWon"', 'retry_for = "0s"', 'routes[0].retry_for (won-deals): must be longer than "0s"'),
    (
        'qualify = "IsWon"',
        'retry_for = "99999d"',
        'routes[0].retry_for (won-deals): must be at most "3650d"',
    ),
    ('qualify = "IsWon"', "grace = 30", 'routes[0].grace (won-deals): must be a duration: write "30s"'),
    ('qualify = "IsWon"', "grace = 0.5", 'routes[0].grace (won-deals): must be a duration: write "500ms"'),
    ('qualify = "IsWon"', 'grace = "PT15M"', 'routes[0].grace (won-deals): must be a duration: write "15m"'),
    ('qualify = "IsWon"', 'grace = "99999d"', 'routes[0].grace (won-deals): must be at most "3650d"'),
    (
        "[routes.sweep]",
        '[routes.sweep]\nlag = "99999d"',
        'routes[0].sweep.lag (won-deals): must be at most "3650d"',
    ),
    (
        "[routes.sweep]",
        "[routes.sweep]\noverlap = -1",
        "routes[0].sweep.overlap (won-deals): must be a duration: a number",
    ),
    (
        "[[orgs]]",
        "[workers]\nconcurrent_erp_calls = 10001\n[[orgs]]",
        "workers.concurrent_erp_calls: must be less than or",
    ),
    (
        'qualify = "IsWon"',
        "retry_for = true",
        "routes[0].retry_for (won-deals): must be a duration: a number and a unit",
    ),
    ('qualify = "IsWon"', "qualify = 1", "routes[0].qualify (won-deals): must be a text in quotes"),
    (
        'qualify = "IsWon"',
        f'qualify = "{"!" * 20_000}IsWon"',
        "routes[0].qualify (won-deals): the expression is nested too deeply",
    ),
    ('["/event/Order_Requested__e"]', '"/event/A__e"', 'routes[0].events (won-deals): must be a list, as in ["'),
    (
        'qualify = "IsWon"',
        'source = "event"',
        'routes[0].select (won-deals): is only read with source = "record"; leave it',
    ),
    (
        '"/event/Order_Requested__e"',
        '"Order_Requested__e"',
        "routes[0].events[0] (won-deals): must be an event bus channel",
    ),
    (
        'link = "ERP_Order_Link__c"',
        'link = "erp_order_number__c"',
        "routes[0].write_back (won-deals): names the field erp_",
    ),
    (
        'where = "IsWon',
        'select = "IsWon',
        'routes[0].sweep.select (won-deals): is only read with source = "event"; leave it',
    ),
    (
        'status = "ERP_Order_Status__c"',
        "",
        "routes[0].write_back.status (won-deals): is needed where the route is swept: by it",
    ),
    ('object = "Opportunity"', 'object = "Deal__c"', None),
    ('# stage = "', 'stage = "', None),
    ("[[orgs]]", "orgs = []\n[[organisations]]", "orgs: must have at least one entry"),
    ("[[erps]]", "[erps]", 'erps: must be a list, as in ["…"]; a list of tables is written [[name]]'),
    ("[[orgs]]", "[subscribers]\n[[orgs]]", "subscribers: is not a key of this table; did you mean `subscriber`?"),
]


def test_a_sweep_needs_to_know_what_it_looks_for(example: str, load: Load) -> None:
    """A `qualify` that is not a plain field gives no condition; with source `event` a SELECT list is missing."""
    plain = example.replace('where = "IsWon', '# where = "IsWon')
    assert "IsWon = TRUE" == load(plain).routes[0].sweep_where
    with pytest.raises(SettingsError, match=r"sweep\.where .*is needed, since `qualify` is not a plain field"):
        load(plain.replace('qualify = "IsWon"', 'qualify = "IsWon && IsClosed"'))
    with pytest.raises(SettingsError, match=r'sweep\.select .*is needed with source = "event"'):
        load(plain.replace('qualify = "IsWon"', 'source = "event"'))


@pytest.mark.parametrize(
    ("old", "new", "expected"), CHANGES, ids=[new.strip()[:60] or f"no {old}" for old, new, _ in CHANGES]
)
def test_a_mistake_is_named_with_file_key_and_hint(
    example: str, load: Load, tmp_path: Path, old: str, new: str, expected: str | None
) -> None:
    """Anyone who wrote it knows where to look and what to do."""
    assert old in example
    if expected is None:
        load(example.replace(old, new, 1))
        return
    with pytest.raises(SettingsError) as caught:
        load(example.replace(old, new, 1))
    lines = str(caught.value).splitlines()
    assert [line for line in lines if expected in line], lines
    assert all(line.startswith(f"{tmp_path}/closedwon.toml: ") for line in lines)


def test_every_mistake_has_its_line(example: str, load: Load) -> None:
    """All mistakes in a file can be corrected in one pass."""
    with pytest.raises(SettingsError) as caught:
        load(example.replace('"Quantity"', '"Quantty["').replace("number =", "numbr =").replace('Account.Name"', '("'))
    assert 3 == len(str(caught.value).splitlines())


LOOKUP = """
[[routes.order.lookups]]
field = "{}"
values = {{ a = "b" }}
"""


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        (
            LOOKUP.format("customer.countr"),
            "routes[0].order.lookups[0].field (won-deals): 'customer.countr' is not a text field",
        ),
        (
            LOOKUP.format("lines.quantity"),
            "'lines.quantity' is not a text field that this route maps; one of `currency`",
        ),
        (
            LOOKUP.format("name") * 2,
            "routes[0].order.lookups[1].field (won-deals): has a table already; put all values",
        ),
        (LOOKUP.format("lines.product"), None),
    ],
)
def test_a_lookup_names_a_field_that_is_mapped(example: str, load: Load, addition: str, expected: str | None) -> None:
    """A table that would never be used is a mistake."""
    text = example.replace("[routes.write_back]", addition + "[routes.write_back]")
    if expected is None:
        assert "lines.product" == load(text).routes[0].order.lookups[0].field
        return
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert expected in str(caught.value)


def test_names_and_org_ids_are_unique(example: str, load: Load) -> None:
    """Two tables of one name would make it a matter of luck which is meant."""
    orgs = example[example.index("[[orgs]]") : example.index("# Or without")]
    erps = example[example.index("[[erps]]") : example.index("# An ERP")]
    route = example[example.index("[[routes]]") :]
    with pytest.raises(SettingsError) as caught:
        load("\n".join([example, orgs.replace("00D5g000004Kx1XEAS", "00D5g000004Kx1X"), erps, route]))
    lines = [line.partition("closedwon.toml: ")[2] for line in str(caught.value).splitlines()]
    assert [
        "orgs[1].name (production): 'production' is that of orgs[0] already; each needs its own",
        "erps[1].name (tryton): 'tryton' is that of erps[0] already; each needs its own",
        "routes[1].name (won-deals): 'won-deals' is that of routes[0] already; each needs its own",
        "orgs[1].id (production): '00D5g000004Kx1XEAS' is that of orgs[0] already; each needs its own",
    ] == lines[:4]
    assert lines[4].startswith("erps[1].url (tryton): is the address of ERP 'tryton' already; ")


@pytest.mark.parametrize("same", ["https://erp.example.com/erp", "https://ERP.example.com:443/erp/"])
def test_one_erp_has_one_name(example: str, load: Load, same: str) -> None:
    """Each name has orders of its own; another database of the same server is another ERP."""
    again = example[example.index("[[erps]]") : example.index("# An ERP")].replace('"tryton"', '"again"', 1)
    address = "https://erp.example.com/erp"
    with pytest.raises(SettingsError, match=r"erps\[1\]\.url \(again\): is the address of ERP 'tryton' already"):
        load(f"{example}\n{again.replace(address, same)}")
    assert 2 == len(load(f"{example}\n{again.replace(address, address + '2')}").erps)


def test_an_event_channel_of_an_org_belongs_to_one_route(example: str, load: Load) -> None:
    """It must be clear which order a record becomes."""
    route = example[example.index("[[routes]]") :].replace("won-deals", "other-deals")
    with pytest.raises(
        SettingsError, match=r"routes\[1\].events\[0\] \(other-deals\): .* read by route 'won-deals' already"
    ):
        load(example + route)
    assert 2 == len(load(example + route.replace("Order_Requested__e", "Other__e")).routes)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "org.localhost"])
def test_http_is_fine_on_this_machine(example: str, load: Load, host: str) -> None:
    """The demo and the tests need no certificates."""
    settings = load(example.replace("https://example.my.salesforce.com", f"http://{host}/"))
    assert f"http://{host}" == settings.orgs[0].url
