"""From a lab file's text to a `Lab`, or to every problem in it at once. PURE.

Unknown keys are refused with the nearest known one; each problem carries a JSON pointer (RFC 6901) into the file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

import yaml

from topologies.reading import LabFileError, Problem, Reader, below, near, shown
from topologies.spec import (
    NEVER_BY_DEFAULT,
    REACH_BY_DEFAULT,
    Assigned,
    Attack,
    Bridge,
    Conduct,
    End,
    Expect,
    Expectation,
    Hostile,
    Interface,
    Lab,
    Link,
    Node,
    Probe,
    Route,
    Situation,
    SubInterface,
    Via,
    as_address,
)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
_SYSCTL = re.compile(r"net\.[a-z0-9_.]+")


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice (plain YAML lets the last one win silently) and makes no dates."""


def _mapping_of(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    keys: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (dict, list)):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a single word", key_node.start_mark)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is written twice", key_node.start_mark)
        keys.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_of)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def parse(text: str) -> Lab:
    """A lab file's text (YAML, hence JSON too) as a Lab. Raises LabFileError."""
    try:
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise LabFileError([Problem("", f"{where}{getattr(error, 'problem', None) or error}")]) from error
    return from_document(document)


def from_document(document: object) -> Lab:
    """A lab document (dicts, lists, strings, numbers, booleans) as a Lab. Raises LabFileError."""
    reader = _LabReader()
    lab = reader.lab(document)
    if reader.problems or lab is None:
        raise LabFileError(sorted(set(reader.problems), key=lambda p: p.path))
    return lab


