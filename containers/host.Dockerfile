# A host with an Open vSwitch of its own, and, with another entry point, a member that is plugged into it.
FROM debian:12-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        curl ethtool iproute2 iputils-ping openvswitch-switch \
    # A copy without the rights that the package's own has, which could not be started where they are not to be had.
    && install -m 755 /usr/bin/ping /usr/local/bin/ping \
    && rm -rf /var/lib/apt/lists/*
COPY containers/host containers/member /usr/local/bin/
ENTRYPOINT ["host"]
