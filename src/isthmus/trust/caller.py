"""Who calls: the verified identity of a stream or request, and whether what it claims to be agrees with it."""

from dataclasses import dataclass

from isthmus.base.names import SpiffeId, spiffe_id


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity that a cluster vouched for. `cluster` is the one whose API server or keys verified the token.

    `pod`, `pod_uid` and `node` are what the token is bound to, as far as it says; `expires` is 0 if that is unknown.
    """

    cluster: str
    namespace: str
    service_account: str
    pod: str = ""
    expires: float = 0.0
    pod_uid: str = ""
    node: str = ""

    def identity(self, trust_domain: str) -> SpiffeId:
        """The SPIFFE ID. The trust domain is that of the caller's cluster (TR6); Istio mints the primary's (AU2)."""
        return spiffe_id(trust_domain, self.namespace, self.service_account)

    @property
    def voter(self) -> str:
        """Who it is whatever it says of itself: its pod, else, without a token that is bound to one, its account."""
        return "/".join((self.cluster, self.namespace, self.service_account, self.pod))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service_account} of cluster {self.cluster}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a proxy says of itself in its node metadata; empty parts claim nothing."""

    cluster: str
    namespace: str
    service_account: str
    pod: str = ""

    def __str__(self) -> str:
        account = f"{self.namespace}/{self.service_account or '*'}"
        return f"{account} of cluster {self.cluster}" if self.cluster else account


def disagreement(caller: Caller, claim: Claim) -> str:
    """Why the claim is refused, naming both; empty if the identity allows it.

    Namespace and service account as Istio does (AU4). The cluster must agree, too: a token of one cluster must not
    speak for another (AU5, which Istio leaves unchecked). A token that is bound to a pod speaks for that pod only.
    """
    wrong = (
        claim.namespace != caller.namespace
        or (claim.service_account and claim.service_account != caller.service_account)
        or (claim.cluster and claim.cluster != caller.cluster)
    )
    if wrong:
        return f"the token belongs to {caller}, but the proxy claims to be {claim}"
    if caller.pod and claim.pod and caller.pod != claim.pod:
        return f"the token belongs to pod {caller.namespace}/{caller.pod}, but the proxy claims to be {claim.pod}"
    return ""