class _LabReader(Reader):
    """What could not be read is left out of the result."""

    # -- the lab -----------------------------------------------------------------------------------------------------

    def lab(self, document: object) -> Lab | None:
        known = ("name", "scenario", "description", "nodes", "bridges", "links", "policy", "expectations")
        top = self.mapping(document, "", known, ("name", "description", "nodes", "expectations"))
        if not top:
            return None
        nodes: dict[str, Node] = {}
        for index, (name, value) in enumerate(self.mapping(top.get("nodes", {}), "/nodes", None).items()):
            nodes[name] = self.node(name, value, below("/nodes", name), index)
        bridges: dict[str, Bridge] = {}
        for index, (name, value) in enumerate(self.mapping(top.get("bridges", {}), "/bridges", None).items()):
            bridges[name] = self.bridge(name, value, below("/bridges", name), index)
            if name in nodes:
                self.bad(below("/bridges", name), f"{name!r} is a node's name too")
        if not nodes:
            self.bad("/nodes", "a lab has at least one node")
        lab = Lab(
            name=self.text(top.get("name", ""), "/name", _NAME, "letters, digits, - and _"),
            description=self.text(top.get("description", ""), "/description"),
            scenario=self.text(top.get("scenario", ""), "/scenario"),
            nodes=nodes,
            bridges=bridges,
            links=tuple(self.links(top.get("links"))),
            policy=self.mapping(top["policy"], "/policy", None) if top.get("policy") is not None else None,
            expectations=(),
        )
        self.wiring(lab)
        found: list[Expectation] = []
        for item, path in self.several(top.get("expectations"), "/expectations"):
            found += self.expectation(lab, item, path)
        return Lab(**{**{f: getattr(lab, f) for f in Lab.__dataclass_fields__}, "expectations": tuple(found)})

    def node(self, name: str, value: object, path: str, index: int) -> Node:
        self.text(name, path, _NAME, "letters, digits, - and _, at most 32")
        known = self.mapping({} if value is None else value, path, ("interfaces", "sysctls"))
        faces = self.mapping(known.get("interfaces", {}), below(path, "interfaces"), None)
        sysctls = self.mapping(known.get("sysctls", {}), below(path, "sysctls"), None)
        for key in sysctls:
            self.text(key, below(path, "sysctls", key), _SYSCTL, "as in net.ipv4.ip_forward")
        return Node(
            name,
            tuple(
                self.interface(f, v, below(path, "interfaces", f), (index, i)) for i, (f, v) in enumerate(faces.items())
            ),
            tuple((key, str(int(v) if isinstance(v, bool) else v)) for key, v in sysctls.items()),
        )

    def interface(self, name: str, value: object, path: str, index: tuple[int, int]) -> Interface:
        """Without `mac`, one is made of the places in the file, so that it is the same every time."""
        self.text(name, path, _DEVICE, "at most 15 letters, digits, - and _")
        known = self.mapping({} if value is None else value, path, ("mac", "addresses", "routes", "tagged"))
        tagged: list[SubInterface] = []
        for vid, sub in self.mapping(known.get("tagged", {}), below(path, "tagged"), None).items():
            at = below(path, "tagged", vid)
            if not vid.isdecimal() or not 1 <= int(vid) <= 4094:
                self.bad(at, f"{vid!r} is not a VLAN", "1 to 4094")
                continue
            fields = self.mapping(sub, at, ("addresses", "routes"))
            tagged.append(SubInterface(int(vid), self.addresses(fields, at), self.routes(fields, at)))
        if tagged and (known.get("addresses") or known.get("routes")):
            self.bad(path, "a tagged interface has addresses and routes in its VLANs only", "move them under 'tagged'")
        made_up = f"02:4c:{index[0]:02x}:{index[1]:02x}:00:01"
        mac = self.mac(known["mac"], below(path, "mac")) if "mac" in known else made_up
        return Interface(name, mac, self.addresses(known, path), self.routes(known, path), tuple(tagged))

    def addresses(self, fields: dict[str, Any], path: str) -> tuple[Assigned, ...]:
        found: list[Assigned] = []
        for item, at in self.several(fields.get("addresses"), below(path, "addresses")):
            if isinstance(item, str) and "/" not in item:
                self.bad(at, f"{item!r} has no prefix length", "as in 192.168.5.1/24")
            elif (one := self.parsed(item, at, ipaddress.ip_interface, "an address with prefix length")) is not None:
                found.append(one)
        return tuple(found)

    def routes(self, fields: dict[str, Any], path: str) -> tuple[Route, ...]:
        found: list[Route] = []
        for item, at in self.several(fields.get("routes"), below(path, "routes")):
            known = self.mapping(item, at, ("to", "via"), ("to",))
            to = via = None
            if "to" in known:
                to = self.parsed(known["to"], below(at, "to"), ipaddress.ip_network, "a prefix")
            if "via" in known:
                via = self.parsed(known["via"], below(at, "via"), ipaddress.ip_address, "an address")
            if to is not None:
                found.append(Route(to, via))
        return tuple(found)

    def bridge(self, name: str, value: object, path: str, index: int) -> Bridge:
        self.text(name, path, _DEVICE, "at most 15 letters, digits, - and _")
        keys = ("node", "mac", "fail_mode", "controlled", "flows", "addresses")
        known = self.mapping(value, path, keys, ("node",))
        if known.get("fail_mode", "secure") not in ("secure", "standalone"):
            self.bad(below(path, "fail_mode"), f"{shown(known['fail_mode'])} is unknown", "secure or standalone")
        flows = tuple(self.text(item, at) for item, at in self.several(known.get("flows"), below(path, "flows")))
        controlled = self.flag(known.get("controlled", not flows), below(path, "controlled"))
        if controlled and flows:
            self.bad(below(path, "flows"), "a controlled bridge has no flows of its own", "say 'controlled: false'")
        return Bridge(
            name,
            self.text(known.get("node", ""), below(path, "node")),
            self.mac(known["mac"], below(path, "mac")) if "mac" in known else f"02:4c:ff:{index:02x}:00:01",
            str(known.get("fail_mode", "secure")),
            controlled,
            flows,
            self.addresses(known, path),
        )

    def links(self, value: object) -> list[Link]:
        found: list[Link] = []
        for item, path in self.several(value, "/links"):
            ends = self.several(item, path)
            texts = [self.text(end, at) for end, at in ends]
            if len(texts) != 2 or any(text.count(":") != 1 for text in texts):
                self.bad(path, "a link has two ends", "as in [netns1:eth0, br0:veth1]")
                continue
            found.append(Link(*(End(*text.split(":")) for text in texts)))
        return found

    def wiring(self, lab: Lab) -> None:
        """What must fit together: ends exist, have one cable, every interface has one, bridges stand somewhere."""
        for bridge in lab.bridges.values():
            if bridge.node not in lab.nodes:
                self.bad(
                    below("/bridges", bridge.name, "node"), f"no node {bridge.node!r}", near(bridge.node, lab.nodes)
                )
        if lab.policy is None and any(bridge.controlled for bridge in lab.bridges.values()):
            self.bad("/policy", "a controlled bridge needs a policy")
        used: set[str] = set()
        devices: set[tuple[str, str]] = {(n.name, f.name) for n in lab.nodes.values() for f in n.interfaces}
        for i, link in enumerate(lab.links):
            for j, end in enumerate((link.a, link.b)):
                path = below("/links", i, j)
                node, stands = lab.nodes.get(end.owner), lab.bridges.get(end.owner)
                if node is None and stands is None:
                    self.bad(path, f"no node or bridge {end.owner!r}", near(end.owner, [*lab.nodes, *lab.bridges]))
                elif node is not None and end.name not in {face.name for face in node.interfaces}:
                    self.bad(path, f"{end.owner!r} has no interface {end.name!r}")
                elif stands is not None and (not _DEVICE.fullmatch(end.name) or (stands.node, end.name) in devices):
                    self.bad(
                        path,
                        f"{end.name!r} cannot be the port's name",
                        "at most 15 letters, digits, - and _, unused in its node",
                    )
                if str(end) in used:
                    self.bad(path, f"{end} has a cable already")
                used.add(str(end))
        for node in lab.nodes.values():
            for face in node.interfaces:
                if f"{node.name}:{face.name}" not in used:
                    self.bad(below("/nodes", node.name, "interfaces", face.name), "no link leads to this interface")
        ports = {end.name for link in lab.links for end in (link.a, link.b) if end.owner in lab.bridges}
        endpoints = lab.policy.get("endpoints") if lab.policy is not None else None
        for name, endpoint in endpoints.items() if isinstance(endpoints, dict) else ():
            port = endpoint.get("port") if isinstance(endpoint, dict) else None
            if isinstance(port, str) and port not in ports:
                self.bad(
                    below("/policy/endpoints", name, "port"),
                    f"no link leads to a bridge port {port!r}",
                    near(port, ports),
                )

    # -- expectations ------------------------------------------------------------------------------------------------

    def expectation(self, lab: Lab, value: object, path: str) -> list[Expectation]:
        """One item of the file: the product of what it lists."""
        if isinstance(value, dict) and ("by" in value or "send" in value):
            return list(self.hostiles(lab, value, path))
        known = self.mapping(
            value, path, ("from", "to", "via", "expect", "never_seen_at", "while", "why"), ("from", "to", "expect")
        )
        expect = self.choice(known.get("expect"), below(path, "expect"), Expect)
        default = REACH_BY_DEFAULT if expect is Expect.REACH else NEVER_BY_DEFAULT
        via = (
            [self.choice(v, at, Via) for v, at in self.one_or_more(known["via"], below(path, "via"))]
            if "via" in known
            else default
        )
        sources = [self.where(lab, v, at) for v, at in self.one_or_more(known.get("from"), below(path, "from"))]
        targets = [
            self.where(lab, v, at, addresses=True) for v, at in self.one_or_more(known.get("to"), below(path, "to"))
        ]
        unseen = self.nodes_of(lab, known, path)
        during = self.situations(lab, known.get("while"), below(path, "while"))
        if expect is None:
            return []
        for target in targets:
            address = as_address(target)
            if expect is Expect.NEVER and address is not None and not unseen and not lab.holders(address):
                self.bad(path, f"nobody has {target}: where is nothing to be seen?", "say 'never_seen_at'")
        pairs = [(s, t) for s in sources for t in targets if s.partition(":")[0] != t.partition(":")[0]]
        if not pairs:
            self.bad(path, "this compares nothing", "'from' and 'to' must name different nodes")
        why = self.text(known.get("why", ""), below(path, "why"))
        return [Probe(s, t, tuple(v for v in via if v), expect, unseen, during, why) for s, t in pairs]

    def hostiles(self, lab: Lab, value: object, path: str) -> Iterable[Hostile]:
        known = self.mapping(value, path, ("by", "send", "claiming", "never_seen_at", "while", "why"), ("by", "send"))
        attacks = [self.choice(v, at, Attack) for v, at in self.one_or_more(known.get("send"), below(path, "send"))]
        senders = [self.where(lab, v, at) for v, at in self.one_or_more(known.get("by"), below(path, "by"))]
        during = self.situations(lab, known.get("while"), below(path, "while"))
        claiming = self.where(lab, known["claiming"], below(path, "claiming")) if "claiming" in known else None
        why = self.text(known.get("why", ""), below(path, "why"))
        for sender in senders:
            others = tuple(n for n in lab.nodes if n != sender.partition(":")[0] and lab.points(n))
            unseen = self.nodes_of(lab, known, path) or others
            if not unseen:
                self.bad(path, "nobody is there to see it")
            for attack in attacks:
                if attack is not None:
                    yield Hostile(sender, attack, unseen, claiming, during, why)

    def where(self, lab: Lab, value: object, path: str, addresses: bool = False) -> str:
        """The name of a node, `node:device`, or (where allowed) an address."""
        if isinstance(value, str) and lab.points(value):
            return value
        if addresses and isinstance(value, str) and as_address(value) is not None:
            return str(ipaddress.ip_address(value))
        names = [*lab.nodes, *(f"{p.node}:{p.device}" for p in lab.all_points)]
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
        return tuple(self.where(lab, value, p) for value, p in self.one_or_more(known["never_seen_at"], at))

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
