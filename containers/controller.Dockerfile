# The controller: what tools/setup installs, and nothing it does not need at run time. Built from the top of the checkout.
FROM debian:12-slim
WORKDIR /opt/tripoint
COPY setup.cfg pyproject.toml README.md ./
COPY requirements requirements
COPY tools/setup tools/setup
COPY controller controller
COPY topologies topologies
COPY apps apps
RUN tools/setup \
    && useradd --system --home-dir /var/lib/tripoint tripoint \
    && install -d -o tripoint -g tripoint -m 700 /var/lib/tripoint \
    && rm -rf /var/lib/apt/lists/* /root/.cache
ENV PATH=/opt/tripoint/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER tripoint
ENTRYPOINT ["ryu-manager", "/opt/tripoint/apps/isolation.py"]
