"""Measures costs into the cache: ``python -m benchmarks.warm NAME[=ADDRESS]...``, with the
address of a running engine.

What a user gets from ``amorsize calibrate``, or from earlier runs.
"""

from __future__ import annotations

import json
import sys

from benchmarks.engines import connected


def main() -> None:
    """Measure the backends named as arguments."""
    from amorsize.plugins import registry
    from amorsize.pricing import measure
    from amorsize.probes import limits

    found = {}
    for wanted in sys.argv[1:]:
        name, _, address = wanted.partition("=")
        backend = registry().get(name)
        with connected(name if address else "", address):
            costs = measure(backend, workers=backend.capacity(limits()).workers)
        found[name] = {key: figure.value for key, figure in costs.figures().items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
