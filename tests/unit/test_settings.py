"""The settings file is understood, and what is wrong with it is said with file, key and cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from closedwon.settings import Route, Settings, SettingsError, Telemetry, load_settings

Load = Callable[[str], Settings]


def test_the_example_can_be_used(example: str, load: Load) -> None:
    """What a newcomer copies is right, but for the secrets."""
    settings = load(example)
    assert "00D5g000004Kx1XEAS" == settings.org("production").id
    assert settings.org("production") is settings.org("00D5g000004Kx1XEAS")
    assert "tryton" == settings.erp("tryton").kind
    assert "Opportunity" == settings.route("won-deals").object
    assert Telemetry() == settings.telemetry


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


def test_a_secret_is_read_from_a_file_beside_the_settings(example: str, load: Load, tmp_path: Path) -> None:
    """A mounted secret is found wherever the process was started."""
    (tmp_path / "secret.txt").write_text("from-a-file\n")
    settings = load(example.replace('{ env = "TRYTON_KEY" }', '{ file = "secret.txt" }'))
    erp = settings.erps[0]
    assert erp.kind == "tryton"
    assert "from-a-file" == erp.key.get_secret_value()


def test_a_line_break_behind_a_secret_is_no_part_of_it(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`echo` and Kubernetes put it there; within a token it would break every request's header."""
    monkeypatch.setenv("TRYTON_KEY", "the-tryton-key\n")
    erp = load(example).erps[0]
    assert erp.kind == "tryton"
    assert "the-tryton-key" == erp.key.get_secret_value()
    monkeypatch.setenv("TRYTON_KEY", " \n")
    with pytest.raises(SettingsError, match="the environment variable TRYTON_KEY is not set"):
        load(example)
    monkeypatch.setenv("TRYTON_KEY", "hunter2\nhunter3")
    with pytest.raises(SettingsError, match=r"erps\[0\].key .*: holds a line break or another control char") as caught:
        load(example)
    assert "hunter" not in str(caught.value)


