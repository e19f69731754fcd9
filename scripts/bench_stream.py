#!/usr/bin/env python3
"""Measures a stream alone, a 90-day backfill alone, and both together, with real Parquet commits on local disk.

The stream's events were made beforehand and lie in the memory of the process that ingests (crates/cli/examples/stream_bench.rs), so
no generator and no broker takes part: what is measured is decoding, judging, Parquet and commits, as `lakeshift ingest` does them.
Copying each event, as a client that gets them from a broker must, is in it. Backfills are `lakeshift stream backfill --mode park`,
one after the other for as long as the phase lasts; each rewrites all ninety days. Every phase begins with a copy of the same table.

"A CPU second" is a second of one core: rows over the process's user and system time. A commit lasts from rows in hand to rows in the
table and in the journal. Drain time is from the end of a backfill until the stream has replayed what it had parked.

With --kafka a topic of a local Apache Kafka is filled first, and then `lakeshift ingest --once` reads it: what librdkafka costs.

Usage: bench_stream.py LAKESHIFT_BINARY STREAM_BENCH_BINARY SCRATCH_FOLDER [options]
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

MARK = ".lakeshift-bench-stream"
NAMES = {"binary": "binary, 26 bytes", "arrow": "Arrow IPC, 100 rows each", "json": "JSON, 1 KB"}
COLUMNS = ["day date", "airport string", "flight int32", "delay int16", "at timestamp"]
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 600


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    """A port of the loopback interface that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Stream:
    """A stream_bench that runs."""

    def __init__(self, bench: "Bench", lake: pathlib.Path, rows: int, rate: int | None = None):
        self.port = free_port()
        command = [bench.stream_bench, str(lake), str(rows), f"127.0.0.1:{self.port}"]
        command += [str(rate)] if rate else []
        self.errors = (lake / "stream.log").open("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.wait(lambda _: True)
        self.began, self.cpu, self.rows = time.monotonic(), cpu_seconds(self.process.pid), self.metrics()["rows"]

    def metrics(self) -> dict:
        """What it tells of itself: rows, and events that are parked."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return {}
        value = lambda name: sum(float(one) for one in re.findall(rf"^{name}\{{.*\}} (\S+)$", text, re.M))  # noqa: E731
        return {"rows": value("lakeshift_stream_rows_total"), "parked": value("lakeshift_stream_parked_events")}

    def wait(self, until) -> dict:
        """Asks until it is so."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self.errors.seek(0)
                raise SystemExit(f"the stream ended: {self.errors.read()}")
            found = self.metrics()
            if found and until(found):
                return found
            time.sleep(0.05)
        raise SystemExit(f"the stream did not come to it within {PATIENCE} s")

    def rate(self) -> dict:
        """Rows a second since it began, and rows a second of a core."""
        rows, cpu = self.metrics()["rows"] - self.rows, cpu_seconds(self.process.pid) - self.cpu
        return {"rows_per_s": rows / (time.monotonic() - self.began), "rows_per_cpu_s": rows / cpu, "stream_cpu_s": cpu}

    def stop(self) -> dict:
        """Its report."""
        self.process.send_signal(signal.SIGINT)
        report, _ = self.process.communicate(timeout=PATIENCE)
        if self.process.returncode != 0:
            self.errors.seek(0)
            raise SystemExit(f"the stream failed: {self.errors.read()}")
        return json.loads(report)


class Bench:
    """Tables in a scratch folder."""

    def __init__(self, given: argparse.Namespace):
        folder = pathlib.Path(given.folder).resolve()
        if folder.exists() and not (folder / MARK).exists():
            raise SystemExit(f"{folder} exists and is not a folder of this benchmark; name another one")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / MARK).touch()
        self.folder, self.given = folder, given
        self.lakeshift, self.stream_bench = str(pathlib.Path(given.lakeshift).resolve()), str(pathlib.Path(given.stream_bench).resolve())
        self.backfills = 0

    def write(self, lake: pathlib.Path, kind: str, target: str, commit_rows: int, bootstrap: str = "nobody:1") -> None:
        """The stream's file."""
        columns = COLUMNS + (["note string"] if kind == "json" else [])
        lines = ["stream: bench", "control: control", f"table: {{format: {target}, location: table}}", "columns:"]
        lines += ["  - {name: %s, type: %s}" % tuple(column.split()) for column in columns]
        lines += ["time: {column: day, grain: day}", f"kafka: {{bootstrap: '{bootstrap}', topics: [bench]}}"]
        lines += [f"decode: {{format: {kind}}}", f"commit: {{rows: {commit_rows}, bytes: 1GiB, every: 2s}}"]
        (lake / "stream.yaml").write_text("\n".join(lines) + "\n")

    def prefill(self, kind: str, target: str) -> None:
        """A table with ninety days, backfilled once so that each day is one file."""
        lake = self.folder / "lake"
        shutil.rmtree(lake, ignore_errors=True)
        lake.mkdir()
        self.write(lake, kind, target, 1_000_000 if kind != "json" else 100_000)
        rows = self.rows(kind)
        stream = Stream(self, lake, rows)
        # The rest of a division of the rows among partitions is live already.
        stream.wait(lambda found: found["rows"] >= rows * 0.99)
        stream.stop()
        self.write(lake, kind, target, self.given.commit_rows if kind != "json" else self.given.commit_rows // 10)
        self.backfill(lake, kind)
        shutil.rmtree(self.folder / "kept", ignore_errors=True)
        shutil.copytree(lake, self.folder / "kept")

    def rows(self, kind: str) -> int:
        """Rows that the table has at first: a row of the JSON has a kilobyte."""
        return self.given.rows if kind != "json" else self.given.rows // 10

    def backfill(self, lake: pathlib.Path, kind: str) -> float:
        """Rewrites ninety days. How many seconds it took, once the range was free."""
        self.backfills += 1
        more = ", note" if kind == "json" else ""
        sql = f"SELECT day, airport, flight, CAST(delay + 1 AS SMALLINT) AS delay, at{more} FROM events"
        command = [self.lakeshift, "--quiet", "--format", "json", "stream", "backfill", str(lake), "--name", f"b{self.backfills}"]
        command += ["--from", "2001-01-01", "--to", "2001-03-31", "--mode", "park", "--sql", sql]
        end = time.monotonic() + PATIENCE
        while True:
            began = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            _, errors = process.communicate()
            if process.returncode == 0:
                return time.monotonic() - began
            if process.returncode != 4 or "is not past the backfill" not in errors or time.monotonic() > end:
                raise SystemExit(f"{' '.join(command)}: {errors}")
            time.sleep(0.2)

    def fresh(self) -> pathlib.Path:
        """The table as it was at first, at its place: Iceberg's metadata names its files by their whole paths."""
        lake = self.folder / "lake"
        shutil.rmtree(lake)
        shutil.copytree(self.folder / "kept", lake)
        return lake

    def audit(self, lake: pathlib.Path) -> None:
        """Every offset is accounted for once."""
        command = [self.lakeshift, "--quiet", "stream", "audit", str(lake), "--offline"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"the audit is not clean: {done.stdout}{done.stderr}")

    def alone(self, lake: pathlib.Path, kind: str, seconds: float) -> dict:
        """The stream alone."""
        stream = Stream(self, lake, self.rows(kind))
        profile = self.profile(stream.process.pid) if self.given.profile else None
        time.sleep(seconds)
        found = stream.rate()
        found |= commits(stream.stop())
        self.audit(lake)
        if profile:
            profile.join()
        return found

    def backfill_alone(self, lake: pathlib.Path, kind: str, seconds: float) -> dict:
        """Backfills alone, one after the other."""
        began, times = time.monotonic(), []
        while time.monotonic() - began < seconds or not times:
            times.append(self.backfill(lake, kind))
        return {"backfills": len(times), "backfill_s": statistics.median(times)}

    def both(self, lake: pathlib.Path, kind: str, seconds: float, rate: int | None = None) -> dict:
        """Both together; at the end what is parked is waited for."""
        stream = Stream(self, lake, self.rows(kind), rate)
        times, drains, most, over = [], [], [0.0], threading.Event()

        def look() -> None:
            while not over.wait(0.1):
                most[0] = max(most[0], stream.metrics().get("parked", 0))

        looking = threading.Thread(target=look)
        looking.start()
        while time.monotonic() - stream.began < seconds or not times:
            times.append(self.backfill(lake, kind))
            ended = time.monotonic()
            stream.wait(lambda found: found["parked"] == 0)
            drains.append(time.monotonic() - ended)
        over.set()
        looking.join()
        found = stream.rate() | {"backfills": len(times), "backfill_s": statistics.median(times)}
        found |= {"parked_max": int(most[0]), "drain_s": statistics.median(drains)}
        found |= commits(stream.stop())
        self.audit(lake)
        return found

    def profile(self, pid: int) -> threading.Thread:
        """Where the time of a stream goes, by perf, where there is one."""
        data = self.folder / "perf.data"

        def sample() -> None:
            record = ["perf", "record", "--quiet", "-F", "199", "-p", str(pid), "-o", str(data), "--", "sleep", "10"]
            if not shutil.which("perf") or subprocess.run(record, capture_output=True, check=False).returncode != 0:
                print("no profile: perf does not work here")
                return
            for by in ("comm", "symbol"):
                report = ["perf", "report", "--stdio", "--no-children", "-i", str(data), "-F", f"overhead,{by}", "--percent-limit", "0.8"]
                told = subprocess.run(report, capture_output=True, text=True, check=False).stdout
                lines = [line.rstrip()[:150] for line in told.splitlines() if line.strip() and not line.startswith("#")]
                print(f"\nprofile of a stream alone by {by}:", *lines[:40], sep="\n")

        thread = threading.Thread(target=sample)
        thread.start()
        return thread


def commits(report: dict) -> dict:
    """Commit latencies of a report."""
    found = report["commit_ms"] or {}
    return {"commit_p50_ms": found.get("p50"), "commit_p99_ms": found.get("p99"), "commit_max_ms": found.get("max")}


class Kafka:
    """A local broker, one node in KRaft mode."""

    def __init__(self, folder: pathlib.Path, jars: pathlib.Path):
        port, controller = free_port(), free_port()
        folder.mkdir()
        properties = folder / "server.properties"
        properties.write_text(
            f"process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n"
            f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={folder}/data\nnum.partitions=4\n"
            "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
        )
        java = ["java", "-Xmx512m", "-cp", f"{jars}/*"]
        cluster = base64.urlsafe_b64encode(b"lakeshift-bench1").decode().rstrip("=")
        format_ = [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(properties)]
        subprocess.run(format_, check=True, capture_output=True)
        log = (folder / "log").open("w")
        self.process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
        self.bootstrap = f"127.0.0.1:{port}"
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.2)
        raise SystemExit("Kafka does not listen")


