"""The controller as a Ryu app: `ryu-manager apps/isolation.py`. Wires the parts; decides nothing.

Environment: TRIPOINT_STORE, the file of the revisions (default /var/lib/tripoint/store.db);
TRIPOINT_OVSDB, comma-separated databases from which settings of bridges are read, and in which those of its bridges
are freed of in-band control and their tables get the stages' names
(default unix:/var/run/openvswitch/db.sock where that exists);
TRIPOINT_OVSDB_LISTEN, where hosts' databases may connect by themselves, as in ptcp:6640 or pssl:6640:192.0.2.1.
ssl: and pssl: use the files that ryu-manager's --ctl-privkey, --ctl-cert and --ca-certs name.
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
from controller.framework import (
    GreenLoop,
    Switchboard,
    accept_with,
    openflow_port,
    pause,
    prepare,
    serve_rest,
    tls_files,
)
from controller.ovsdb.databases import Databases, Tls
from controller.policy.model import Dpid
from controller.reconcile import Reconciler
from controller.store import Store

DEFAULT_STORE = "/var/lib/tripoint/store.db"
DEFAULT_OVSDB = "/var/run/openvswitch/db.sock"


class Isolation(app_manager.RyuApp):
    """Tells the reconciler of switches as they come, and mounts REST."""

    OFP_VERSIONS = (ofproto_v1_4.OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Ryu's own
        super().__init__(*args, **kwargs)
        prepare()
        loop = GreenLoop()
        self.reconciler: Reconciler | None = None
        self.databases = Databases(
            loop,
            _now,
            _watched(),
            controlled=self._controlled,
            on_change=self._hosts_changed,
            openflow_port=openflow_port(),
        )
        try:
            store = Store.open(os.environ.get("TRIPOINT_STORE", DEFAULT_STORE))
            reconciler = self.reconciler = Reconciler(store, loop, _now, self.databases)
            if (files := tls_files()) is not None:
                self.databases.use_tls(Tls(*files))
            if listen := os.environ.get("TRIPOINT_OVSDB_LISTEN"):
                self.databases.listen(listen)
        except TripointError as error:
            raise SystemExit(f"tripoint: {error}") from error
        serve_rest(Api(reconciler, in_thread=loop.in_thread, pause=pause))
        accept_with(Switchboard(reconciler, reconciler.packet_in))

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def switch_ready(self, event: ofp_event.EventOFPStateChange) -> None:
        """The handshake is done."""
        GreenLoop().spawn(lambda: self._serve(event.datapath))

    def _controlled(self) -> frozenset[Dpid]:
        return self.reconciler.connected() if self.reconciler is not None else frozenset()

    def _hosts_changed(self) -> None:
        if self.reconciler is not None:
            self.reconciler.hosts_changed()

    def _serve(self, datapath: Any) -> None:  # noqa: ANN401 - the seam's connection
        if datapath.session is not None and self.reconciler is not None:
            # A bridge that has just connected is set right at once.
            GreenLoop().spawn(self.databases.look)
            self.reconciler.connect(datapath.session)


def _now() -> datetime:
    return datetime.now(UTC)


def _watched() -> tuple[str, ...]:
    named = os.environ.get("TRIPOINT_OVSDB")
    if named is not None:
        return tuple(part for part in named.split(",") if part)
    return (f"unix:{DEFAULT_OVSDB}",) if os.path.exists(DEFAULT_OVSDB) else ()
