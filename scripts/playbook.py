"""What interop.py, bench.py and bench_validate.py share: a scratch folder with tables to move, and the playbook's steps with their times."""

import pathlib
import re
import shutil
import subprocess
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
MARKER = ".lakeshift-scratch"
UNTIL_BACKFILL = ["plan", "approve", "dual-write"]
SINCE_BACKFILL = ["backfill", "mirror", "validate", "cutover"]


def scratch(folder: pathlib.Path) -> pathlib.Path:
    """An empty folder; refuses one that these scripts did not make."""
    if folder.exists() and not (folder / MARKER).exists():
        sys.exit(f"{folder} exists and is not a scratch folder of these scripts; choose another one")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "lake").mkdir(parents=True)
    (folder / MARKER).touch()
    return folder.resolve()


def spec(name: str, changes: dict[str, str] | None = None) -> str:
    """The text of migrations/<name>/migration.yaml, changed by regular expressions and new texts, each of which must match."""
    text = (PROJECT / "migrations" / name / "migration.yaml").read_text()
    for pattern, new in (changes or {}).items():
        text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
        if count == 0:
            sys.exit(f"{name}/migration.yaml has nothing that matches {pattern}")
    return text


def named(name: str) -> dict[str, str]:
    """Changes for spec(): another name and alias."""
    return {"^name: .*": f"name: {name}", "alias: .*": f"alias: {name}"}


class Migration:
    """One migration under a scratch folder, run by the lakeshift binary."""

    def __init__(self, lakeshift: str, root: pathlib.Path, name: str, text: str):
        """Writes the spec `text` to the scratch folder `root`, under migrations/<name>."""
        self.lakeshift = lakeshift
        self.root = root
        self.name = name
        self.seconds: dict[str, float] = {}
        self.spec = root / "migrations" / name / "migration.yaml"
        self.spec.parent.mkdir(parents=True)
        self.spec.write_text(text)

    def step(self, command: str, *arguments: str, expected: int = 0) -> subprocess.CompletedProcess:
        """Runs one command; ends this script, with its output, when the exit code is another."""
        began = time.monotonic()
        call = [self.lakeshift, "--quiet", *command.split(), str(self.spec), *arguments]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        self.seconds[command] = self.seconds.get(command, 0) + time.monotonic() - began
        if done.returncode != expected:
            sys.exit(f"{' '.join(call)}\nended with {done.returncode}, not {expected}\n{done.stdout}\n{done.stderr}")
        return done

    def steps(self, commands: list[str]) -> None:
        """Runs commands that must all succeed."""
        for command in commands:
            self.step(command)

    def times(self) -> str:
        """The steps' times on one line."""
        steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        return f"{self.name}: {sum(self.seconds.values()):.1f} s ({steps})"


def write_days(flights_3m: pathlib.Path, folder: pathlib.Path) -> int:
    """Writes all days of flights-3m.parquet as a Hive table, one file a day; returns the number of rows."""
    # Here, because bench_validate.py measures memory and must have little of its own.
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(flights_3m)
    table = table.set_column(3, "origin", table["origin"].cast(pa.string()))
    table = table.set_column(4, "destination", table["destination"].cast(pa.string())).sort_by("date")
    days = pc.value_counts(pc.floor_temporal(table["date"], unit="day"))
    start = 0
    for day, rows in sorted(((item["values"].as_py(), item["counts"].as_py()) for item in days)):
        path = folder / f"flight_date={day.date().isoformat()}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.slice(start, rows), path, compression="zstd", store_schema=False)
        start += rows
    assert start == table.num_rows, "every row lies in one day"
    return start


