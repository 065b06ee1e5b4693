"""Temporal's UI with a codec server: an operator works as without encryption, and Temporal stores ciphertext."""

from __future__ import annotations

from base64 import b64encode

from closedwon.emulators.ports import free_port
from closedwon.encryption.server import CodecServer
from closedwon.names import OrderStage
from closedwon.settings import Codec, CodecSettings
from tests.support.encryption import keyed
from tests.support.handoff import handoff
from tests.support.screen import screen
from tests.support.servers import start_temporal
from tests.support.tools import needs_chromium

pytestmark = needs_chromium


async def test_an_operator_reads_and_retries_an_encrypted_order() -> None:
    """The browser shows timeline, history and failures decrypted; a signal's reason is encrypted when it is sent."""
    encryption, port = keyed(), free_port()
    ui = f"http://127.0.0.1:{port}"
    codec = CodecServer(CodecSettings(encryption=encryption, codec=Codec(port=0, origins=(ui,))))
    await codec.start()
    async with (
        await start_temporal(ui_port=port, codec=codec.address) as server,
        handoff(temporal_server=server, encryption=encryption) as world,
        world.working(),
        screen(ui) as seen,
    ):
        world.org.seed(1)
        world.erp.faults.reject = 1
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        order = await world.order(record).describe()

        await seen.workflow(order.id, order.run_id, "timeline")
        await seen.sees("order in stub: ", '"route": "won-0"')
        await seen.workflow(order.id, order.run_id, "user-metadata")
        await seen.reads_details("Needs attention", "erp-rejected", "The order is refused")
        await seen.list_signals()
        await seen.choose("retry", says="Try again now")
        await seen.types_input('"Sauerampfer fixed it"')
        await seen.submit()
        await world.until_stage(record, OrderStage.COMPLETED)
        await seen.workflow(order.id, order.run_id, "user-metadata")
        await seen.reads_details("Sauerampfer fixed it")
        stored = (await world.order(record).fetch_history()).to_json()
    await codec.stop()

    assert b64encode(b'"Sauerampfer fixed it"').decode() not in stored
    assert 2 == stored.count("EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED")  # the notification and `retry`
