"""Tripoint's controller: the first page for a newcomer.

What happens to a policy document::

    document -> policy.parse -> policy.load -> policy.check -> Policy --+--> pipeline.rulebook, once for all bridges
    ports that the switches describe -> inventory.bind -> Bindings -----+--> pipeline.compile, a bridge at a time
                                                                             |
    what is installed: cookies <- openflow.session.read_flows                v
                            |                                          desired flows (pipeline.tally)
                            +--> diff.difference: desired - installed = plan --> one bundle --> verified

Hosts: `host_plan` says what the Open vSwitch of each managed host is to have, `ovsdb` makes it so and tells what it
sees; `tunnels` says between which hosts tunnels lie.

What a switch cannot do by itself it hands over: `punts` answers, logs and sends on, `frames` makes the octets;
`rule_log` and `rule_counters` tell what rules have seen.

`reconcile` turns that crank and holds all state that changes; `store` keeps every revision; `api` and `cli` are how
people and programs ask; `framework` is the only module that knows Ryu and eventlet; `apps/isolation.py` wires them.
`policy.meaning` says what a policy means without knowing the pipeline; `proof.evaluate` says what flows do without
knowing the policy; the tests say that the two agree, and ask Open vSwitch itself as well.

Words. host: a machine that runs Open vSwitch. bridge: the OVSDB object. datapath: the same bridge over OpenFlow, by its
dpid. port: an attachment; ofport: its number. endpoint: a workload's MAC and IPs. binding: where an endpoint was
observed. network: one isolation domain. vlan: 1 to 4094, at the edge. vni: 24 bits (RFC 7348). shared member: an
endpoint in several networks. stage: a named step of the pipeline; table: its number. flow: an OpenFlow entry. desired,
installed: what flows should be there, and are; plan: their difference. bundle: the atomic change (OpenFlow 1.4).
revision: a stored policy version. learned: known from traffic, by the switch itself. punt: a packet that a flow hands
to the controller, and why. rule: a sentence about connections; tier: rules that are asked together. connection: a
conntrack entry; zone: conntrack's 16 bits that keep entries apart. tracked: a network whose connections are looked at.
realm: all networks that the router joins, and their outside. uplink: a port behind which the outside is. rewrite: an
address that changes there, by nat (conntrack's) or packet by packet. class: those of whom rules say the same.
"""

__version__ = "0.1.0"
