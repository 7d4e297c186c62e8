"""Why something is not trusted."""

from isthmus.base.errors import IsthmusError


class TrustError(IsthmusError):
    """A certificate, key, chain or bundle that cannot be used."""


class CsrError(TrustError):
    """A signing request that is refused."""


class TokenError(TrustError):
    """A token that proves nothing."""
