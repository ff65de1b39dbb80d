"""One measurement in a fresh process: ``python -m benchmarks.cell '{"workload": ...}'``.

Makes the data and imports the contestant's library, then times one or more calls. Prints one
line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.engines import connected
from benchmarks.load import LoadWatch, make_ready, peak_rss_bytes
from benchmarks.peers import CONTESTANTS, Contestant
from benchmarks.workload import Job, Workload
from benchmarks.workloads import named


def main() -> None:
    """Measure what the first argument asks for."""
    asked = json.loads(sys.argv[1])
    workload, contestant = named(asked["workload"]), CONTESTANTS[asked["contestant"]]
    contestant.load()
    job = workload.make(asked.get("size", "full"))
    engine = contestant.cluster or asked.get("settings", {}).get("backend", "")
    if engine not in ("dask", "ray"):
        engine = ""
    make_ready(workload.memory_bytes)
    with connected(engine, asked.get("address")):
        calls = [_call(workload, contestant, job, asked) for _ in range(asked.get("calls", 1))]
    print("\n" + json.dumps({"calls": calls, "peak_rss_bytes": peak_rss_bytes()}))


def _call(
    workload: Workload, contestant: Contestant, job: Job, asked: dict[str, Any]
) -> dict[str, Any]:
    data, settings = job.data(), asked.get("settings", {})
    if contestant.cluster and contestant.name.endswith("_map"):
        settings = {**settings, "backend": contestant.cluster}
    watch = LoadWatch(asked.get("companions", ()))
    begin = time.perf_counter()
    try:
        results, told = contestant.run(job.fn, data, **settings)
    except Exception as error:  # whatever a library raises is its result
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "foreign": watch.foreign_share(),
        "stolen": watch.stolen_share(),
        "fingerprint": workload.check(results),
        "facts": told() if callable(told) else told,
    }


if __name__ == "__main__":
    main()
