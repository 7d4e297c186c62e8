"""Admission of what service accounts need: pods get their account and its token, token Secrets get their token."""

from __future__ import annotations

import base64

from isthmus_lab.apiserver import errors
from isthmus_lab.apiserver.objects import JsonObject, annotations_of, items, meta, name_of, namespace_of, section
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry
from isthmus_lab.apiserver.tokens import ACCOUNT_ANNOTATION, ACCOUNT_UID_ANNOTATION, SECRET_TYPE, TokenAuthority

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA_MAP = "kube-root-ca.crt"
_VOLUME_PREFIX = "kube-api-access-"
_TOKEN_SECONDS = 3607


class ServiceAccountAdmission:
    def __init__(self, state: State, authority: TokenAuthority, root_certificate: bytes) -> None:
        self._state = state
        self._authority = authority
        self._root = root_certificate

    def admit(self, storage: str, obj: JsonObject) -> None:
        """Fills in what a new pod or Secret lacks, in place. Raises 403 when its account is not there."""
        if storage == "pods":
            self._pod(obj)
        elif storage == "secrets" and obj.get("type") == SECRET_TYPE:
            self._secret(obj)

    def _pod(self, pod: JsonObject) -> None:
        spec = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = self._state.store.get("serviceaccounts", namespace_of(pod), name)
        if account is None:
            why = f'error looking up service account {namespace_of(pod)}/{name}: serviceaccount "{name}" not found'
            raise errors.forbidden("", "pods", name_of(pod), why)
        if not items(spec, "imagePullSecrets") and items(account.obj, "imagePullSecrets"):
            spec["imagePullSecrets"] = list(items(account.obj, "imagePullSecrets"))
        if _mounts_token(spec, account):
            self._mount(spec)

    def _mount(self, spec: JsonObject) -> None:
        every = [*items(spec, "initContainers"), *items(spec, "containers")]
        lacking = [c for c in every if not any(m.get("mountPath") == MOUNT_PATH for m in items(c, "volumeMounts"))]
        if not lacking:
            return
        volumes = spec.setdefault("volumes", [])
        volume = next((v["name"] for v in volumes if str(v.get("name", "")).startswith(_VOLUME_PREFIX)), "")
        if not volume:
            volume = _VOLUME_PREFIX + self._state.suffix()
            volumes.append(_token_volume(volume))
        for container in lacking:
            mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
            container.setdefault("volumeMounts", []).append(mount)

    def _secret(self, secret: JsonObject) -> None:
        name = annotations_of(secret).get(ACCOUNT_ANNOTATION, "")
        if not name:
            cause = errors.required(f"metadata.annotations[{ACCOUNT_ANNOTATION}]")
            raise errors.invalid("", "Secret", name_of(secret), [cause])
        account = self._state.store.get("serviceaccounts", namespace_of(secret), name)
        if account is None:
            raise errors.not_found("", "serviceaccounts", name)
        meta(secret)["annotations"][ACCOUNT_UID_ANNOTATION] = account.uid
        data = secret.get("data")
        data = secret["data"] = data if isinstance(data, dict) else {}
        if not data.get("token"):
            data["token"] = _b64(self._authority.legacy(account, name_of(secret)).encode())
        data["ca.crt"] = _b64(self._root)
        data["namespace"] = _b64(account.namespace.encode())


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _mounts_token(spec: JsonObject, account: Entry) -> bool:
    for owner in (spec, account.obj):
        wanted = owner.get("automountServiceAccountToken")
        if wanted is not None:
            return bool(wanted)
    return True


def _token_volume(name: str) -> JsonObject:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA_MAP, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    }


def secrets_of(account: Entry, secrets: list[Entry]) -> list[Entry]:
    """The token Secrets of an account, to be removed with it."""
    return [
        secret
        for secret in secrets
        if secret.obj.get("type") == SECRET_TYPE
        and annotations_of(secret.obj).get(ACCOUNT_ANNOTATION) == account.name
        and section(secret.obj, "metadata")["annotations"].get(ACCOUNT_UID_ANNOTATION) in (None, account.uid)
    ]
