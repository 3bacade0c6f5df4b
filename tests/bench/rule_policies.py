"""Documents with many rules over groups, and how many flows their rules would take if groups were multiplied. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from controller.pipeline.stages.rules import port_masks
from controller.policy.load import load
from controller.policy.peers import resolve_groups
from tests.bench.policies import Document

ENDPOINTS, NETWORKS, RULES = 1000, 50, 300
APPS, ROLES, STAGES = 20, ("web", "api", "db"), ("prod", "test", "dev")
TEAMS, SITES = 10, 12
LABELLED, LISTED = "labelled", "listed"
"""Two groups of all endpoints, one by label and one by name, each used by USERS rules."""
USERS = 10
TIERS = ("emergency", "application", "baseline")
_APPLICATION = range(20, 280)
"""The places of the rules in the second tier; those before and after are in the first and the last."""
_FIRST_LABELLED, _FIRST_LISTED = 100, 200


@dataclass(frozen=True, slots=True)
class Kind:
    """How the groups lie. crossing: teams and sites that cut across each other and across applications and roles, so
    that hardly two endpoints are in the same groups.
    """

    crossing: bool

    def __str__(self) -> str:
        return "groups that cut across each other" if self.crossing else "groups by application, role and stage"


def document(kind: Kind) -> Document:
    """Routed networks, so that rules are about all endpoints alike."""
    names = [f"web{i}" for i in range(ENDPOINTS)]
    combined = {f"app{a}-{role}": {"selector": {"app": f"a{a}", "role": role}} for a in range(APPS) for role in ROLES}
    return {
        "apiVersion": "tripoint/v1",
        "networks": {
            f"net{n}": {"vlan": n + 1, "cidrs": [f"10.{n}.0.0/24"], "mode": "routed", "gateway": f"10.{n}.0.254"}
            for n in range(NETWORKS)
        },
        "endpoints": {name: endpoint(i) for i, name in enumerate(names)},
        "groups": {
            **combined,
            **{f"app{a}": {"selector": {"app": f"a{a}"}} for a in range(APPS)},
            **{f"stage-{stage}": {"selector": {"stage": stage}} for stage in STAGES},
            **{f"site{s}": {"selector": {"site": f"s{s}"}} for s in range(SITES)},
            **{f"team{t}": {"members": [n for i, n in enumerate(names) if i // 7 % TEAMS == t]} for t in range(TEAMS)},
            LABELLED: {"selector": {"managed": "yes"}},
            LISTED: {"members": names},
        },
        "tiers": list(TIERS),
        "rules": [rule(kind, i) for i in range(RULES)],
    }


def endpoint(i: int, *, managed: bool = True) -> Document:
    """managed: in the group LABELLED."""
    labels = {
        "app": f"a{i % APPS}",
        "role": ROLES[i // APPS % 3],
        "stage": STAGES[i // APPS // 3 % 3],
        "site": f"s{i // 3 % SITES}",
        **({"managed": "yes"} if managed else {}),
    }
    mac = f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}"
    ip = f"10.{i % NETWORKS}.0.{i // NETWORKS + 1}"
    return {"network": f"net{i % NETWORKS}", "port": f"p{i}", "mac": mac, "ips": [ip], "labels": labels}


def rule(kind: Kind, i: int) -> Document:
    """From some groups to one, at a port and a range of ports."""
    app, role = i % APPS, ROLES[i // APPS % 3]
    origins, target = [f"app{app}-{role}", f"app{(i * 7 + 1) % APPS}-api"], f"app{(app + i // 100) % APPS}-db"
    if i % 10 == 0:
        origins, target = [f"stage-{STAGES[i % 3]}"], f"app{app}"
    if kind.crossing:
        origins, target = [f"app{app}", f"site{i * 7 % SITES}"], f"team{i * 3 % TEAMS}"
    if i in range(_FIRST_LABELLED, _FIRST_LABELLED + USERS):
        target = LABELLED
    if i in range(_FIRST_LISTED, _FIRST_LISTED + USERS):
        target = LISTED
    return {
        "name": f"rule{i}",
        "tier": TIERS[(i >= _APPLICATION.start) + (i >= _APPLICATION.stop)],
        "action": ("allow", "allow", "drop", "reject")[i % 4],
        "from": list(dict.fromkeys(origins)),
        "to": [target],
        "proto": "tcp" if i % 3 else "udp",
        "ports": [1024 + i, f"{8000 + i}-{8080 + i}"],
    }


def product(plain: Document) -> int:
    """How many flows the rules would take with one for each origin, target and mask of ports."""
    policy = load(plain)
    groups = resolve_groups(policy)

    def size(names: tuple[str, ...]) -> int:
        return len(frozenset[str]().union(*(groups[name].endpoints for name in names)))

    return sum(
        size(one.origin.groups)
        * size(one.target.groups)
        * sum(1 for each in one.service.ports for _ in port_masks(each))
        for one in policy.rules.values()
    )
