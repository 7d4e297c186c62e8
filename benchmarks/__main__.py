"""`python -m benchmarks`: every measurement, one after the other, each bounded to about a minute."""

from benchmarks import xds_crowd

PARTS = {"A crowd of Envoys on delta streams": xds_crowd.run}

if __name__ == "__main__":
    for title, run in PARTS.items():
        print(f"\n{title}\n")  # noqa: T201
        run([])
