"""The controller as a Ryu app: `ryu-manager apps/isolation.py`. Wires the parts; decides nothing.

Environment: TRIPOINT_STORE, the file of the revisions (default /var/lib/tripoint/store.db);
TRIPOINT_OVSDB, comma-separated databases from which settings of bridges are read, and in which those of its bridges
are freed of in-band control and their tables get the stages' names
(default unix:/var/run/openvswitch/db.sock where that exists).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_4

from controller.api import Api
from controller.errors import TripointError
from controller.framework import GreenLoop, Switchboard, accept_with, pause, prepare, serve_rest, sleep
from controller.ovsdb.bridges import BridgeWatch
from controller.reconcile import Reconciler
from controller.store import Store

DEFAULT_STORE = "/var/lib/tripoint/store.db"
DEFAULT_OVSDB = "/var/run/openvswitch/db.sock"
LOOK_EVERY_S = 5.0
"""How often the databases are looked at."""


class Isolation(app_manager.RyuApp):
    """Tells the reconciler of switches as they come, and mounts REST."""

    OFP_VERSIONS = (ofproto_v1_4.OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Ryu's own
        super().__init__(*args, **kwargs)
        prepare()
        loop = GreenLoop()
        self._watch = BridgeWatch(_databases())
        try:
            store = Store.open(os.environ.get("TRIPOINT_STORE", DEFAULT_STORE))
            self.reconciler = Reconciler(store, loop, lambda: datetime.now(UTC), self._watch.settings)
        except TripointError as error:
            raise SystemExit(f"tripoint: {error}") from error
        serve_rest(Api(self.reconciler, in_thread=loop.in_thread, pause=pause))
        accept_with(Switchboard(self.reconciler))
        loop.spawn(self._watch_databases)

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def switch_ready(self, event: ofp_event.EventOFPStateChange) -> None:
        """The handshake is done."""
        GreenLoop().spawn(lambda: self._serve(event.datapath))

    def _serve(self, datapath: Any) -> None:  # noqa: ANN401 - the seam's connection
        if datapath.session is not None:
            GreenLoop().spawn(self._look)
            self.reconciler.connect(datapath.session)

    def _watch_databases(self) -> None:
        while True:
            self._look()
            sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        """A bridge that has just connected is set right at once."""
        self._watch.look(self.reconciler.connected())


def _databases() -> tuple[str, ...]:
    named = os.environ.get("TRIPOINT_OVSDB")
    if named is not None:
        return tuple(part for part in named.split(",") if part)
    return (f"unix:{DEFAULT_OVSDB}",) if os.path.exists(DEFAULT_OVSDB) else ()
