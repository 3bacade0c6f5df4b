"""One connected switch, over OpenFlow 1.4: `controller.switch.Switch` on top of a channel. I/O, but of no framework.

Whoever owns the socket feeds `receive` with the messages that a `guard.Framer` passed (READY phase), and tells `lost`
when the connection ends. Every method of `Switch` may be called by several green threads at a time.

A change is one bundle. The switch drops a message that it rejects while the bundle is filled and would still commit the
rest; so a barrier stands before the commit, and one error is enough to discard everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from controller.errors import SwitchError
from controller.flow.actions import Action, SetField
from controller.flow.connections import Connections
from controller.flow.fields import ETH_TYPE, ICMPV6_CODE, ICMPV6_TYPE, IP_PROTO, ND_OPTIONS_TYPE, ND_RESERVED
from controller.flow.flow import OWNER, OWNER_LEARNED, Flow, owner_of
from controller.flow.meters import RATES_PPS
from controller.flow.packet import ADVERT, ETH_IPV6, ICMPV6, SOLICITED_OVERRIDE, TLL_OPTION
from controller.openflow import requests
from controller.openflow.changes import Changes
from controller.openflow.decode import (
    ErrorReply,
    PortReason,
    PortStatus,
    bundle_step,
    decode_counters,
    decode_error,
    decode_flow_stats,
    decode_port_status,
    decode_ports,
    has_more,
    match_at,
    message_type,
    message_xid,
    multipart_type,
)
from controller.openflow.exchange import CHUNK_BYTES, Channel, Exchange
from controller.openflow.packets import decode_packet_in, encode_packet_out
from controller.openflow.pending import AnswerTimeout, MakeWaiter, Request, TakeReply
from controller.openflow.protocol import BundleControl, Message, MeterCommand, Multipart
from controller.openflow.search import Search
from controller.switch import FlowDump, ForeignFlow, PacketIn

LOG = logging.getLogger(__name__)

ANSWER_TIMEOUT_S: Final = 30.0
MOST_PORTS: Final = 0xFFFF
MOST_FLOWS: Final = 2_000_000
"""A switch that claims to have more is not believed."""
FORGOTTEN_AT_A_TIME: Final = 50
"""For each of them the switch looks at every connection that it knows, and answers nothing else meanwhile."""
_MESSAGE_COST_BYTES: Final = 256
"""What taking a message costs beside reading it, as if it were so much longer."""
MAX_BUNDLE: Final = 0xFFFFFFFF
_ADVERTISES: Final = Flow(
    table=253,
    priority=0,
    match=(ETH_TYPE(ETH_IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(ADVERT), ICMPV6_CODE(0)),
    actions=(SetField(ND_RESERVED, SOLICITED_OVERRIDE), SetField(ND_OPTIONS_TYPE, TLL_OPTION)),
    origin="",
    why="what a datapath must be able to do to make a neighbor advertisement; nothing comes to this table",
)


@dataclass(frozen=True, slots=True)
class PortChange:
    """A port appeared (before is None), disappeared (after is None) or has another name now."""

    ofport: int
    before: str | None
    after: str | None


class Session:
    """Implements `Switch`.

    on_port_change and on_packet_in are called in the receive loop: they must not wait, nor ask the switch anything or
    send to it. A switch may hand over packets without end: on_packet_in bounds what it keeps. Without it they are
    dropped.

    `receive` raises SwitchError where what the switch says cannot be believed; then the connection has to end.
    """

    def __init__(
        self,
        channel: Channel,
        make_waiter: MakeWaiter,
        *,
        dpid: int,
        peer: str,
        on_port_change: Callable[[PortChange], None] | None = None,
        on_packet_in: Callable[[PacketIn], None] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
        learned_tables: frozenset[int] | None = None,
    ) -> None:
        """learned_tables: the only ones in which flows with the cookie of learned ones are such; None: any."""
        self.last_error: str | None = None
        """The latest error that came for no request of ours."""
        self._exchange = Exchange(channel, make_waiter, timeout_s)
        self._dpid = dpid
        self._peer = peer
        self._on_port_change = on_port_change
        self._on_packet_in = on_packet_in
        self._learned_tables = learned_tables
        self._bundles = 0
        self._unpaused_bytes = 0
        self._ports: dict[int, str] = {}
        self._advertises = False

    @property
    def advertises(self) -> bool:
        return self._advertises

    @property
    def dpid(self) -> int:
        return self._dpid

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def alive(self) -> bool:
        return self._exchange.alive

    # -- what the switch says

    def receive(self, message: bytes) -> None:
        """Take one message that the framer passed. Never waits for an answer; pauses after every 64 KB or so."""
        self._take(message)
        # A socket with data at hand does not yield by itself.
        self._unpaused_bytes += len(message) + _MESSAGE_COST_BYTES
        if self._unpaused_bytes >= CHUNK_BYTES:
            self._unpaused_bytes = 0
            self._exchange.pause()

    def _take(self, message: bytes) -> None:
        kind = message_type(message)
        if kind == Message.ECHO_REQUEST:
            self._exchange.send([requests.echo_reply(message)])
        elif kind == Message.PORT_STATUS:
            self._note_port(decode_port_status(message))
        elif kind == Message.PACKET_IN:
            if self._on_packet_in is not None:
                self._on_packet_in(decode_packet_in(message))
        elif kind == Message.ERROR:
            self._note_error(decode_error(message))
        else:
            request = self._exchange.find(message_xid(message))
            if request is not None:
                request.answer(message)

    def lost(self, reason: str) -> None:
        """The connection ended: whoever waits gets a SwitchError with this reason, and so does whoever asks later."""
        self._exchange.lost(reason)

    def _note_error(self, error: ErrorReply) -> None:
        request = self._exchange.find(error.xid)
        if request is None:
            self.last_error = str(error)
            LOG.warning("switch error without a request dpid=%016x error=%s xid=%#x", self._dpid, error, error.xid)
            return
        request.refuse(error)

    def _note_port(self, status: PortStatus) -> None:
        before = self._ports.get(status.ofport)
        after = None if status.reason is PortReason.REMOVED else status.name
        if after is None:
            self._ports.pop(status.ofport, None)
            before = before or status.name
        else:
            self._ports[status.ofport] = after
            if len(self._ports) > MOST_PORTS:
                raise SwitchError(f"it says that it has more than {MOST_PORTS} ports")
        if before != after and self._on_port_change is not None:
            self._on_port_change(PortChange(status.ofport, before, after))

    # -- what we ask

    def ping(self) -> None:
        """Raises SwitchError where the switch does not answer an echo request in time."""
        self._exchange.ask(requests.echo_request, lambda reply: message_type(reply) == Message.ECHO_REPLY, "echo")

    def prepare(self) -> None:
        self._exchange.send((requests.set_config(0),))
        self._exchange.ask(requests.barrier_request, _is_barrier_reply, "barrier")
        self._set_meters()
        # The switch asks its datapath only when such a flow is to be installed.
        try:
            self.apply((_ADVERTISES,), ())
        except SwitchError:
            if not self.alive:
                raise
            self._advertises = False
        else:
            self.apply((), (_ADVERTISES.cookie,))
            self._advertises = True

    def _set_meters(self) -> None:
        """Each is added, which the switch refuses where it is there, and then set."""
        rates = sorted(RATES_PPS.items())
        with (
            self._exchange.opened(len(rates), None) as added,
            self._exchange.opened(len(rates), None) as changed,
            self._exchange.opened(1, _is_barrier_reply) as barrier,
        ):
            self._exchange.send(
                requests.meter_mod(command, punt, rate_pps, xid)
                for command, request in ((MeterCommand.ADD, added), (MeterCommand.MODIFY, changed))
                for xid, (punt, rate_pps) in enumerate(rates, request.first)
            )
            self._exchange.send((requests.barrier_request(barrier.first),))
            barrier.wait(self._exchange.timeout_s, "meters")
        if changed.n_errors:
            # Not a reason to leave it alone: all that does not go to the controller works as ever.
            why = "; ".join(sorted({str(error) for _, error in added.errors}))
            LOG.warning("switch without meters, it hands over packets unlimited dpid=%016x error=%s", self._dpid, why)

    def read_ports(self) -> Mapping[str, int]:
        found: dict[int, str] = {}

        def take(part: bytes) -> bool:
            found.update(decode_ports(part))
            if not has_more(part):
                # here and not in the waiting thread, which may run only after the next port status was taken
                self._ports = found
            return not has_more(part)

        self._exchange.ask(requests.port_desc_request, _of_kind(Multipart.PORT_DESC, take), "port descriptions")
        return {name: ofport for ofport, name in self._ports.items()}

    def read_flows(self) -> FlowDump:
        cookies: set[int] = set()
        foreign: list[ForeignFlow] = []
        n_learned = 0

        def take(part: bytes) -> bool:
            nonlocal n_learned
            entries = decode_flow_stats(part)
            cookies.update([cookie for cookie, *_ in entries if owner_of(cookie) == OWNER])
            for cookie, table, priority, start in entries:
                owner = owner_of(cookie)
                if owner == OWNER:
                    continue
                if owner == OWNER_LEARNED and (self._learned_tables is None or table in self._learned_tables):
                    n_learned += 1
                else:
                    foreign.append(ForeignFlow(table, priority, cookie, match_at(part, start)))
            if len(cookies) + len(foreign) + n_learned > MOST_FLOWS:
                raise SwitchError(f"it says that it has more than {MOST_FLOWS} flows")
            return not has_more(part)

        self._exchange.ask(requests.flow_stats_request, _of_kind(Multipart.FLOW, take), "flow dump")
        return FlowDump(frozenset(cookies), n_learned, tuple(foreign))

    def find_flows(self, cookies: Collection[int]) -> frozenset[int]:
        search = Search(cookies)
        self._ask_by_cookie(search.cookies, _of_kind(Multipart.FLOW, search.take), Search.WHAT)
        return search.found

    def read_counters(self, cookies: Collection[int] | None = None) -> Mapping[int, tuple[int, int]]:
        wanted = None if cookies is None else tuple(cookies)
        found: dict[int, tuple[int, int]] = {}
        n_open = 1 if wanted is None else len(wanted)

        def take(part: bytes) -> bool:
            nonlocal n_open
            found.update(decode_counters(part))
            if len(found) > MOST_FLOWS:
                raise SwitchError(f"it says that it has more than {MOST_FLOWS} flows")
            n_open -= not has_more(part)
            return n_open == 0

        if wanted is None:
            self._exchange.ask(requests.own_flow_stats_request, _of_kind(Multipart.FLOW, take), "counters")
            return {cookie: count for cookie, count in found.items() if owner_of(cookie) == OWNER}
        self._ask_by_cookie(wanted, _of_kind(Multipart.FLOW, take), "counters of")
        return {cookie: found[cookie] for cookie in wanted if cookie in found}

    def _ask_by_cookie(self, cookies: Sequence[int], take: TakeReply, what: str) -> None:
        if not cookies:
            return
        with self._exchange.opened(len(cookies), take) as request:
            first = request.first
            self._exchange.send(requests.flow_stats_request(xid, cookie) for xid, cookie in enumerate(cookies, first))
            request.wait(self._exchange.timeout_s, f"{what} {len(cookies)} flows")

    # -- what we change

    def forget(self, connections: Collection[Connections]) -> None:
        left = tuple(connections)
        refused: set[str] = set()
        while left:
            some, left = left[:FORGOTTEN_AT_A_TIME], left[FORGOTTEN_AT_A_TIME:]
            with (
                self._exchange.opened(len(some), None) as flushed,
                self._exchange.opened(1, _is_barrier_reply) as barrier,
            ):
                self._exchange.send(requests.ct_flush(each, xid) for xid, each in enumerate(some, flushed.first))
                self._exchange.send((requests.barrier_request(barrier.first),))
                barrier.wait(self._exchange.timeout_s, "conntrack")
            refused.update(str(error) for _, error in flushed.errors)
        if refused:
            # Not a reason to leave it alone: they end by themselves, when no packet comes for a while.
            why = "; ".join(sorted(refused))
            LOG.warning("switch does not forget connections that it translated dpid=%016x error=%s", self._dpid, why)

    def send_packet(self, actions: tuple[Action, ...], frame: bytes) -> None:
        self._exchange.send((encode_packet_out(actions, frame, 0),))

    def apply(
        self,
        add: Sequence[Flow],
        remove: Sequence[int],
        foreign: Sequence[ForeignFlow] = (),
        verify: Collection[int] = (),
    ) -> frozenset[int]:
        changes = Changes(tuple(remove), tuple(foreign), tuple(add))
        if not len(changes):
            return self.find_flows(verify)
        self._bundles = self._bundles % MAX_BUNDLE + 1
        bundle = self._bundles
        with (
            self._exchange.opened(len(changes), None) as gathered,
            self._exchange.opened(1, _is_step(BundleControl.OPEN_REQUEST)) as opened,
            self._exchange.opened(1, _is_barrier_reply) as barrier,
        ):
            # In one go: where the bundle cannot be opened, the switch refuses all that was to be in it.
            first = (requests.bundle_control(BundleControl.OPEN_REQUEST, bundle, opened.first),)
            last = (requests.barrier_request(barrier.first),)
            try:
                self._exchange.send(chain(first, changes.messages(bundle, gathered.first), last))
                opened.wait(self._exchange.timeout_s, "bundle open")
                barrier.wait(self._exchange.timeout_s, "barrier")
                if gathered.n_errors:
                    raise SwitchError(changes.explain(gathered))
            except Exception:
                self._discard(bundle)
                raise
            search = Search(verify)
            with self._exchange.opened(max(len(search.cookies), 1), _of_kind(Multipart.FLOW, search.take)) as looking:
                self._commit(bundle, changes, gathered, search.messages(looking.first))
                if search.cookies:
                    looking.wait(self._exchange.timeout_s, f"{Search.WHAT} {len(search.cookies)} flows")
            return search.found

    def _commit(self, bundle: int, changes: Changes, gathered: Request, behind: Iterable[bytes]) -> None:
        """behind: what is sent with it; the switch answers in order."""
        step = BundleControl.COMMIT_REQUEST
        try:
            with self._exchange.opened(1, _is_step(step)) as committed:
                self._exchange.send(chain((requests.bundle_control(step, bundle, committed.first),), behind))
                committed.wait(self._exchange.timeout_s, "bundle commit")
        except AnswerTimeout as error:
            # Whether the bundle is in force is not known, and this method promises that it is known: a new connection
            # begins with a dump.
            self.close("it did not answer a commit in time")
            raise SwitchError(f"{error}; hung up") from error
        except SwitchError as error:
            # The error for the message at fault comes before that for the commit.
            if not gathered.n_errors:
                raise
            raise SwitchError(changes.explain(gathered)) from error

    def _discard(self, bundle: int) -> None:
        if not self.alive:
            return  # the switch discards it when the connection ends
        try:
            self._control(BundleControl.DISCARD_REQUEST, bundle)
        except SwitchError as error:
            # The switch throws away an idle bundle by itself.
            LOG.warning("bundle not discarded dpid=%016x bundle=%d error=%s", self._dpid, bundle, error)

    def _control(self, step: BundleControl, bundle: int) -> None:
        what = f"bundle {step.name.partition('_')[0].lower()}"
        self._exchange.ask(lambda xid: requests.bundle_control(step, bundle, xid), _is_step(step), what)

    def close(self, reason: str) -> None:
        if not self.alive:
            return
        LOG.info("hanging up dpid=%016x peer=%s reason=%s", self._dpid, self._peer, reason)
        self.lost(f"we hung up: {reason}")
        self._exchange.hang_up()


def _is_step(step: BundleControl) -> TakeReply:
    """Whether it is the answer to this step of a bundle."""
    return lambda reply: message_type(reply) == Message.BUNDLE_CONTROL and bundle_step(reply) == step + 1


def _is_barrier_reply(reply: bytes) -> bool:
    return message_type(reply) == Message.BARRIER_REPLY


def _of_kind(kind: Multipart, take: TakeReply) -> TakeReply:
    """Take only multipart replies of this kind: a peer may put our xid on something else."""

    def take_checked(reply: bytes) -> bool:
        return message_type(reply) == Message.MULTIPART_REPLY and multipart_type(reply) == kind and take(reply)

    return take_checked
