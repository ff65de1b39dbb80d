"""Measures the costs of the named backends into the cache: ``python -m benchmarks.warm NAME...``.

What a user gets from ``amorsize calibrate``, or from earlier runs.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Measure the backends named as arguments."""
    from amorsize.plugins import registry
    from amorsize.pricing import measure
    from amorsize.probes import limits

    found = {}
    for name in sys.argv[1:]:
        backend = registry().get(name)
        costs = measure(backend, workers=backend.capacity(limits()).workers)
        found[name] = {key: figure.value for key, figure in costs.figures().items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
