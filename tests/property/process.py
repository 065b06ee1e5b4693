"""A process of Closedwon as `closedwon worker`, `subscriber` or `intake` runs it, but without one rule.

    python process.py ROLE RULE

The settings are found by CLOSEDWON_CONFIG. See `rules`.
"""

from __future__ import annotations

import asyncio
import os
import sys

from closedwon.settings import ENV_FILE, load_settings
from tests.property.rules import RULES
from workers import process

_ROLES = {
    "worker": process.Role.ORDERS,
    "subscriber": process.Role.SUBSCRIBER,
    "intake": process.Role.INTAKE,
}

if __name__ == "__main__":
    role, rule = sys.argv[1:]
    RULES[rule].remove()
    asyncio.run(process.run(load_settings(os.environ[ENV_FILE]), [_ROLES[role]]))
