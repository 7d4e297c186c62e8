"""One request about a resource, parsed: what every handler is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.httpd import Request
from isthmus_lab.apiserver.identity import User
from isthmus_lab.apiserver.requestinfo import RequestInfo
from isthmus_lab.apiserver.resources import Resource, Version
from isthmus_lab.apiserver.views import View

_VALIDATION = ("", "Ignore", "Warn", "Strict")


@dataclass(slots=True, kw_only=True)
class Call:
    request: Request
    info: RequestInfo
    user: User
    resource: Resource
    version: Version
    view: View
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """The namespace objects are stored under; empty for cluster-scoped ones."""
        return self.info.namespace if self.resource.namespaced else ""

    @property
    def dry_run(self) -> bool:
        given = self.request.query.get("dryRun", [])
        if any(value not in ("", "All") for value in given):
            raise bad_request(f'invalid dryRun value "{given[0]}": supported values: "All"')
        return "All" in given

    @property
    def field_validation(self) -> str:
        """Ignore, Warn (default) or Strict."""
        given = self.request.param("fieldValidation")
        if given not in _VALIDATION:
            raise bad_request(
                f'fieldValidation: Unsupported value: "{given}": supported values: "Ignore", "Strict", "Warn"'
            )
        return given or "Warn"

    @property
    def manager(self) -> str:
        """Who owns the fields that this request sets."""
        given = self.request.param("fieldManager")
        return given or self.request.headers.get("user-agent", "unknown").split("/")[0][:128] or "unknown"
