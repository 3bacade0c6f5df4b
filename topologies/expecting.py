"""What a lab file expects: its `expectations`, as values. PURE. A part of `load`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from topologies.reading import Reader, below, near, shown
from topologies.spec import (
    BY_STACK,
    CLIENT_PORTS,
    ECHO_PORT,
    WITH_PORT,
    Attack,
    Carries,
    Conduct,
    Encapsulation,
    Expect,
    Expectation,
    Hostile,
    Lab,
    Probe,
    Refusal,
    Situation,
    Via,
    as_address,
)

BY_HAND = (Via.BROADCAST, Via.MULTICAST, Via.UNKNOWN_UNICAST)
"""What an impostor can be expected to reach with: it has no network stack that could take an answer."""

_TUNNELS = ("vni", *(kind.value for kind in Encapsulation))
_TUNNEL_HINT = "'vni 5010', or by its kind " + ", ".join(f"'{kind.value} 5010'" for kind in Encapsulation)
_WITHOUT_A_TAG = ("plain", "arp")
_TOLD = (Expect.REJECTED, Expect.CLOSED)
_PROBE_KEYS = ("from", "to", "via", "l4_port", "expect", "with", "told_by", "arrives_at", "seen_as", "never_seen_at")


class ExpectationReader(Reader):
    """Each item of the file is the product of what it lists; names are looked up in the lab."""

    def expectation(self, lab: Lab, value: object, path: str) -> list[Expectation]:
        """One item of the file: the product of what it lists."""
        if isinstance(value, dict) and ("by" in value or "send" in value):
            return list(self.hostiles(lab, value, path))
        if isinstance(value, dict) and ("cable" in value or "carries" in value):
            return list(self.cables(lab, value, path))
        return self.probes(lab, value, path)

    def probes(self, lab: Lab, value: object, path: str) -> list[Expectation]:
        known = self.mapping(value, path, (*_PROBE_KEYS, "while", "why"), ("from", "to", "expect"))
        expect = self.choice(known.get("expect"), below(path, "expect"), Expect)
        if expect is Expect.CARRIES:
            self.bad(below(path, "expect"), "'carries' is a key, beside 'cable'", "{cable: NODE, carries: {10: NODE}}")
            return []
        sources = [self.where(lab, v, at) for v, at in self.one_or_more(known.get("from"), below(path, "from"))]
        targets = [
            self.where(lab, v, at, addresses=True) for v, at in self.one_or_more(known.get("to"), below(path, "to"))
        ]
        ports = self.l4_ports(known, path)
        if expect is None:
            return []
        via = self.vias(known, expect, path)
        translated = self.translated(lab, known, expect, path)
        sample = Probe("", "", via, expect, self.nodes_of(lab, known, path))
        sample = replace(sample, during=self.situations(lab, known.get("while"), below(path, "while")), **translated)
        sample = replace(sample, why=self.text(known.get("why", ""), below(path, "why")))
        for target in targets if sample.arrives_at is None else ():
            address = as_address(target)
            nobody = address is not None and not sample.unseen_at and not lab.holders(address)
            if expect is Expect.NEVER and nobody:
                self.bad(path, f"nobody has {target}: where is nothing to be seen?", "say 'never_seen_at'")
        for source in sources:
            if source in lab.impostors and expect is not Expect.NEVER and not set(via) <= set(BY_HAND):
                self.bad(path, f"{source!r} has no network stack", "via one of " + ", ".join(v.value for v in BY_HAND))
        pairs = [(s, t) for s in sources for t in targets if s.partition(":")[0] != t.partition(":")[0]]
        if not pairs:
            self.bad(path, "this compares nothing", "'from' and 'to' must name different nodes")
        return [replace(sample, source=s, target=t, l4_port=port) for s, t in pairs for port in ports]

    def vias(self, known: dict[str, Any], expect: Expect, path: str) -> tuple[Via, ...]:
        """The kinds of traffic that are named, or what the expectation stands for without."""
        possible = tuple(Via) if expect in (Expect.REACH, Expect.NEVER) else BY_STACK
        if expect is Expect.CLOSED or "l4_port" in known:
            possible = WITH_PORT
        default = BY_STACK if expect is Expect.REACH else tuple(Via)
        if "via" not in known:
            return tuple(via for via in default if via in possible)
        at = below(path, "via")
        named = (self.choice(word, p, Via) for word, p in self.one_or_more(known["via"], at))
        via = tuple(one for one in named if one is not None)
        if wrong := [v.value for v in via if v not in possible]:
            what = "goes to a port" if "l4_port" in known else f"is {expect.value}"
            self.bad(at, f"{wrong[0]} is nothing that {what}", "one of " + ", ".join(v.value for v in possible))
        return via

    def l4_ports(self, known: dict[str, Any], path: str) -> list[int]:
        """Ports of TCP and UDP: numbers, one or a list."""
        at, found = below(path, "l4_port"), []
        for item, p in self.one_or_more(known.get("l4_port", ECHO_PORT), at):
            if isinstance(item, int) and not isinstance(item, bool) and 0 < item < CLIENT_PORTS:
                found.append(item)
            else:
                self.bad(p, f"{shown(item)} is no port of TCP or UDP", f"1 to {CLIENT_PORTS - 1}")
        return found

    def translated(self, lab: Lab, known: dict[str, Any], expect: Expect, path: str) -> dict[str, Any]:
        """What becomes of the packets' ends on the way, and how the sender is told: the fields of a Probe."""
        found: dict[str, Any] = {}
        for key, right in (("arrives_at", (*_TOLD, Expect.REACH, Expect.NEVER)), ("seen_as", (Expect.REACH,))):
            if key in known and expect not in right:
                self.bad(below(path, key), f"{key!r} does not go with {expect.value!r}")
        for key in ("with", "told_by"):
            if key in known and expect not in _TOLD:
                self.bad(below(path, key), f"{key!r} goes with 'rejected' and 'closed' only")
        if "arrives_at" in known:
            found["arrives_at"] = self.where(lab, known["arrives_at"], below(path, "arrives_at"))
        if "with" in known:
            found["refusal"] = self.choice(known["with"], below(path, "with"), Refusal)
        for key in ("seen_as", "told_by"):
            if key in known:
                found[key] = self.parsed(known[key], below(path, key), ipaddress.ip_address, "an address")
        return found

    def hostiles(self, lab: Lab, value: object, path: str) -> Iterable[Hostile]:
        known = self.mapping(value, path, ("by", "send", "claiming", "never_seen_at", "while", "why"), ("by", "send"))
        attacks = [self.choice(v, at, Attack) for v, at in self.one_or_more(known.get("send"), below(path, "send"))]
        senders = [self.where(lab, v, at) for v, at in self.one_or_more(known.get("by"), below(path, "by"))]
        during = self.situations(lab, known.get("while"), below(path, "while"))
        claiming = self.where(lab, known["claiming"], below(path, "claiming")) if "claiming" in known else None
        why = self.text(known.get("why", ""), below(path, "why"))
        for sender in senders:
            own = {sender.partition(":")[0], *(p.node for p in lab.points(sender))}
            others = tuple(n for n in lab.nodes if n not in own and lab.points(n))
            unseen = self.nodes_of(lab, known, path) or others
            if not unseen:
                self.bad(path, "nobody is there to see it")
            for attack in attacks:
                if attack is not None:
                    yield Hostile(sender, attack, unseen, claiming, during, why)

    def cables(self, lab: Lab, value: object, path: str) -> Iterable[Carries]:
        """`{cable: br-a:trunk, carries: {100: [web1, web3], plain: web5, vni 5010: web6, arp: []}}`."""
        known = self.mapping(value, path, ("cable", "carries", "why"), ("cable", "carries"))
        tags: list[tuple[str, tuple[str, ...]]] = []
        for key, who in self.mapping(known.get("carries", {}), below(path, "carries"), None).items():
            at = below(path, "carries", key)
            kind, _, number = key.rpartition(" ")
            most = 4094 if not kind else (1 << 24) - 1 if kind in _TUNNELS else 0
            if key not in _WITHOUT_A_TAG and not (number.isdecimal() and bool(not kind) <= int(number) <= most):
                self.bad(at, f"{key!r} is not a VLAN", f"1 to 4094, plain, arp, or in a tunnel {_TUNNEL_HINT}")
                continue
            names = tuple(self.where(lab, name, p) for name, p in self.one_or_more(who, at))
            tags.append((f"vid {key}" if key.isdecimal() else key, names))
        why = self.text(known.get("why", ""), below(path, "why"))
        for on, at in self.one_or_more(known.get("cable"), below(path, "cable")):
            yield Carries(self.where(lab, on, at, trunks=True), tuple(tags), why)

    def where(self, lab: Lab, value: object, path: str, addresses: bool = False, trunks: bool = False) -> str:
        """The name of a node, `node:device`, an impostor, or (where allowed) an address or a trunk's end."""
        if isinstance(value, str) and (points := lab.points(value)):
            if value.partition(":")[0] in lab.bridges and points[0].trunk and not trunks:
                self.bad(path, f"{value!r} is an end of a cable", "its place is under 'cable' or 'never_seen_at'")
            return value
        if addresses and isinstance(value, str) and as_address(value) is not None:
            return str(ipaddress.ip_address(value))
        names = [*lab.nodes, *lab.impostors, *(f"{p.node}:{p.device}" for p in lab.all_points)]
        names += [str(lab.cable_end(p)) for p in lab.cable_ends] if trunks else []
        hint = near(str(value), names)
        if isinstance(value, str) and value in lab.nodes:
            self.bad(path, f"{value!r} has no interface")
        else:
            self.bad(path, f"{shown(value)} is no node or interface of this lab", hint)
        return str(value)

    def nodes_of(self, lab: Lab, known: dict[str, Any], path: str) -> tuple[str, ...]:
        if "never_seen_at" not in known:
            return ()
        at = below(path, "never_seen_at")
        return tuple(
            self.where(lab, value, p, trunks=True) for value, p in self.one_or_more(known["never_seen_at"], at)
        )

    def situations(self, lab: Lab, value: object, path: str) -> tuple[Situation, ...]:
        """`{relay: netns3}`, `{bridge: netns3, over: [eth0.10, eth0.20]}`, or a list of such."""
        found: list[Situation] = []
        conducts = [c.value for c in Conduct]
        for item, at in [] if value is None else self.one_or_more(value, path):
            known = self.mapping(item, at, (*conducts, "over", "claiming"))
            chosen = [c for c in conducts if c in known]
            if len(chosen) != 1:
                self.bad(at, "a situation has exactly one conduct", "one of " + ", ".join(conducts))
                continue
            conduct, node = Conduct(chosen[0]), self.where(lab, known[chosen[0]], below(at, chosen[0]))
            if node in lab.impostors and conduct is not Conduct.MAC_FLOOD:
                self.bad(below(at, chosen[0]), f"{node!r} is no node", "an impostor can flood, and no more")
            if ":" in node and conduct in (Conduct.FORWARD, Conduct.BRIDGE, Conduct.RELAY):
                self.bad(below(at, chosen[0]), f"{node!r} is one place", "a node does this with all of its interfaces")
            over = tuple(self.text(v, p) for v, p in self.several(known.get("over"), below(at, "over")))
            if (conduct is Conduct.BRIDGE) != bool(over):
                self.bad(at, "'over' lists the interfaces that 'bridge' joins, and belongs to nothing else")
            for i, device in enumerate(over):
                if node in lab.nodes and device not in {p.device for p in lab.points(node)}:
                    self.bad(below(at, "over", i), f"{node!r} has no interface {device!r}")
            claiming = self.where(lab, known["claiming"], below(at, "claiming")) if "claiming" in known else None
            if (conduct is Conduct.FORGED_ARP) != (claiming is not None):
                self.bad(at, "'claiming' names the victim of 'forged-arp', and belongs to nothing else")
            found.append(Situation(conduct, node, over, claiming))
        return tuple(found)
