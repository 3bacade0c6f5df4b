"""From a lab file's text to a `Lab`, or to every problem in it at once. PURE.

Unknown keys are refused with the nearest known one; each problem carries a JSON pointer (RFC 6901) into the file.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import replace
from typing import Any

import yaml

from topologies.expecting import ExpectationReader
from topologies.reading import LabFileError, Problem, below, mappings, near, shown
from topologies.spec import (
    ECHO_PORT,
    Assigned,
    Bridge,
    End,
    Expect,
    Expectation,
    Impostor,
    Interface,
    Lab,
    Link,
    Node,
    Probe,
    Route,
    SubInterface,
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


class _LabReader(ExpectationReader):
    """What could not be read is left out of the result."""

    # -- the lab -----------------------------------------------------------------------------------------------------

    def lab(self, document: object) -> Lab | None:
        known = ("name", "scenario", "description", "nodes", "bridges", "links", "impostors", "policy", "expectations")
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
        self.policy_ports(lab)
        lab = replace(lab, impostors=self.impostors(lab, top.get("impostors", {})))
        found: list[Expectation] = []
        for item, path in self.several(top.get("expectations"), "/expectations"):
            found += self.expectation(lab, item, path)
        lab = replace(lab, expectations=tuple(found))
        open_ports = {e.l4_port for e in found if isinstance(e, Probe) and e.expect is not Expect.CLOSED}
        if both := sorted((open_ports | {ECHO_PORT}) & lab.closed_ports):
            self.bad("/expectations", f"port {both[0]} is closed in one and not in another", "name a port for each")
        return lab

    def node(self, name: str, value: object, path: str, index: int) -> Node:
        self.text(name, path, _NAME, "letters, digits, - and _, at most 32")
        known = self.mapping({} if value is None else value, path, ("interfaces", "sysctls", "iptables", "ip6tables"))
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
            self.calls(known, "iptables", path),
            self.calls(known, "ip6tables", path),
        )

    def calls(self, known: dict[str, Any], program: str, path: str) -> tuple[str, ...]:
        """Arguments as a shell would split them: `-t nat -A POSTROUTING -o eth1 -j MASQUERADE`."""
        found = []
        for item, at in self.several(known.get(program), below(path, program)):
            words = self.parsed(item, at, shlex.split, "a line that can be split into words")
            if words is not None and not (words and words[0].startswith("-")):
                self.bad(at, f"{shown(item)} is no call of {program}", "its arguments alone, as in -P FORWARD DROP")
            found.append(str(item))
        return tuple(found)

    def interface(self, name: str, value: object, path: str, index: tuple[int, int]) -> Interface:
        """Without `mac`, one is made of the places in the file, so that it is the same every time."""
        self.text(name, path, _DEVICE, "at most 15 letters, digits, - and _")
        known = self.mapping({} if value is None else value, path, ("mac", "addresses", "routes", "tagged", "native"))
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
        if not tagged and "native" in known:
            self.bad(below(path, "native"), "'native' stands beside 'tagged' only", "addresses and routes need no key")
        plain, at = known, path
        if tagged and "native" in known:
            at = below(path, "native")
            plain = self.mapping(known["native"], at, ("addresses", "routes"), ("addresses",))
        made_up = f"02:4c:{index[0]:02x}:{index[1]:02x}:00:01"
        mac = self.mac(known["mac"], below(path, "mac")) if "mac" in known else made_up
        return Interface(name, mac, self.addresses(plain, at), self.routes(plain, at), tuple(tagged))

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
        keys = ("node", "mac", "fail_mode", "controlled", "flows", "addresses", "routes", "fabric", "managed")
        known = self.mapping(value, path, keys, ("node",))
        fabric = self.flag(known.get("fabric", False), below(path, "fabric"))
        if fabric and (others := sorted(set(known) - {"node", "mac", "fabric"})):
            self.bad(path, f"a fabric has no {' and no '.join(others)}", "it forwards by MAC and VLAN, and no more")
        managed = self.flag(known.get("managed", False), below(path, "managed"))
        if managed and (others := sorted(set(known) - {"node", "mac", "addresses", "routes", "managed"})):
            self.bad(path, f"a managed bridge has no {' and no '.join(others)}", "the controller makes it")
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
            "standalone" if fabric else str(known.get("fail_mode", "secure")),
            controlled and not fabric,
            flows,
            self.addresses(known, path),
            fabric,
            managed,
            self.routes(known, path),
        )

    def impostors(self, lab: Lab, value: object) -> dict[str, Impostor]:
        """`{at: BRIDGE:PORT, like: NODE, vid: 100}`: whose frames are put in at a trunk's end, by `vni` in tunnels."""
        found: dict[str, Impostor] = {}
        for name, item in self.mapping(value, "/impostors", None).items():
            path = below("/impostors", name)
            self.text(name, path, _NAME, "letters, digits, - and _, at most 32")
            if name in lab.nodes or name in lab.bridges:
                self.bad(path, f"{name!r} is a node's or a bridge's name too")
            known = self.mapping(item, path, ("at", "like", "vid", "vni", "vtep"), ("at", "like"))
            at = self.text(known.get("at", ""), below(path, "at"))
            ends = [p for p in lab.trunk_ends if str(lab.cable_end(p)) == at]
            if not ends:
                names = [str(lab.cable_end(p)) for p in lab.trunk_ends]
                self.bad(below(path, "at"), f"{at!r} is no end of a cable between bridges", ", ".join(names))
            like = self.where(lab, known.get("like"), below(path, "like"))
            vid, vni = (self.number(known, key, path, most) for key, most in (("vid", 4094), ("vni", (1 << 24) - 1)))
            vtep = None
            if "vtep" in known:
                vtep = self.parsed(known["vtep"], below(path, "vtep"), ipaddress.ip_address, "an address")
                if vni is None:
                    self.bad(below(path, "vtep"), "'vtep' stands beside 'vni' only")
            if ends:
                found[name] = Impostor(name, lab.cable_end(ends[0]), like, vid, vni, vtep)
                points = replace(lab, impostors=found).points(name)
                if vni is not None and points and points[0].tunnels is None:
                    hint = "it and those of other hosts have addresses of one subnet"
                    self.bad(below(path, "vni"), f"{at!r} is at no end of tunnels", hint)
        return found

    def number(self, known: dict[str, Any], key: str, path: str, most: int) -> int | None:
        value = known.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most):
            return value
        self.bad(below(path, key), f"{shown(value)} is not a {'VLAN' if key == 'vid' else key}", f"1 to {most}")
        return None

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

    def policy_ports(self, lab: Lab) -> None:
        """Ports and bridges that the policy names exist, as far as its shape can be told without the controller.

        A managed host's patch and internal ports are made by the controller, and need no cable.
        """
        ports = {name: {e.name for k in lab.links for e in (k.a, k.b) if e.owner == name} for name in lab.bridges}
        for name in lab.bridges:
            ports[name].add(name)  # its own port is the machine that runs it
        everywhere = {port for of_one in ports.values() for port in of_one}
        there: dict[str, set[str]] = {}
        managed = {name: bridge.node for name, bridge in lab.bridges.items() if bridge.managed}
        for name, host in mappings(lab.policy, "hosts"):
            bridge = host.get("bridge")
            if isinstance(bridge, str) and bridge not in lab.bridges:
                self.bad(below("/policy/hosts", name, "bridge"), f"no bridge {bridge!r}", near(bridge, lab.bridges))
            there[name] = ports.get(bridge, everywhere) if isinstance(bridge, str) else everywhere
            trunk = host.get("trunk")
            if isinstance(trunk, str) and trunk not in there[name] and "patch" not in host:
                path = below("/policy/hosts", name, "trunk")
                self.bad(path, f"no link leads to a bridge port {trunk!r}", near(trunk, there[name]))
            node = managed.get(bridge) if isinstance(bridge, str) else None
            if node is not None and host.get("ovsdb") in (f"unix:{node}", f"from:{node}"):
                del managed[bridge]
        for bridge, node in managed.items():
            hint = f'a host with {{bridge: {bridge}, ovsdb: "unix:{node}"}}'
            self.bad(below("/bridges", bridge, "managed"), "no host in the policy has it", hint)
        for section in ("endpoints", "uplinks"):
            for name, attached in mappings(lab.policy, section):
                port, found = attached.get("port"), there.get(str(attached.get("host")), everywhere)
                if isinstance(port, str) and port not in found and attached.get("interface") != "internal":
                    path = below("/policy", section, name, "port")
                    self.bad(path, f"no link leads to a bridge port {port!r}", near(port, found))
