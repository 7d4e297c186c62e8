"""What the control plane counts, in Prometheus' form. Times in seconds, sizes in bytes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from isthmus.xds.resource import SHORT_NAMES
from isthmus.xds.session import Accepted, Event, Push, Rejected

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """One registry with everything in it."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.streams = Gauge("isthmus_xds_streams", "Open xDS streams.", registry=registry)
        self.pushes = Counter("isthmus_xds_pushes", "Responses sent.", ["type"], registry=registry)
        self.push_bytes = Counter("isthmus_xds_push_bytes", "Bytes of responses sent.", ["type"], registry=registry)
        self.rejects = Counter("isthmus_xds_rejects", "Responses that proxies rejected.", ["type"], registry=registry)
        self.accepted = Histogram(
            "isthmus_xds_accept_seconds",
            "From sending a response to its answer.",
            ["type"],
            buckets=FAST,
            registry=registry,
        )
        self.revision = Gauge("isthmus_mesh_revision", "Revision of the mesh's tables.", registry=registry)
        self.applied = Histogram("isthmus_mesh_apply_seconds", "One revision.", buckets=FAST, registry=registry)
        self.changes = Counter("isthmus_mesh_changes", "Changes applied.", registry=registry)
        self.failures = Counter("isthmus_mesh_failures", "Revisions that failed.", registry=registry)
        self.told = Counter("isthmus_mesh_told_streams", "Streams told of changes.", registry=registry)
        self.clusters = Gauge("isthmus_clusters", "Known clusters.", ["status"], registry=registry)
        self.problems = Gauge("isthmus_problems", "Objects with problems.", registry=registry)
        self.certificates = Gauge("isthmus_ca_certificates_issued", "Certificates issued.", registry=registry)
        self.ca_expiry = Gauge("isthmus_ca_expiry_seconds", "When the authority's certificate ends.", registry=registry)

    def on_push(self, push: Push) -> None:
        """A response was written."""
        name = SHORT_NAMES.get(push.type_url, "other")
        self.pushes.labels(name).inc()
        self.push_bytes.labels(name).inc(len(push.data))

    def on_event(self, event: Event) -> None:
        """A client answered."""
        match event:
            case Accepted(type_url, seconds):
                self.accepted.labels(SHORT_NAMES.get(type_url, "other")).observe(seconds)
            case Rejected(type_url):
                self.rejects.labels(SHORT_NAMES.get(type_url, "other")).inc()

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)
