"""A pod's volumes as directories: what belongs into them (pure), and writing it so that readers never see half."""

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus_lab.kubelet.container import Mount
from isthmus_lab.kubelet.env import ConfigError, Lookup, Object, contents, field_value, resource_value

TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
_DEFAULT_TOKEN_SECONDS = 3607


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A ServiceAccount token that a volume holds in file `path`."""

    path: str
    audience: str
    seconds: int


def with_service_account(pod: Object) -> Object:
    """The pod with the volume of its ServiceAccount's token, in case no admission added it already."""
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is False:
        return pod
    name = "kube-api-access"
    mount = {"name": name, "mountPath": TOKEN_DIRECTORY, "readOnly": True}
    wanted = False

    def completed(container: Object) -> Object:
        nonlocal wanted
        mounts = container.get("volumeMounts") or []
        if any(m["mountPath"] == TOKEN_DIRECTORY for m in mounts):
            return container
        wanted = True
        return {**container, "volumeMounts": [*mounts, mount]}

    lists = {f: [completed(c) for c in spec.get(f) or []] for f in ("initContainers", "containers")}
    if not wanted:
        return pod
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _DEFAULT_TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = [*(spec.get("volumes") or []), {"name": name, "projected": {"sources": sources}}]
    return {**pod, "spec": {**spec, **lists, "volumes": volumes}}


def token_requests(volume: Object) -> list[TokenRequest]:
    """The tokens that a volume needs."""
    sources = (volume.get("projected") or {}).get("sources") or []
    return [
        TokenRequest(t["path"], t.get("audience", ""), int(t.get("expirationSeconds", _DEFAULT_TOKEN_SECONDS)))
        for t in (source.get("serviceAccountToken") for source in sources)
        if t
    ]


def payload(volume: Object, pod: Object, lookup: Lookup, tokens: Mapping[str, str]) -> dict[str, bytes] | None:
    """The files of a volume by path; None if it is an ordinary directory. ConfigError: something it names is missing.

    `tokens` are the ServiceAccount tokens by path.
    """
    if "emptyDir" in volume or "hostPath" in volume:
        return None
    if "projected" in volume:
        files: dict[str, bytes] = {}
        for source in volume["projected"].get("sources") or []:
            files.update(_source(source, pod, lookup, tokens))
        return files
    if "secret" in volume:
        secret = volume["secret"]
        return _source({"secret": {**secret, "name": secret["secretName"]}}, pod, lookup, tokens)
    if "configMap" in volume or "downwardAPI" in volume:
        return _source(volume, pod, lookup, tokens)
    kinds = ", ".join(k for k in volume if k != "name") or "nothing"
    raise ConfigError(
        f"volume {volume['name']}: {kinds} is not supported. Use emptyDir, hostPath, configMap, secret or projected."
    )


def _source(source: Object, pod: Object, lookup: Lookup, tokens: Mapping[str, str]) -> dict[str, bytes]:
    if "serviceAccountToken" in source:
        path = source["serviceAccountToken"]["path"]
        return {path: tokens[path].encode()} if path in tokens else {}
    if "downwardAPI" in source:
        items = source["downwardAPI"].get("items") or []
        return {item["path"]: _downward(item, pod).encode() for item in items}
    for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if field in source:
            return _object_files(kind, source[field], pod, lookup)
    raise ConfigError(f"projected source {', '.join(source)} is not supported in the lab")


def _downward(item: Object, pod: Object) -> str:
    if "fieldRef" in item:
        return field_value(pod, item["fieldRef"]["fieldPath"])
    reference = item["resourceFieldRef"]
    containers = pod["spec"]["containers"]
    owner = next((c for c in containers if c["name"] == reference.get("containerName")), containers[0])
    return resource_value(owner, reference)


def _object_files(kind: str, source: Object, pod: Object, lookup: Lookup) -> dict[str, bytes]:
    found = lookup(kind, pod["metadata"]["namespace"], source["name"])
    if found is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f"{kind} {source['name']!r} not found in namespace {pod['metadata']['namespace']}")
    data = contents(found)
    items = source.get("items")
    if not items:
        return data
    missing = [item["key"] for item in items if item["key"] not in data]
    if missing and not source.get("optional"):
        raise ConfigError(f"{kind} {source['name']!r} has no key {', '.join(missing)}")
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}


def write_atomically(directory: Path, files: Mapping[str, bytes]) -> bool:
    """Make the directory hold exactly these files, all changing at one moment, as the kubelet's AtomicWriter does.

    Files are links through `..data`, which is replaced by rename. Returns False if nothing was to be changed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    current = directory / "..data"
    old = Path(os.readlink(current)) if current.is_symlink() else None
    if old is not None and _read_all(directory / old) == dict(files):
        return False
    fresh = directory / f"..{time.time_ns()}"
    for name, content in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
    fresh.mkdir(exist_ok=True)
    link = directory / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(current)
    _link_names(directory, {Path(name).parts[0] for name in files})
    if old is not None:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def _link_names(directory: Path, names: set[str]) -> None:
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data", name))


def _read_all(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def token_request_body(request: TokenRequest, pod: Object) -> Object:
    """The TokenRequest that binds a token to this pod (authentication.k8s.io/v1)."""
    meta = pod["metadata"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    spec: Object = {"expirationSeconds": request.seconds, "boundObjectRef": bound}
    if request.audience:
        spec["audiences"] = [request.audience]
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def refresh_after(seconds: float) -> float:
    """When to ask for the next token: after 80 % of its life, as the kubelet does, and at most 24 hours."""
    return min(seconds * 0.8, 86400.0)


def mounts_of(container: Object, directories: Mapping[str, Path]) -> Iterable[Mount]:
    """The container's mounts. ConfigError: no such volume."""
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in directories:
            raise ConfigError(f"volumeMount {mount['name']!r}: the pod has no such volume")
        source = directories[mount["name"]]
        if mount.get("subPath"):
            source = source / mount["subPath"]
        propagation = str(mount.get("mountPropagation") or "None")
        yield Mount(str(source), mount["mountPath"], bool(mount.get("readOnly")), propagation)


_SHARED = ("/run", "/proc", "/sys", "/dev")
_TYPES = {
    "Directory": Path.is_dir,
    "File": Path.is_file,
    "Socket": Path.is_socket,
    "CharDevice": Path.is_char_device,
    "BlockDevice": Path.is_block_device,
}


def host_path(path: str, host: Path) -> Path:
    """Where a path of the node is: below /run, /proc, /sys and /dev where it says, else in the node's directory `host`.

    ConfigError: the path is not absolute, or leads out of itself.
    """
    if not path.startswith("/") or ".." in Path(path).parts:
        raise ConfigError(f"hostPath {path!r}: write an absolute path without '..'")
    plain = os.path.normpath("/run" + path.removeprefix("/var/run") if _is_below(path, "/var/run") else path)
    if any(_is_below(plain, shared) for shared in _SHARED):
        return Path(plain)
    return host / plain.lstrip("/")


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def ensure_host_path(volume: Object, place: Path) -> None:
    """Make a hostPath volume's directory or file, or see that it is there, by its type. ConfigError: it is not."""
    kind = str(volume["hostPath"].get("type") or "")
    if kind in ("", "DirectoryOrCreate"):
        if not place.exists():
            place.mkdir(parents=True)
    elif kind == "FileOrCreate":
        place.touch()
    elif kind not in _TYPES:
        raise ConfigError(f"volume {volume['name']}: hostPath type {kind!r} is not known")
    elif not _TYPES[kind](place):
        raise ConfigError(f"volume {volume['name']}: hostPath type check failed: {place} is no {kind}")
