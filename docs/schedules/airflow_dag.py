"""Checks migrations in their grace period every morning; the task fails when something blocks a sunset."""

from datetime import datetime

from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG(
    dag_id="lakeshift_grace",
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
) as dag:
    BashOperator(
        task_id="grace_check",
        bash_command="lakeshift grace check --all /srv/lake/migrations --renew",
        # 5: too early. Airflow marks the task as skipped.
        skip_on_exit_code=5,
    )
