"""The agent's log lines."""

from pathlib import Path

from isthmus.agent.log import AgentLog


def test_lines_of_key_and_value(tmp_path: Path) -> None:
    log = AgentLog(tmp_path / "0.log")
    log.events.info("certificate", serial="ab", seconds=1.5)
    log.reopen(tmp_path / "1.log")
    log.events.warning("control plane lost", reason='said "no"')
    log.close()
    log.events.warning("too late")
    first = (tmp_path / "0.log").read_text()
    assert first.startswith("timestamp=")
    assert "level=info event=certificate" in first
    assert "seconds=1.5" in first
    second = (tmp_path / "1.log").read_text()
    assert 'event="control plane lost" reason="said \\"no\\""' in second
    assert "too late" not in second


def test_without_a_file_it_goes_to_standard_error() -> None:
    log = AgentLog()
    log.close()
    log.events.info("still there")
