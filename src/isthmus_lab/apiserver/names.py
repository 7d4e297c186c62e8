"""Names, labels and annotations: what Kubernetes accepts, in its words."""

from __future__ import annotations

import re

from isthmus_lab.apiserver.errors import Cause, invalid_value, required
from isthmus_lab.apiserver.objects import JsonObject, section

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

_LABEL_KINDS = frozenset({"namespaces"})
_LABEL_1035_KINDS = frozenset({"services"})
_ANNOTATIONS_LIMIT = 256 * 1024  # bytes


def is_label(text: str) -> bool:
    return len(text) <= 63 and bool(_LABEL.fullmatch(text))


def is_subdomain(text: str) -> bool:
    return len(text) <= 253 and bool(_SUBDOMAIN.fullmatch(text))


def is_port_name(text: str) -> bool:
    """IANA_SVC_NAME, which named ports use."""
    return len(text) <= 15 and bool(_LABEL.fullmatch(text)) and any(c.isalpha() for c in text) and "--" not in text


def label_problem(text: str) -> str:
    """Why `text` is no DNS label; empty when it is one."""
    return "" if is_label(text) else (_LABEL_TEXT if len(text) <= 63 else "must be no more than 63 characters")


def subdomain_problem(text: str) -> str:
    return (
        "" if is_subdomain(text) else (_SUBDOMAIN_TEXT if len(text) <= 253 else "must be no more than 253 characters")
    )


def name_problem(storage: str, name: str) -> str:
    """Why an object of that resource cannot have that name; empty when it can."""
    if storage.endswith(".rbac.authorization.k8s.io"):
        if name in (".", "..") or "/" in name or "%" in name:
            return "may not contain '/' or '%' and may not be '.' or '..'"
        return ""
    if storage in _LABEL_KINDS:
        return label_problem(name)
    if storage in _LABEL_1035_KINDS:
        return "" if len(name) <= 63 and _LABEL_1035.fullmatch(name) else _LABEL_1035_TEXT
    return subdomain_problem(name)


def qualified_problem(key: str) -> str:
    """Why `key` is no label or annotation key."""
    prefix, slash, name = key.rpartition("/")
    if slash and not is_subdomain(prefix):
        return f"prefix part {_SUBDOMAIN_TEXT}"
    if not name or len(name) > 63:
        return "name part must be non-empty" if not name else "name part must be no more than 63 characters"
    return "" if _QUALIFIED.fullmatch(name) else _QUALIFIED_TEXT


def label_value_problem(value: object) -> str:
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_VALUE.fullmatch(value) else _VALUE_TEXT


def label_causes(labels: JsonObject, field: str) -> list[Cause]:
    causes = []
    for key, value in labels.items():
        if problem := qualified_problem(key):
            causes.append(invalid_value(field, key, problem))
        if problem := label_value_problem(value):
            causes.append(invalid_value(field, value, problem))
    return causes


def metadata_causes(obj: JsonObject, storage: str) -> list[Cause]:
    """What is wrong with the metadata of an object about to be stored."""
    meta = section(obj, "metadata")
    causes = []
    name = str(meta.get("name") or "")
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    elif problem := name_problem(storage, name):
        causes.append(invalid_value("metadata.name", name, problem))
    causes += label_causes(section(meta, "labels"), "metadata.labels")
    annotations = section(meta, "annotations")
    for key in annotations:
        if problem := qualified_problem(key.lower()):
            causes.append(invalid_value("metadata.annotations", key, problem))
    if sum(len(str(key)) + len(str(value)) for key, value in annotations.items()) > _ANNOTATIONS_LIMIT:
        causes.append(Cause("metadata.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes"))
    return causes + _owner_causes(meta)


def _owner_causes(meta: JsonObject) -> list[Cause]:
    return [
        invalid_value(f"metadata.ownerReferences[{index}].{key}", "", "must not be empty")
        for index, owner in enumerate(meta.get("ownerReferences") or [])
        for key in ("apiVersion", "kind", "name", "uid")
        if not owner.get(key)
    ]
