"""What is asked of an API server."""

import pytest

from isthmus.kube import requests
from isthmus.kube.requests import Request, Resource, Scope

GATEWAYS = Resource("networking.istio.io", "v1", "gateways")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (requests.list_request(requests.PODS), Request("GET", "/api/v1/pods")),
        (
            requests.list_request(GATEWAYS, Scope("a", "x=y", "metadata.name=n"), limit=5, continued="c"),
            Request(
                "GET",
                "/apis/networking.istio.io/v1/namespaces/a/gateways",
                (
                    ("labelSelector", "x=y"),
                    ("fieldSelector", "metadata.name=n"),
                    ("limit", "5"),
                    ("continue", "c"),
                ),
            ),
        ),
        (
            requests.watch_request(requests.NODES, Scope(), version="7", timeout_seconds=9),
            Request(
                "GET",
                "/api/v1/nodes",
                (
                    ("watch", "1"),
                    ("resourceVersion", "7"),
                    ("allowWatchBookmarks", "true"),
                    ("timeoutSeconds", "9"),
                ),
            ),
        ),
        (requests.get_request(requests.NODES, "ignored", "n"), Request("GET", "/api/v1/nodes/n")),
        (
            requests.create_request(requests.SERVICE_ACCOUNTS, {}, namespace="a", name="sa", subresource="token"),
            Request("POST", "/api/v1/namespaces/a/serviceaccounts/sa/token", body=b"{}"),
        ),
        (
            requests.replace_request(requests.SECRETS, {"a": 1}, namespace="a", name="s"),
            Request("PUT", "/api/v1/namespaces/a/secrets/s", body=b'{"a":1}'),
        ),
        (
            requests.patch_request(requests.SECRETS, {}, namespace="a", name="s"),
            Request("PATCH", "/api/v1/namespaces/a/secrets/s", body=b"{}", content_type=requests.MERGE_PATCH),
        ),
        (
            requests.apply_request(requests.SECRETS, {}, namespace="a", name="s", manager="m", force=False),
            Request(
                "PATCH",
                "/api/v1/namespaces/a/secrets/s",
                (("fieldManager", "m"), ("force", "false")),
                b"{}",
                requests.APPLY_PATCH,
            ),
        ),
        (
            requests.delete_request(requests.SECRETS, "a", "s"),
            Request("DELETE", "/api/v1/namespaces/a/secrets/s"),
        ),
    ],
)
def test_requests(request_: Request, expected: Request) -> None:
    assert request_ == expected
