"""Where the kernel refuses namespaces, the user is told which setting to change."""

import os
from pathlib import Path

import pytest

from isthmus.base.errors import ExitCode
from isthmus_lab.net import linux
from isthmus_lab.supervisor import enter


def sysctls(root: Path, **values: str) -> Path:
    for name, value in values.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    return root


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kernel__unprivileged_userns_clone": "0"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            {"kernel__unprivileged_userns_clone": "1", "kernel__apparmor_restrict_unprivileged_userns": "1"},
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"user__max_user_namespaces": "0"}, "sudo sysctl -w user.max_user_namespaces=10000"),
        ({}, "Allow user namespaces to this user"),
    ],
)
def test_the_remedy_names_the_setting(tmp_path: Path, values: dict[str, str], said: str) -> None:
    assert said in enter.remedy(sysctls(tmp_path, **values))


def test_start_times_tell_processes_apart() -> None:
    assert enter.start_time(os.getpid()) > 0
    with pytest.raises(ProcessLookupError):
        enter.start_time(2**22 + 1)


@pytest.mark.lab
def test_a_kernel_that_refuses_is_noticed_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(enter.FORCE_USER_NAMESPACE, "1")
    enter.check_allowed()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            Path("/proc/self/uid_map").write_text("0 0 1" if os.geteuid() == 0 else f"0 {os.getuid()} 1")
        except OSError:
            pass
        try:
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
            enter.check_allowed()
        except enter.RefusedError as error:
            code = 0 if error.exit_code == ExitCode.UNREACHABLE and "max_user_namespaces" in error.remedy else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
