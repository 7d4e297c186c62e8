"""How a proxy is named on the command line."""

import pytest

from isthmus.base.errors import UsageError
from isthmus.cli.proxies import PodName, split_name


@pytest.mark.parametrize(
    ("text", "namespace", "kind", "pod"),
    [
        ("sleep-1", "", "pod", PodName("sleep-1", "default")),
        ("sleep-1.sample", "", "pod", PodName("sleep-1", "sample")),
        ("sleep-1", "sample", "pod", PodName("sleep-1", "sample")),
        ("sleep-1.sample", "sample", "pod", PodName("sleep-1", "sample")),
        ("pod/sleep-1.sample", "", "pod", PodName("sleep-1", "sample")),
        ("deploy/sleep", "sample", "deploy", PodName("sleep", "sample")),
        ("deployments/sleep.sample", "", "deploy", PodName("sleep", "sample")),
        ("web.v1.sample", "", "pod", PodName("web.v1", "sample")),
    ],
)
def test_a_name_is_split(text: str, namespace: str, kind: str, pod: PodName) -> None:
    assert split_name(text, namespace) == (kind, pod)


@pytest.mark.parametrize("text", ["service/sleep", "deploy/", "/"])
def test_what_names_no_proxy_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="names no proxy"):
        split_name(text, "")


def test_it_is_printed_as_it_is_written() -> None:
    assert str(PodName("a", "b")) == "a.b"
