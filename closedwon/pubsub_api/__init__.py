"""The messages of Salesforce's Pub/Sub API: `eventbus_pb2`, which `make proto` generates from `eventbus.proto`.

Only names, numbers and types live here, for the client and for the emulator; how calls behave is theirs.
"""

from __future__ import annotations

import os
from typing import Final

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC would write each lost connection to stderr, beside our log

SERVICE: Final = "eventbus.v1.PubSub"
"""Package and name of the gRPC service; a call's path is `/eventbus.v1.PubSub/<name>`."""
