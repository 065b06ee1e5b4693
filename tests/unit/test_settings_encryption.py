"""Encryption is on unless somebody has written that it is not, and no key that cannot work is taken."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from closedwon.settings import Settings, SettingsError, load_encryption

Load = Callable[[str], Settings]


@pytest.fixture
def without(example: str) -> str:
    """The example without its `[encryption]`."""
    return re.sub(r"^# A key for all.*?(?=^# A route)", "", example, flags=re.MULTILINE | re.DOTALL)


def test_a_file_without_encryption_is_refused_with_a_hint(without: str, load: Load) -> None:
    """No one stores customers' names in clear because they had not read that far."""
    with pytest.raises(SettingsError) as caught:
        load(without)
    assert "closedwon.toml: encryption.keys: encryption is on and has no key: `closedwon codec key`" in str(
        caught.value
    )
    assert "enabled = false" in str(caught.value)


def test_encryption_is_turned_off_in_writing(without: str, load: Load) -> None:
    """Two words are enough."""
    assert not load(without + "[encryption]\nenabled = false\n").encryption.enabled


def test_the_environment_turns_it_off_for_one_process(
    without: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does for every other value outside the lists."""
    monkeypatch.setenv("CLOSEDWON_ENCRYPTION__ENABLED", "false")
    assert not load(without).encryption.enabled


KEY = '[encryption]\nkeys = [{ id = "2026-11", key = { env = "PAYLOAD_KEY" } }]\n'


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"2026-11": "November 2026"}, 'encryption.keys[0].id: must be letters, digits, dots and hyphens, as in "2026'),
        ({'{ env = "PAYLOAD_KEY" }': '"hunter2"'}, "encryption.keys[0].key: a secret must not be in the file"),
        ({', key = { env = "PAYLOAD_KEY" }': ""}, "encryption.keys[0].key: is missing, and `kms` is not set"),
        ({"PAYLOAD_KEY": "SHORT_KEY"}, "encryption.keys[0].key: must be 32 bytes in base64, not 16; `closedwon codec"),
        (
            {"PAYLOAD_KEY": "PASSPHRASE"},
            "encryption.keys[0].key: is not valid base64; `closedwon codec key` prints a fresh",
        ),
        (
            {" }]": ' }, { id = "2026-11", key = { env = "OTHER_KEY" } }]'},
            "encryption.keys[1].id: '2026-11' is used twice; each key needs an id of its own",
        ),
        (
            {" }]": ", by_mistake = true }]"},
            "encryption.keys[0].by_mistake: the first key encrypts; list the right key before it",
        ),
        (
            {" }]": ' }, { id = "2026-10", by_mistake = true, key = { env = "OTHER_KEY" } }]'},
            "encryption.keys[1].by_mistake: no other key has the id '2026-10'; list the right key of this id, too",
        ),
        (
            {"keys =": 'kms = "acme:key"\nkeys =', " }]": ' }, { id = "2026-11", by_mistake = true }]'},
            "encryption.keys[1].key: is missing; `kms` returns the right key of this id",
        ),
        ({"keys =": 'kms = "acme.kms"\nkeys ='}, 'encryption.kms: must be module and callable, as in "acme.kms:key"'),
        ({"keys": "kyes"}, "encryption.kyes: is not a key of this table; did you mean `keys`?"),
    ],
)
def test_what_is_wrong_with_a_key_is_reported_and_the_key_is_not(
    without: str, load: Load, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], expected: str
) -> None:
    """Every mistake has its sentence, and none repeats a secret."""
    monkeypatch.setenv("SHORT_KEY", base64.b64encode(bytes(16)).decode())
    monkeypatch.setenv("OTHER_KEY", base64.b64encode(b"x" * 32).decode())
    monkeypatch.setenv("PASSPHRASE", "correct horse battery staple")
    text = KEY
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(SettingsError) as caught:
        load(without + text)
    assert expected in str(caught.value)
    assert "horse" not in str(caught.value)


def test_a_key_that_was_used_by_mistake_shares_the_id_of_the_right_one(
    without: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key stays the one that encrypts."""
    monkeypatch.setenv("OTHER_KEY", base64.b64encode(b"x" * 32).decode())
    more = ' }, { id = "2026-11", by_mistake = true, key = { env = "OTHER_KEY" } }]'
    keys = load(without + KEY.replace(" }]", more)).encryption.keys
    assert [("2026-11", False), ("2026-11", True)] == [(key.id, key.by_mistake) for key in keys]


def test_a_session_id_does_not_go_through_temporal_in_clear(without: str, load: Load) -> None:
    """A route that uses the session ids of messages needs encryption, whichever of several routes it is."""
    channel = 'events = ["/event/Order_Requested__e"]'
    other = without[without.index("[[routes]]") :].replace("won-deals", "other-deals")
    text = without.replace(channel, 'outbound = { session = "use" }') + other
    with pytest.raises(SettingsError, match=r"routes\[0\].outbound.session \(won-deals\): a session id is a secret"):
        load(text + "\n[intake]\n[encryption]\nenabled = false\n")


def test_each_route_is_asked_whether_it_uses_session_ids(without: str, load: Load) -> None:
    """The first of two, though the last one uses none, and with an ERP too many: it is named, once."""
    route = without[without.index("[[routes]]") :]
    using = route.replace('events = ["/event/Order_Requested__e"]', 'outbound = { session = "use" }')
    other = route.replace('name = "won-deals"', 'name = "other-deals"')
    erp = '[[erps]]\nname = "second"\nkind = "rest"\nurl = "http://localhost:1"\ntoken = { env = "TRYTON_KEY" }\n'
    with pytest.raises(SettingsError) as caught:
        load(without.replace(route, using + other) + erp + "[intake]\n[encryption]\nenabled = false\n")
    (line,) = str(caught.value).splitlines()
    assert "routes[0].outbound.session (won-deals): a session id is a secret" in line


def test_reading_from_temporal_needs_no_other_secret(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's laptop and the codec server do without the logins of Salesforce and ERP."""
    monkeypatch.setenv("PAYLOAD_KEY", base64.b64encode(bytes(32)).decode())
    file = tmp_path / "closedwon.toml"
    file.write_text(example, encoding="utf-8")
    assert "2026-11" == load_encryption(file).keys[0].id
    monkeypatch.delenv("PAYLOAD_KEY")
    with pytest.raises(SettingsError, match=r"encryption.keys\[0\].key: the environment variable PAYLOAD_KEY is not"):
        load_encryption(file)
