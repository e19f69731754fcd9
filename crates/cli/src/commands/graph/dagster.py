"""The stale partitions of the graph {{graph}}, written by `lakeshift graph export --for dagster`.

Each op computes one partition as soon as what it reads is done; an op that finds its partition up to date does nothing.
Export again when the graph's file or its sources have changed.
"""

import json
import os
import re
import subprocess

from dagster import (
    Definitions,
    DependencyDefinition,
    GraphDefinition,
    In,
    MultiDependencyDefinition,
    Nothing,
    OpDefinition,
    Out,
    Output,
    RetryPolicy,
)

GRAPH = os.environ.get("LAKESHIFT_GRAPH", {{file}})
UNITS = json.loads({{units}})
NAMES = {unit["id"]: f"u{number:05}_" + re.sub(r"\W", "_", unit["id"])[:200] for number, unit in enumerate(UNITS)}


def op_of(unit):
    def compute(_context, _inputs):
        subprocess.run(["lakeshift", "graph", "run-unit", GRAPH, unit["id"]], check=True)
        yield Output(None)

    return OpDefinition(
        name=NAMES[unit["id"]],
        compute_fn=compute,
        ins={"after": In(Nothing)} if unit["after"] else {},
        outs={"result": Out(Nothing)},
        description=unit["id"],
        retry_policy=RetryPolicy(max_retries=3, delay=60),
    )


def after(unit):
    return {"after": MultiDependencyDefinition([DependencyDefinition(NAMES[name]) for name in unit["after"]])}


job = GraphDefinition(
    name="lakeshift_" + re.sub(r"\W", "_", "{{graph}}"),
    node_defs=[op_of(unit) for unit in UNITS],
    dependencies={NAMES[unit["id"]]: after(unit) for unit in UNITS if unit["after"]},
).to_job()
defs = Definitions(jobs=[job])