def test_secrets_are_never_shown(example: str, load: Load) -> None:
    """Neither the settings' text nor an error holds a secret."""
    assert "the-tryton-key" not in repr(load(example))
    with pytest.raises(SettingsError) as caught:
        load(example.replace('{ env = "TRYTON_KEY" }', '"hunter2"').replace("https://erp", "https://me:hunter2@erp"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("table", ["retry", "routes.follow"])
def test_the_longest_interval_is_not_shorter_than_the_first(example: str, load: Load, table: str) -> None:
    """Temporal refuses such a pace: every order that was begun with it would stand still, whatever is mended later."""
    where = "routes[0].follow.longest_interval (won-deals)" if table == "routes.follow" else "retry.longest_interval"
    text = example.replace("[routes.order]", f'[{table}]\nfirst_interval = "PT7H"\n\n[routes.order]', 1)
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert str(caught.value).endswith(f"closedwon.toml: {where}: must not be shorter than `first_interval`")
    load(text.replace('"PT7H"', '"PT7H"\nlongest_interval = 25200'))


CHANGES = [
    (
        'kind = "tryton"',
        'kind = "tryton"\ntimeout = "PT16M"',
        "erps[0].timeout (tryton): must be at most 300 seconds; an attempt",
    ),
    (
        'name = "production"',
        'name = "production"\ntimeout = 121',
        "orgs[0].timeout (production): must be at most 60 seconds; an attempt",
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
        "routes[0].writeback (won-deals): is no key of this table; did you mean `w",
    ),
    (
        "\nnumber =",
        "\nnumbr =",
        "routes[0].write_back.numbr (won-deals): is no key of this table; did you mean `number`?",
    ),
    (
        "client_secret =",
        "secret =",
        "orgs[0].auth.secret (production): is no key of this table; did you mean `client_secret`?",
    ),
    ('name = "Name"\n', "", "routes[0].order.name (won-deals): is missing; add it (docs/configuration.md says"),
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
        "routes[0].erp.expr (won-deals): is no key of this table; there is `expression`",
    ),
    (
        'org = "production"',
        'org = "sandbox"',
        "routes[0].org (won-deals): there is no org 'sandbox'; there is `production`",
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
        "cannot be read: No such file or directory; mend the path or the file",
    ),
    ('{ env = "TRYTON_KEY" }', '"hunter2"', "erps[0].key (tryton): a secret never stands in the file; write { env ="),
    (
        "https://erp.example.com/erp",
        "erp.example.com",
        "erps[0].url (tryton): is no http(s) address; write it like https://",
    ),
    (
        "https://erp.exa",
        "http://erp.exa",
        "erps[0].url (tryton): would send credentials to erp.example.com in clear; use https",
    ),
    ("https://erp.exa", "https://me:pw@erp.exa", "erps[0].url (tryton): must not hold a user, a password"),
    (
        'qualify = "IsWon"',
        'grace = "soon"',
        "routes[0].grace (won-deals): must be a duration: seconds, as in 30, or ISO",
    ),
    ('qualify = "IsWon"', "horizon = 0", "routes[0].horizon (won-deals): must be greater than 0 seconds"),
    ('qualify = "IsWon"', 'horizon = "P99999D"', "routes[0].horizon (won-deals): must be less than or equal to 3650 d"),
    ('qualify = "IsWon"', 'grace = "P99999D"', "routes[0].grace (won-deals): must be less than or equal to 3650 days"),
    (
        "[routes.sweep]",
        '[routes.sweep]\nlag = "P99999D"',
        "routes[0].sweep.lag (won-deals): must be less than or equal to",
    ),
    ("[routes.sweep]", "[routes.sweep]\noverlap = -1", "routes[0].sweep.overlap (won-deals): must be greater than or"),
    (
        "[[orgs]]",
        "[workers]\nconcurrent_erp_calls = 10001\n[[orgs]]",
        "workers.concurrent_erp_calls: must be less than or",
    ),
    ('qualify = "IsWon"', "horizon = true", "routes[0].horizon (won-deals): must be a duration, not true or false"),
    ('qualify = "IsWon"', "qualify = 1", "routes[0].qualify (won-deals): must be a text, in quotes"),
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
    ("[[orgs]]", "[subscribers]\n[[orgs]]", "subscribers: is no key of this table; did you mean `subscriber`?"),
]


def test_a_sweep_needs_to_know_what_it_looks_for(example: str, load: Load) -> None:
    """Of a `qualify` that is no plain field no condition can be made; with source `event` a SELECT list is missing."""
    plain = example.replace('where = "IsWon', '# where = "IsWon')
    assert "IsWon = TRUE" == load(plain).routes[0].sweep_where
    with pytest.raises(SettingsError, match=r"sweep\.where .*is needed, since `qualify` is no plain field"):
        load(plain.replace('qualify = "IsWon"', 'qualify = "IsWon && IsClosed"'))
    with pytest.raises(SettingsError, match=r'sweep\.select .*is needed with source = "event"'):
        load(plain.replace('qualify = "IsWon"', 'source = "event"'))


@pytest.mark.parametrize(
    ("old", "new", "expected"), CHANGES, ids=[new.strip()[:60] or f"no {old}" for old, new, _ in CHANGES]
)
def test_a_mistake_is_named_with_file_key_and_cure(
    example: str, load: Load, tmp_path: Path, old: str, new: str, expected: str | None
) -> None:
    """Whoever wrote it knows where to look and what to do."""
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
    """A file is mended in one round."""
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
            "routes[0].order.lookups[0].field (won-deals): 'customer.countr' is no text field",
        ),
        (
            LOOKUP.format("lines.quantity"),
            "'lines.quantity' is no text field that this route maps; there is `currency`",
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
    ] == lines


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


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    """The newcomer's first mistake."""
    with pytest.raises(
        SettingsError, match=r"no.toml: there is no such file; copy closedwon.example.toml .* CLOSEDWON_CONFIG"
    ):
        load_settings(tmp_path / "no.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A wrong mount is told as what it is."""
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_broken_toml_is_named_by_its_line(example: str, load: Load) -> None:
    """The line number is what one needs."""
    number = example.splitlines().index("[[erps]]") + 1
    with pytest.raises(SettingsError, match=rf"is no TOML: .*at line {number}, column \d+\); mend that line"):
        load(example.replace("[[erps]]", "[[erps]", 1))


def test_an_editors_mark_at_the_beginning_is_passed_over(example: str, load: Load) -> None:
    """Some editors begin a file in UTF-8 with a byte order mark."""
    assert load(example) == load(f"\ufeff{example}")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A file of another encoding is told as what it is."""
    file = tmp_path / "closedwon.toml"
    file.write_bytes("name = 'Zürich'".encode("latin-1"))
    with pytest.raises(SettingsError, match="is no UTF-8 text"):
        load_settings(file)


def test_the_query_fetches_what_the_write_back_compares(route: Route) -> None:
    """Equal values are not written, so their fields must be read; none is asked for twice, which Salesforce refuses."""
    fields = [field.strip() for field in route.query_fields.split(",")]
    assert {"Id", "StageName", "ERP_Order_Number__c", "ERP_Order_Error__c"} <= set(fields)
    assert len(fields) == len(set(fields))


def test_what_cannot_be_known_is_not_called_missing(example: str, load: Load) -> None:
    """FIELDS(ALL) fetches whatever there is; a compound field fetches its parts."""
    load(example.replace("Id, Name, StageName,", "FIELDS(CUSTOM),"))
    load(
        example.replace("Account.BillingCity, ", "Account.BillingAddress, ").replace(
            '"Account.BillingCity"', '"Account.BillingAddress.city"'
        )
    )
    load(
        example.replace(
            "FROM OpportunityLineItems)", "FROM OpportunityLineItems WHERE Type__c IN ('a', 'b') ORDER BY Id)"
        )
    )
