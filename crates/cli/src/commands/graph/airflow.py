"""The stale partitions of the graph {{graph}}, written by `lakeshift graph export --for airflow`.

Each task computes one partition as soon as what it reads is done; a task that finds its partition up to date does
nothing. Export again when the graph's file or its sources have changed.
"""

import json
import os
import re
import shlex
from datetime import datetime, timedelta

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.operators.bash import BashOperator

GRAPH = os.environ.get("LAKESHIFT_GRAPH", {{file}})
UNITS = json.loads({{units}})

with DAG(dag_id="lakeshift_{{graph}}", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:
    tasks = {
        unit["id"]: BashOperator(
            task_id=f"{number:05}_" + re.sub(r"[^A-Za-z0-9_.-]", "_", unit["id"])[:200],
            bash_command=shlex.join(["lakeshift", "graph", "run-unit", GRAPH, unit["id"]]),
            retries=3,
            retry_delay=timedelta(minutes=1),
        )
        for number, unit in enumerate(UNITS)
    }
    for unit in UNITS:
        for upstream in unit["after"]:
            tasks[upstream] >> tasks[unit["id"]]
