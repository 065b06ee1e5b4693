"""The file as it is read: its TOML, and that of the base file which it may name.

An environment has a small file of its own, an overlay, that says `base = "closedwon.base.toml"` and what differs:

- a table is merged key by key;
- in a list of tables with names (orgs, ERPs, routes), the entry of the same name is merged, and others are added;
- anything else replaces what the base has. So does a secret, and a table of another `kind` or `flow`.

Paths, of secrets too, count from the folder of the overlay, the file that a process is given. Nothing is checked here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from closedwon.settings.problems import SettingsError

BASE: Final = "base"
_SECRET: Final = frozenset({"env", "file", "credential"})


def read(path: Path, default: str, variable: str) -> dict[str, Any]:
    """Return the content of a file, merged over its base.

    `default` and `variable` are for the hint. Raises `SettingsError` with one line.
    """
    above = _toml(path, f"copy closedwon.example.toml to {default}, or name your file by --config or {variable}")
    name = above.pop(BASE, None)
    if name is None:
        return above
    if not isinstance(name, str):
        raise SettingsError(f'{path}: {BASE}: must be a text in quotes, as in "closedwon.base.toml"')
    below = _toml(path.parent / name, f"correct `{BASE}` in {path}")
    if BASE in below:
        raise SettingsError(f"{path.parent / name}: {BASE}: a base has no base of its own; put both into one file")
    return merged(below, above)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table over that of the base. Neither is changed."""
    result = dict(below)
    for key, value in above.items():
        result[key] = _over(below.get(key), value)
    return result


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping) and not _is_another(below, above):
        return merged(below, above)
    if _has_names(below) and _has_names(above):
        changed = {entry["name"]: entry for entry in above}
        kept = [_over(entry, changed.pop(entry["name"], {})) for entry in below]
        return [*kept, *changed.values()]
    return above


def _is_another(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    if above.keys() and above.keys() <= _SECRET:
        return True
    return any(key in above and below.get(key, above[key]) != above[key] for key in ("kind", "flow"))


def _has_names(value: Any) -> bool:
    """Whether entries can be found by name. Those with one name twice stay as they are: the check reports them."""
    if not isinstance(value, list) or not value:
        return False
    names = {one["name"] for one in value if isinstance(one, Mapping) and isinstance(one.get("name"), str)}
    return len(names) == len(value)


def _toml(path: Path, hint: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; {hint}") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; correct the path or the permissions") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}; correct that line") from None
