"""How far intake is open: what the settings refuse, and what they warn of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from closedwon.settings import Settings, SettingsError, warnings
from closedwon.settings.guarding import intake_of_org

Load = Callable[[str], Settings]

_ROUTE = 'events = ["/event/Order_Requested__e"]'
_BARE = "outbound = {}"
_PROVEN = 'outbound = { path_secrets = [{ env = "CLOSEDWON_PATH_SECRET" }] }'
_CERTIFICATE = f'outbound = {{ client_fingerprints = ["{"ab" * 32}"] }}'
_FORWARDED = 'proxies = ["127.0.0.1"]\n[intake.forwarded_certificate]\n'
_OPEN = 'host = "0.0.0.0"\ninsecure = true\n'
_BY_PROXY = 'proxies = ["10.0.0.0/8"]\n'


def _with(example: str, route: str, intake: str) -> str:
    assert _ROUTE in example
    return example.replace(_ROUTE, route).replace("[[orgs]]", f"[intake]\n{intake}\n[[orgs]]", 1)


def _from_messages(text: str) -> str:
    """The same settings with the order made of the message."""
    select = text[text.index("select = ") : text.index("qualify = ")]
    return text.replace(select, 'source = "event"\n').replace("[routes.sweep]", f"[routes.sweep]\n{select}")


@pytest.mark.parametrize("proof", [_PROVEN, _CERTIFICATE])
def test_orders_of_messages_need_a_proof_of_the_org(example: str, load: Load, proof: str) -> None:
    """The error names the setting and the command that helps; either proof is enough."""
    intake = _FORWARDED if proof == _CERTIFICATE else ""
    load(_from_messages(_with(example, proof, intake)))
    with pytest.raises(SettingsError) as caught:
        load(_from_messages(_with(example, _BARE, "")))
    assert 'routes[0].outbound.path_secrets (won-deals): is needed with source = "event"' in str(caught.value)
    assert "`closedwon secret path` prints one" in str(caught.value)


@pytest.mark.parametrize(
    ("route", "intake", "where", "complaint"),
    [
        ("outbound = { path_secrets = [] }", "", "routes[0].outbound.path_secrets", "must have at least one entry"),
        (_PROVEN.replace("PATH_SECRET", "NONE"), "", "routes[0].outbound.path_secrets[0]", "is not set"),
        (_PROVEN.replace("CLOSEDWON_PATH_SECRET", "WEAK"), "", "path_secrets[0]", "`closedwon secret path` prints"),
        (_PROVEN.replace("CLOSEDWON_PATH_SECRET", "SLASH"), "", "path_secrets[0]", "becomes a part of an address"),
        (_PROVEN.replace("] }", ', { env = "CLOSEDWON_PATH_SECRET" }] }'), "", "path_secrets[1]", "already; each"),
        (_CERTIFICATE, "", "routes[0].outbound.client_fingerprints", "no client is asked for a certificate"),
        (_CERTIFICATE.replace("ab", "xy"), _FORWARDED, "client_fingerprints[0]", "pattern"),
        (_PROVEN, _FORWARDED, "intake.forwarded_certificate", "admits no client"),
        (_PROVEN, 'host = "0.0.0.0"', "intake.host", "`insecure = true` allows it"),
        (_PROVEN, 'proxies = ["0.0.0.0/0"]', "intake.proxies[0]", "name the addresses of your proxies"),
        ('callouts = { keys = [{ env = "WEAK" }] }', "", "callouts.keys[0]", "`closedwon secret callout` prints"),
    ],
)
def test_each_refusal_names_the_setting_and_a_hint(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch, route: str, intake: str, where: str, complaint: str
) -> None:
    """One line, with file, key and what to do; never the value."""
    monkeypatch.setenv("WEAK", "weakness")
    monkeypatch.setenv("SLASH", "a/secret/that/does/not/fit/into/one/segment")
    with pytest.raises(SettingsError) as caught:
        load(_with(example, route, intake))
    (line,) = str(caught.value).splitlines()
    assert where in line
    assert complaint in line
    assert "weakness" not in line


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_may_speak_in_clear(example: str, load: Load, host: str) -> None:
    """The default needs no TLS, and nothing is warned of."""
    assert [] == warnings(load(_with(example, _BARE, f'host = "{host}"')))


@pytest.mark.parametrize(
    ("route", "intake", "said"),
    [
        (_PROVEN, _OPEN, ["listens on 0.0.0.0 unencrypted"]),
        (_PROVEN, 'host = "0.0.0.0"\nproxies = ["127.0.0.1", "::1"]', ["though its proxies are on this machine"]),
        (_PROVEN, 'host = "0.0.0.0"\nproxies = ["127.0.0.1", "10.0.0.1"]', []),
        (_PROVEN, 'allow = ["0.0.0.0/0"]', ["`intake.allow` holds 0.0.0.0/0"]),
        (_PROVEN, 'allow = ["10.0.0.0/8", "::/0"]', ["`intake.allow` holds ::/0"]),
        (_PROVEN, 'allow = ["0.0.0.0/1", "128.0.0.0/1"]', ["holds 0.0.0.0/1", "holds 128.0.0.0/1"]),
        (_PROVEN, 'allow = ["13.108.0.0/14", "10.0.0.0/8", "fc00::/7", "2001:db8::/32"]', []),
        (_PROVEN, 'allow_file = "wide.txt"', ["wide.txt holds a large part of the internet"]),
        (_PROVEN, 'allow_file = "narrow.txt"', []),
        (_PROVEN, 'allow_file = "broken.txt"', []),
        (_BARE, _BY_PROXY, []),
        (_BARE, _BY_PROXY + 'allow = ["13.108.0.0/14"]', []),
        (_PROVEN, _BY_PROXY, []),
        (
            'outbound = { tombstone = { object = "Gone__c", record_id = "Key__c" } }',
            _BY_PROXY + 'allow = ["13.108.0.0/14"]',
            ["a forged one cancels the order"],
        ),
        (
            _CERTIFICATE,
            _FORWARDED + 'client_subjects = ["proxy.salesforce.com"]',
            ["all orgs have this certificate"],
        ),
    ],
)
def test_what_is_open_is_warned_of(
    example: str, load: Load, tmp_path: Path, route: str, intake: str, said: list[str]
) -> None:
    """One sentence for each, with what to do; what is closed is not warned of."""
    (tmp_path / "wide.txt").write_text("13.108.0.0/14\n::/0 # everybody\n", encoding="utf-8")
    (tmp_path / "narrow.txt").write_text("13.108.0.0/14\n", encoding="utf-8")
    (tmp_path / "broken.txt").write_text("nonsense\n", encoding="utf-8")
    found = warnings(load(_with(example, route, intake)))
    assert len(said) == len(found)
    assert all(text in sentence for text, sentence in zip(said, found, strict=True))


_TOMBSTONES = 'outbound = { tombstone = { object = "Gone__c", record_id = "Key__c" } }'


@pytest.mark.parametrize(
    ("route", "intake", "said"),
    [
        (_BARE, _BY_PROXY, "can send outbound messages to route won-deals"),
        (_BARE, _OPEN, "can send outbound messages to route won-deals"),
        (_BARE, _OPEN + 'allow = ["0.0.0.0/1"]', "can send outbound messages to route won-deals"),
        (_TOMBSTONES, _BY_PROXY, "orders cancelled by tombstones to route won-deals"),
        (_BARE, _BY_PROXY + 'allow = ["13.108.0.0/14"]', None),
        (_BARE, _FORWARDED + 'client_subjects = ["acme"]', None),
        (_PROVEN, _OPEN, None),
        (_CERTIFICATE, _FORWARDED, None),
        (_BARE, "", None),
    ],
)
def test_a_route_that_any_sender_can_push_to_is_to_be_held(
    example: str, load: Load, route: str, intake: str, said: str | None
) -> None:
    """Neither a proof, nor a network, nor a certificate keeps a stranger out; with one of them it is advice at most."""
    settings = load(_with(example, route, intake))
    found = list(intake_of_org(settings, settings.orgs[0]))
    assert (said is not None) == bool(found)
    assert all(said in one.text and one.holds and "closedwon secret path" in one.hint for one in found if said)


def test_without_intake_nothing_is_open(example: str, load: Load) -> None:
    """There is nothing to warn of where nothing listens."""
    assert [] == warnings(load(example))


def _two_orgs(example: str, first: str, second: str) -> str:
    """Two orgs with a route each."""
    text = _with(example, first, _FORWARDED + 'client_subjects = ["acme"]')
    org, route = text.index("[[orgs]]"), text.index("[[routes]]")
    more = text[org : text.index("[[erps]]")] + text[route:].replace(first, second, 1)
    more = more.replace("production", "sandbox").replace("won-deals", "sandbox-deals")
    return text + more.replace("00D5g000004Kx1XEAS", "00D000000000009")


@pytest.mark.parametrize("proof", [_PROVEN, _CERTIFICATE])
def test_what_proves_one_org_cannot_prove_another(example: str, load: Load, proof: str) -> None:
    """A secret or a certificate of two orgs would let each of them speak as the other."""
    with pytest.raises(SettingsError) as caught:
        load(_two_orgs(example, proof, proof))
    assert "routes[1].outbound." in str(caught.value)
    assert "already" in str(caught.value)


def test_a_callout_key_of_two_orgs_is_warned_of(example: str, load: Load) -> None:
    """A sandbox that was copied from production has its key; the org id in a call is what its sender writes."""
    key = 'callouts = { keys = [{ env = "CLOSEDWON_CALLOUT_KEY" }] }'
    (warning,) = warnings(load(_two_orgs(example, key, key)))
    assert "share a callout key (route sandbox-deals, route won-deals)" in warning
