"""Networks with a router, uplinks, members that route and rewrites as they are read, and what each cannot say."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from controller.errors import PolicyError
from controller.mac import Mac
from controller.policy.load import load
from controller.policy.model import API_VERSION, Mode, Network, Policy, Route, Uplink, Vlan
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Snat, Target

LAN: dict[str, Any] = {"vlan": 10, "cidrs": ["10.1.0.0/24"], "mode": "routed", "gateway": "10.1.0.1"}
WAN: dict[str, Any] = {"port": "eth1", "addresses": ["198.51.100.2/24"]}


def load_one(**sections: Any) -> Policy:
    return load({"apiVersion": API_VERSION, **sections})


def one(**sections: Any) -> tuple[str, str]:
    with pytest.raises(PolicyError) as caught:
        load_one(**sections)
    (problem,) = caught.value.problems
    return problem.path, problem.message


def network(**keys: Any) -> dict[str, Any]:
    return {"networks": {"lan": {key: value for key, value in {**LAN, **keys}.items() if value is not ...}}}


def uplink(**keys: Any) -> dict[str, Any]:
    return {"uplinks": {"wan": {key: value for key, value in {**WAN, **keys}.items() if value is not ...}}}


def rewrite(**keys: Any) -> dict[str, Any]:
    return {"rewrites": [{"name": "r", "network": "dmz", **keys}]}


def test_a_network_with_a_router_is_read() -> None:
    assert load_one(**network(uplink="wan")).networks["lan"] == Network(
        "lan",
        vlan=Vlan(10),
        cidrs=(ip_network("10.1.0.0/24"),),
        mode=Mode.ROUTED,
        gateways=(ip_address("10.1.0.1"),),
        uplink="wan",
    )
    two = ["10.1.0.1", "2001:db8::1"]
    assert load_one(**network(gateway=two)).networks["lan"].gateways == tuple(map(ip_address, two))
    assert load_one(**network(mode="nat", uplink="wan")).networks["lan"].mode is Mode.NAT


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"gateway": ...}, "", "a network with mode routed needs a gateway"),
        ({"gateway": []}, "", "a network with mode routed needs a gateway"),
        ({"cidrs": ...}, "", "a network with mode routed needs cidrs"),
        ({"mode": "nat"}, "", "a network with mode nat needs an uplink"),
        ({"members": "open"}, "/members", "a network with mode routed routes to members that are known"),
        ({"mode": "isolated"}, "/gateway", "an isolated network leads nowhere else"),
        ({"mode": ..., "gateway": ..., "uplink": "wan"}, "/uplink", "an isolated network leads nowhere else"),
        ({"gateway": ["10.1.0.1", "10.1.0.2"]}, "/gateway", "the network has several gateways of IPv4"),
        ({"gateway": ["10.1.0.1", "10.1.0.1"]}, "/gateway/1", "10.1.0.1 stands in the list twice"),
        ({"gateway": "10.1.0.1/24"}, "/gateway", "'10.1.0.1/24' is not an IP address"),
        ({"gateway": 3}, "/gateway", "3 is not a string"),
        ({"gateway": [None]}, "/gateway/0", "null is not a string"),
        ({"uplink": ["wan"]}, "/uplink", "a list is not a string"),
        ({"mode": "bridge", "gateway": ...}, "/mode", "'bridge' is not one of: isolated, routed, nat"),
    ],
)
def test_what_a_network_cannot_say_about_its_router(keys: dict[str, Any], path: str, message: str) -> None:
    assert one(**network(**keys)) == (f"/networks/lan{path}", message)


def test_an_uplink_is_read() -> None:
    assert load_one(**uplink()).uplinks["wan"] == Uplink("wan", "eth1", (ip_interface("198.51.100.2/24"),))
    keys = {
        "host": "boxA",
        "mac": "02:00:00:00:00:01",
        "addresses": ["198.51.100.2/24", "2001:db8:1::2/64", "203.0.113.5/32"],
        "routes": [{"to": "0.0.0.0/0", "via": "198.51.100.1"}, {"to": "::/0", "via": "2001:db8:1::1"}],
    }
    assert load_one(hosts={"boxA": {"bridge": "br0"}}, **uplink(**keys)).uplinks["wan"] == Uplink(
        "wan",
        "eth1",
        (ip_interface("198.51.100.2/24"), ip_interface("2001:db8:1::2/64"), ip_interface("203.0.113.5/32")),
        host="boxA",
        mac=Mac(0x020000000001),
        routes=(
            Route(ip_network("0.0.0.0/0"), ip_address("198.51.100.1")),
            Route(ip_network("::/0"), ip_address("2001:db8:1::1")),
        ),
    )


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"port": ...}, "", "port is missing"),
        ({"addresses": ...}, "", "the uplink has no addresses"),
        ({"addresses": []}, "/addresses", "the uplink has no addresses"),
        ({"addresses": ["198.51.100.2"]}, "/addresses/0", "'198.51.100.2' has no length"),
        ({"addresses": ["198.51.100.2/33"]}, "/addresses/0", "'198.51.100.2/33' is not an address with a length"),
        ({"addresses": ["198.51.100.2/255.255.255.0"]}, "/addresses/0",
         "'198.51.100.2/255.255.255.0' is not an address with a length"),
        ({"addresses": ["198.51.100.0/24"]}, "/addresses/0",
         "198.51.100.0 is the network or the broadcast address of 198.51.100.0/24"),
        ({"addresses": ["127.0.0.1/8"]}, "/addresses/0", "127.0.0.1 is a loopback address, which nobody can have"),
        ({"addresses": ["198.51.100.2/24", "198.51.100.2/25"]}, "/addresses/1",
         "198.51.100.2 stands in the list twice"),
        ({"addresses": [f"198.51.100.{i}/24" for i in range(1, 10)]}, "/addresses",
         "an uplink has at most 8 addresses, and this one has 9"),
        ({"routes": {}}, "/routes", "a mapping is not a list"),
        ({"routes": [3]}, "/routes/0", "3 is not a mapping"),
        ({"routes": [{"to": "0.0.0.0/0"}]}, "/routes/0", "via is missing"),
        ({"routes": [{"to": "::/0", "via": "198.51.100.1"}]}, "/routes/0/via",
         "198.51.100.1 is not of the IP version of ::/0"),
        ({"routes": [{"to": "0.0.0.0/0", "via": "198.51.100.2"}]}, "/routes/0/via",
         "198.51.100.2 is the uplink's own address"),
        ({"routes": [{"to": "0.0.0.0/0", "via": "198.51.100.1"}] * 2}, "/routes/1/to",
         "there is a route to 0.0.0.0/0 already"),
        ({"routes": [{"to": "0.0.0.0/0", "via": "198.51.100.1", "metric": 3}]}, "/routes/0/metric",
         "the key 'metric' is unknown"),
    ],
)  # fmt: skip
def test_what_an_uplink_cannot_say(keys: dict[str, Any], path: str, message: str) -> None:
    assert one(**uplink(**keys)) == (f"/uplinks/wan{path}", message)


def test_a_member_may_route() -> None:
    fw = {"network": "green", "port": "fw0", "mac": "02:00:00:00:00:01", "routes": ["0.0.0.0/0", "10.0.0.0/8"]}
    assert load_one(endpoints={"fw": fw}).endpoints["fw"].routes == (ip_network("0.0.0.0/0"), ip_network("10.0.0.0/8"))
    without = {key: value for key, value in fw.items() if key != "mac"}
    assert one(endpoints={"fw": without}) == (
        "/endpoints/fw/routes",
        "nothing can be routed to an endpoint without a mac",
    )
    assert one(endpoints={"fw": {**fw, "routes": ["10.0.0.1/8"]}})[0] == "/endpoints/fw/routes/0"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"type": "masquerade"}, Masquerade("r", "dmz")),
        ({"type": "snat", "to": "198.51.100.9"},
         Snat("r", "dmz", ip_address("198.51.100.9"), ip_address("198.51.100.9"))),
        ({"type": "snat", "to": "2001:db8::1-2001:db8::100"},
         Snat("r", "dmz", ip_address("2001:db8::1"), ip_address("2001:db8::100"))),
        ({"type": "dnat", "address": "198.51.100.9", "to": "web1"},
         Forward("r", "dmz", None, None, (Target("web1"),), ip_address("198.51.100.9"))),
        ({"type": "forward", "proto": "udp", "l4_port": 53, "to": "web1:5353"},
         Forward("r", "dmz", 17, 53, (Target("web1", 5353),))),
        ({"type": "forward", "proto": 6, "l4_port": 80, "to": ["web1", "web2:81"], "address": "198.51.100.9"},
         Forward("r", "dmz", 6, 80, (Target("web1"), Target("web2", 81)), ip_address("198.51.100.9"))),
        ({"type": "one_to_one", "address": "198.51.100.9", "to": "web1", "stateless": True},
         OneToOne("r", "dmz", ip_address("198.51.100.9"), Target("web1"), True)),
        ({"type": "one_to_one", "address": "198.51.100.9", "to": "web1"},
         OneToOne("r", "dmz", ip_address("198.51.100.9"), Target("web1"))),
    ],
)  # fmt: skip
def test_rewrites_are_read(keys: dict[str, Any], expected: object) -> None:
    assert load_one(**rewrite(**keys)).rewrites == {"r": expected}


FORWARD: dict[str, Any] = {"type": "forward", "proto": "tcp", "l4_port": 80, "to": "web1"}
DNAT: dict[str, Any] = {"type": "dnat", "address": "198.51.100.9", "to": "web1"}


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({}, "", "type is missing"),
        ({"type": "nat"}, "/type", "'nat' is not one of: masquerade, snat, dnat, forward, one_to_one"),
        ({"type": "masquerade", "to": "198.51.100.9"}, "/to", "to means nothing for masquerade"),
        ({"type": "snat"}, "", "to is missing"),
        ({"type": "snat", "to": "198.51.100.9-198.51.100.8"}, "/to",
         "'198.51.100.9-198.51.100.8' ends before it begins"),
        ({"type": "snat", "to": "198.51.100.0-198.51.101.0"}, "/to",
         "'198.51.100.0-198.51.101.0' has more than 256 addresses"),
        ({"type": "snat", "to": "198.51.100.9-2001:db8::1"}, "/to",
         "198.51.100.9 and 2001:db8::1 are of different IP versions"),
        ({"type": "snat", "to": "web1"}, "/to", "'web1' is not an IP address"),
        ({"type": "snat", "to": ["198.51.100.9"]}, "/to", "a list is not a string"),
        ({**DNAT, "to": "web1:80"}, "/to", "'web1:80' names a port, and every port is meant"),
        ({**DNAT, "to": ["web1"]}, "/to", "a list is not one endpoint"),
        ({**DNAT, "proto": "tcp"}, "/proto", "proto means nothing for dnat"),
        ({**DNAT, "address": "224.0.0.1"}, "/address", "224.0.0.1 is a multicast address, which nobody can have"),
        ({**FORWARD, "proto": "icmp"}, "/proto", "'icmp' has no ports"),
        ({**FORWARD, "l4_port": 0}, "/l4_port", "0 is not from 1 to 65535"),
        ({**FORWARD, "to": []}, "/to", "the list is empty, so that it leads nowhere"),
        ({**FORWARD, "to": ["web1", "web1"]}, "/to/1", "web1 stands in the list twice"),
        ({**FORWARD, "to": [f"web{i}" for i in range(17)]}, "/to", "more than 16 endpoints cannot share a port"),
        ({**FORWARD, "to": "web1:0"}, "/to", "'web1:0' is not an endpoint and a port"),
        ({**FORWARD, "to": "web1:http"}, "/to", "'web1:http' is not an endpoint and a port"),
        ({**FORWARD, "to": 3}, "/to", "3 is not a string"),
        ({**FORWARD, "stateless": True}, "/stateless", "stateless means nothing for forward"),
        ({**DNAT, "type": "one_to_one", "stateless": "yes"}, "/stateless", "'yes' is neither true nor false"),
        ({"type": "masquerade", "netwrok": 1}, "/netwrok", "the key 'netwrok' is unknown"),
    ],
)  # fmt: skip
def test_what_a_rewrite_cannot_say(keys: dict[str, Any], path: str, message: str) -> None:
    assert one(**rewrite(**keys)) == (f"/rewrites/0{path}", message)


def test_a_rewrite_has_a_name_of_its_own_and_a_network() -> None:
    assert one(rewrites=[{"type": "masquerade", "network": "dmz"}]) == ("/rewrites/0", "the rewrite has no name")
    assert one(rewrites=[{"name": "r", "type": "masquerade"}]) == ("/rewrites/0", "network is missing")
    both = [{"name": "r", "type": "masquerade", "network": name} for name in ("a", "b")]
    assert one(rewrites=both) == ("/rewrites/1/name", "the rewrite number 1 is called 'r' already")
