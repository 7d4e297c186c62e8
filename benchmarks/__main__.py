"""`python -m benchmarks`: every measurement, each bounded to about a minute; at the end what has a budget."""

import os
import platform

from benchmarks import engine, feed, xds_crowd


def machine() -> str:
    """What this runs on, and how busy it is with other things."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} CPUs, {platform.python_implementation()} {platform.python_version()}, load {load}"


def verdict(ratio: float | None) -> str:
    """Measured by budget."""
    if ratio is None:
        return ""
    return f"{ratio:.2f}" + (" **miss**" if ratio > 1 else "")


def main() -> None:
    """Measure everything; the last table has every number that has a budget."""
    print(f"{machine()}\n\nThe engine alone\n")  # noqa: T201
    engine.run([])
    print(f"\nFrom API servers to the mesh ({machine()})\n")  # noqa: T201
    fed = feed.run([])
    print(f"\nA crowd of Envoys on delta streams ({machine()})\n")  # noqa: T201
    crowd = xds_crowd.run([])
    print(f"\nBudgets ({machine()})\n\n| work | measured | budget | measured / budget |\n|---|---|---|---|")  # noqa: T201
    for line in crowd:
        if line.good is not None:
            ratio = verdict(line.ratio if line.ratio is not None else float(not line.good) * 99)
            print(f"| {line.work} | {line.result} | {line.budget} | {ratio} |")  # noqa: T201
    for one in fed:
        if one.budget is not None:
            value, budget = f"{one.value:.4g} {one.unit}".strip(), f"{one.budget:g} {one.unit}".strip()
            print(f"| {one.work} | {value} | {budget} | {verdict(one.ratio)} |")  # noqa: T201


if __name__ == "__main__":
    main()
