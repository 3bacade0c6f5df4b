"""What becomes of the packets that one bridge hands over: answered, logged, or sent on when their next hop is known.

State, beside `reconcile`; what sends, looks up and schedules is passed in. The receive loop only puts packets into a
queue that drops its oldest; a green thread works it off, and ends when there is nothing left to do. All of it may be
lost: nothing that passes without the controller depends on it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from controller.control import RuleEvent
from controller.directory import PuntView
from controller.errors import CompileError, SwitchError
from controller.flow.actions import Action, Output, SetField
from controller.flow.fields import ETH_DST, NETWORK, Punt
from controller.flow.flow import Flow
from controller.frames.neighbors import ask_for, hear
from controller.loop import Loop, Waiter
from controller.mac import Mac
from controller.next_hops import Hop, NextHops
from controller.policy.firewall import LogRate
from controller.replies import came_in, next_hop_of, reason_of, reply_to
from controller.rule_events import event_of
from controller.switch import PacketIn, Sender

LOG = logging.getLogger("tripoint.punts")

QUEUED_PACKETS = 256
QUEUED_BYTES = 1 << 20
AT_A_TIME = 16
"""So many packets are worked off before others get their turn."""


class PuntQueue:
    """Bounded by packets and by octets; the oldest go first. dropped: how many had to go."""

    def __init__(self) -> None:
        self.dropped = 0
        self._packets: deque[PacketIn] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: PacketIn) -> None:
        self._packets.append(packet)
        self._bytes += len(packet.frame)
        while len(self._packets) > QUEUED_PACKETS or self._bytes > QUEUED_BYTES:
            self.take()
            self.dropped += 1

    def take(self) -> PacketIn:
        packet = self._packets.popleft()
        self._bytes -= len(packet.frame)
        return packet


class Punts:
    """Of one bridge, over all of its connections.

    view: what holds now. flow_of: the flow of a cookie, while it is desired. note: takes an event of a rule that logs,
    and how often the rule wants one.
    """

    def __init__(
        self,
        loop: Loop,
        view: Callable[[], PuntView],
        flow_of: Callable[[int], Flow | None],
        note: Callable[[RuleEvent, LogRate], None],
    ) -> None:
        self.received = 0
        self._loop = loop
        self._view = view
        self._flow_of = flow_of
        self._note = note
        self._queue = PuntQueue()
        self._next_hops = NextHops()
        self._switch: Sender | None = None
        self._working = False
        self._wake: Waiter | None = None
        self._cut = 0

    @property
    def dropped(self) -> int:
        """Packets that found no room, had no next hop that answered, or did not come whole."""
        return self._queue.dropped + self._next_hops.dropped + self._cut

    def put(self, switch: Sender, packet: PacketIn) -> None:
        """Take a packet from the bridge's connection of now. Never waits: it is called in the receive loop."""
        self.received += 1
        self._switch = switch
        self._queue.put(packet)
        if not self._working:
            self._working = True
            self._loop.spawn(self._work)
        elif self._wake is not None:
            self._wake.set()

    def _work(self) -> None:
        try:
            while True:
                self._wake = wake = self._loop.waiter()
                for _ in range(min(len(self._queue), AT_A_TIME)):
                    self._handle(self._queue.take())
                wait_s = self._ask_again()
                if len(self._queue):
                    wait_s = 0.0
                if wait_s is None:
                    return
                wake.wait(wait_s)
        finally:
            self._working, self._wake = False, None

    def _handle(self, packet: PacketIn) -> None:
        view = self._view()
        match reason_of(packet):
            case Punt.REJECT | Punt.TTL_EXCEEDED | Punt.UNREACHABLE | Punt.SOLICITATION:
                if (reply := reply_to(packet, view)) is not None:
                    self._send(reply.actions, reply.frame)
            case Punt.RESOLVE | Punt.RESOLVE_ROUTER:
                self._resolve(packet, view)
            case Punt.NEIGHBOR:
                self._hear(packet, view)
            case Punt.LOG:
                flow = self._flow_of(packet.cookie)
                if flow is not None and (told := event_of(packet, flow, view)) is not None:
                    self._note(*told)

    # Next hops

    def _resolve(self, packet: PacketIn, view: PuntView) -> None:
        """The packet lacks nothing but the MAC of its next hop."""
        uplink = view.directory.uplink(packet.read(NETWORK))
        next_hop = next_hop_of(packet)
        if uplink is None or next_hop is None or len(packet.frame) < packet.total_bytes:
            self._cut += 1
            return
        hop = Hop(uplink.number, next_hop)
        now_s = self._loop.now()
        mac = self._next_hops.known(hop, now_s)
        if mac is not None:
            self._send_on(hop, mac, packet.frame, view)
        elif self._next_hops.hold(hop, packet.frame, now_s):
            self._ask(hop, view)

    def _hear(self, packet: PacketIn, view: PuntView) -> None:
        """A neighbor on an uplink's segment has said which MAC it has."""
        uplink = view.directory.uplink(came_in(packet))
        heard = hear(packet.frame)
        if uplink is None or heard is None or view.uplinks.get(uplink.name) != packet.in_port:
            return
        hop, mac = Hop(uplink.number, heard[0]), heard[1]
        for frame in self._next_hops.hear(hop, mac, self._loop.now()):
            self._send_on(hop, mac, frame, view)

    def _ask_again(self) -> float | None:
        """Ask those that have not answered yet. How long until there is something to do again; None: nothing waits."""
        now_s = self._loop.now()
        for hop in self._next_hops.due(now_s):
            self._ask(hop, self._view())
        due_s = self._next_hops.due_s()
        return None if due_s is None else max(due_s - now_s, 0.0)

    def _ask(self, hop: Hop, view: PuntView) -> None:
        uplink = view.directory.uplink(hop.uplink)
        if uplink is None or (port := view.uplinks.get(uplink.name)) is None:
            return
        address = view.directory.asker(uplink, hop.address)
        if address is not None:
            self._send((Output(port),), ask_for(hop.address, view.directory.router_mac(uplink), address))

    def _send_on(self, hop: Hop, mac: Mac, frame: bytes, view: PuntView) -> None:
        uplink = view.directory.uplink(hop.uplink)
        if uplink is not None and (port := view.uplinks.get(uplink.name)) is not None:
            self._send((SetField(ETH_DST, mac.value), Output(port)), frame)

    def _send(self, actions: tuple[Action, ...], frame: bytes) -> None:
        switch = self._switch
        if switch is None or not switch.alive:
            return
        try:
            switch.send_packet(actions, frame)
        except (SwitchError, CompileError) as error:  # it has gone, or the frame is too large for a message
            LOG.warning("packet not sent dpid=%016x error=%s", switch.dpid, error)