def through_kafka(bench: Bench, kind: str, rows: int) -> dict:
    """What is there by then, through a broker on this machine."""
    home = pathlib.Path.home() / ".cache/lakeshift/kafka/jars"
    jars = pathlib.Path(os.environ.get("LAKESHIFT_KAFKA_JARS", home))
    lake = bench.folder / f"kafka-{kind}"
    lake.mkdir()
    broker = Kafka(lake / "broker", jars)
    try:
        bench.write(lake, kind, "delta", bench.given.commit_rows if kind != "json" else bench.given.commit_rows // 10, broker.bootstrap)
        subprocess.run([bench.stream_bench, "--produce", str(lake), str(rows), broker.bootstrap], check=True)
        began, broker_cpu = time.monotonic(), cpu_seconds(broker.process.pid)
        before = os.times()
        command = [bench.lakeshift, "--quiet", "--format", "json", "ingest", str(lake), "--once"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        wall, after, report = time.monotonic() - began, os.times(), json.loads(done.stdout)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        found = {"rows_per_s": report["rows"] / wall, "rows_per_cpu_s": report["rows"] / cpu, "rows": report["rows"]}
        return found | {"broker_cpu_s": cpu_seconds(broker.process.pid) - broker_cpu, "stream_cpu_s": cpu} | commits(report)
    finally:
        broker.process.terminate()
        broker.process.wait()


def told(found: dict) -> dict:
    """For people: three digits are enough."""
    return {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in found.items()}


def median(runs: list[dict]) -> dict:
    """Of every number its median."""
    keys = [key for key in runs[0] if all(isinstance(run.get(key), (int, float)) for run in runs)]
    return {key: statistics.median(run[key] for run in runs) for key in keys}


def table(medians: list[tuple[str, str, str, dict]]) -> None:
    """The medians, in Markdown."""
    heading = ["events", "table", "what runs", "rows/s", "rows/CPU s", "commit p50", "p99 ms", "backfill s", "parked at most", "drained in s"]
    print("\n| " + " | ".join(heading) + " |\n|---|---|---|" + "--:|" * 7)
    keys = ["rows_per_s", "rows_per_cpu_s", "commit_p50_ms", "commit_p99_ms", "backfill_s", "parked_max", "drain_s"]
    for kind, target, phase, found in medians:
        cells = [f"{found[key]:,.0f}" if key in found and found[key] >= 100 else f"{found[key]:.2f}" if key in found else "" for key in keys]
        print("| " + " | ".join([NAMES[kind], target, phase, *cells]) + " |")


def main() -> None:
    """All phases of all formats, raw runs first and medians at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lakeshift")
    parser.add_argument("stream_bench")
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=180, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=9_000_000, help="that the ninety days have; a tenth of it for JSON")
    parser.add_argument("--commit-rows", type=int, default=500_000, help="of a commit; a tenth of it for JSON")
    parser.add_argument("--kinds", default="binary:delta,binary:iceberg,arrow:delta,json:delta")
    parser.add_argument("--rates", default="100000,250000,500000", help="rows that come a second, for the curve; `` for none")
    parser.add_argument("--profile", action="store_true", help="where the time of the first stream goes, by perf")
    parser.add_argument("--kafka", action="store_true", help="read a local Apache Kafka as well")
    given = parser.parse_args()
    bench = Bench(given)
    kinds = [tuple(kind.split(":")) for kind in given.kinds.split(",")]
    rates = [int(rate) for rate in given.rates.split(",") if rate]
    print(f"{os.cpu_count()} processors, {given.rows} rows on 90 days, phases of {given.seconds:.0f} s, {given.rounds} round(s)")
    medians = []

    def phase(kind: str, target: str, name: str, run) -> dict:
        runs = []
        for number in range(given.rounds):
            runs.append(run())
            print(f"{kind} {target}, {name}, round {number + 1}: {json.dumps(told(runs[-1]))}", flush=True)
        medians.append((kind, target, name, median(runs)))
        return medians[-1][3]

    for kind, target in kinds:
        bench.prefill(kind, target)
        alone = phase(kind, target, "stream", lambda: bench.alone(bench.fresh(), kind, given.seconds))
        bench.given.profile = False
        backfill = phase(kind, target, "backfill", lambda: bench.backfill_alone(bench.fresh(), kind, given.seconds))
        both = phase(kind, target, "both", lambda: bench.both(bench.fresh(), kind, given.seconds))
        ratio, slower = both["rows_per_s"] / alone["rows_per_s"], both["backfill_s"] / backfill["backfill_s"]
        print(f"{kind} {target}: the stream keeps {ratio:.2f} of its rows a second beside the backfill, which takes {slower:.2f} times as long\n")
        if (kind, target) == kinds[0]:
            for rate in rates:
                paced = phase(kind, target, f"both, {rate:,}/s come", lambda: bench.both(bench.fresh(), kind, given.seconds, rate))
                print(f"of {rate} rows a second {paced['rows_per_s'] / rate:.0%} are written\n")
    for name in ("lake", "kept"):
        shutil.rmtree(bench.folder / name, ignore_errors=True)
    for kind in [kind for kind in ("binary", "json") if given.kafka]:
        run = through_kafka(bench, kind, given.rows if kind == "binary" else given.rows // 10)
        print(f"{kind}, through Kafka: {json.dumps(told(run))}")
        medians.append((kind, "delta", "stream through Kafka", run))
    table(medians)


if __name__ == "__main__":
    sys.exit(main())
