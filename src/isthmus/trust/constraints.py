"""For which trust domains an authority may sign, as its certificates say (RFC 5280, 4.2.1.10), and what is told of it.

Clusters with a common root but trust domains of their own are only apart if each intermediate is bound to its trust
domain: otherwise the authority of one can make identities of another, and every proxy believes them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.trust.authority import PLUG_IN_SECRET, Authority
from isthmus.trust.pem import fingerprint, self_signed


def permitted_domains(certificate: x509.Certificate) -> tuple[str, ...] | None:
    """The hosts of URIs that it may sign for, `.x` for those below x; None if anything."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    uris = [name.value for name in found.permitted_subtrees or () if isinstance(name, x509.UniformResourceIdentifier)]
    return tuple(uris) if uris else None


def permits(certificates: Iterable[x509.Certificate], trust_domain: str) -> bool:
    """True if an identity of this trust domain is good under all of these authorities."""
    return all(
        allowed is None or any(_within(trust_domain, one) for one in allowed)
        for allowed in map(permitted_domains, certificates)
    )


def _within(host: str, constraint: str) -> bool:
    host, constraint = host.lower(), constraint.lower()
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def bounded(root: x509.Certificate, trust_domain: str) -> x509.Certificate:
    """The root as one believes it for a trust domain alone: whatever it signs for identities of another is refused.

    Who verifies takes name, key and constraints of an anchor and leaves its signature alone (RFC 5280, 6.1.1; RFC
    5937), so it is nobody's here. The same root makes the same bytes. One that does not permit the trust domain anyway
    is left as it is. Raises ValueError or TypeError for what no certificate can be made of.
    """
    allowed = permitted_domains(root)
    if allowed is not None and not permits([root], trust_domain):
        return root
    builder = (
        x509.CertificateBuilder()
        .subject_name(root.subject)
        .issuer_name(root.issuer)
        .public_key(root.public_key())
        .serial_number(max(root.serial_number, 1))
        .not_valid_before(root.not_valid_before_utc)
        .not_valid_after(root.not_valid_after_utc)
    )
    others: list[x509.GeneralName] = []
    excluded: list[x509.GeneralName] = []
    for extension in root.extensions:
        if isinstance(extension.value, x509.NameConstraints):
            found = extension.value.permitted_subtrees or ()
            others = [one for one in found if not isinstance(one, x509.UniformResourceIdentifier)]
            excluded = list(extension.value.excluded_subtrees or ())
        else:
            builder = builder.add_extension(extension.value, critical=extension.critical)
    constraints = x509.NameConstraints([x509.UniformResourceIdentifier(trust_domain), *others], excluded or None)
    return builder.add_extension(constraints, critical=True).sign(_NOBODY, None)


_NOBODY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))


def signers(authority: Authority) -> tuple[x509.Certificate, ...]:
    """The authority's own certificate and the intermediates above it."""
    return tuple(dict.fromkeys((authority.certificate, *authority.chain)))


def bound(authority: Authority) -> bool:
    """True if a certificate of the chain binds what the authority signs to some trust domains."""
    return any(permitted_domains(one) is not None for one in signers(authority))


def described(authority: Authority, clusters: Mapping[str, str], *, own: str) -> dict[str, Any]:
    """Plain data on an authority and the clusters it is asked for.

    `clusters` are their trust domains, `own` the one whose control plane signs.
    """
    return {
        "cluster": own,
        "trustDomain": clusters.get(own, ""),
        "constrained": bound(authority),
        "chain": [_certificate(one) for one in signers(authority)],
        "roots": [_certificate(one) for one in authority.roots],
        "clusters": [
            {"cluster": cluster, "trustDomain": domain, "signs": permits(signers(authority), domain)}
            for cluster, domain in sorted(clusters.items())
        ],
    }


def _certificate(certificate: x509.Certificate) -> dict[str, Any]:
    end = certificate.not_valid_after_utc.astimezone(UTC)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "selfSigned": self_signed(certificate),
        "fingerprint": fingerprint(certificate),
        "notAfter": datetime.strftime(end, "%Y-%m-%dT%H:%M:%SZ"),
        "trustDomains": permitted_domains(certificate),
    }


def problems(
    authority: Authority, clusters: Mapping[str, str], *, own: str, namespace: str, ztunnels: Collection[str] = ()
) -> Sequence[Problem]:
    """Trust domains that differ, while this authority could sign for all of them; connected ztunnels (by the ids of
    their proxies), while it is bound, as they take no certificate then."""
    where = ObjectRef(own, "Secret", namespace, PLUG_IN_SECRET)
    if ztunnels and bound(authority):
        return (_refused_by(ztunnels, where),)
    domains = sorted(set(clusters.values()))
    if len(domains) < 2 or bound(authority):
        return ()
    return (
        Problem(
            where=where,
            field="data[ca-cert.pem]",
            message=f"clusters have the trust domains {', '.join(domains)}, but this authority may sign for any",
            remedy="Give each cluster an intermediate of its own: isthmus ca intermediate --trust-domain "
            f"{clusters.get(own, domains[0])}",
            severity=Severity.WARNING,
        ),
    )


def _refused_by(ztunnels: Collection[str], where: ObjectRef) -> Problem:
    """ztunnel's TLS knows no constraints of URIs, and refuses whatever is signed under one."""
    return Problem(
        where=where,
        field="data[ca-cert.pem]",
        message=f"{len(ztunnels)} ztunnels follow ({min(ztunnels)}), which refuse all certificates of an authority "
        "that is bound to trust domains by name constraints",
        remedy="Use an intermediate without name constraints and one trust domain, or our own proxy on these nodes",
    )
