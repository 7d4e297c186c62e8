"""Waits until it is told to end: a place to run commands in."""

import signal


def main(arguments: list[str]) -> int:
    """`sleep`: arguments are ignored, so that `sleep infinity` works too."""
    del arguments
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    raise SystemExit(main([]))
