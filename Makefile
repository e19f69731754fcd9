# Lakeshift. `make` alone lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Outside the checkout, so that every clone on a machine shares one compiled DataFusion.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/lakeshift/target
SPARK := $(or $(LAKESHIFT_SPARK),$(HOME)/.cache/lakeshift/spark)
VENV := $(or $(LAKESHIFT_VENV),$(HOME)/.cache/lakeshift/venv)
LAKESHIFT := $(CARGO_TARGET_DIR)/debug/lakeshift
CARGO := cargo
PYTHON := $(VENV)/bin/python

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^## / { printf "\n%s\n", substr($$0, 4) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Try it
.PHONY: build demo lake
build: ## Compile the lakeshift binary (the first time compiles DataFusion: about half an hour on two cores)
	@$(CARGO) build --workspace --locked

demo: build ## Move a table through every phase in a scratch folder; under two minutes after the build
	@scripts/demo.sh "$(LAKESHIFT)" "$(or $(DEMO_DIR),.demo)"

.PHONY: demo-graph
demo-graph: build ## Recompute only what is stale of eight tables, in a scratch folder; under a minute after the build
	@scripts/demo_graph.sh "$(LAKESHIFT)" "$(or $(DEMO_DIR),.demo-graph)"

.PHONY: demo-stream
demo-stream: ## Bring events of a mock Kafka into a table while three weeks are backfilled; LAKESHIFT_KAFKA=HOST:PORT for a real one
	@$(CARGO) build --workspace --locked --bins --examples
	@scripts/demo_stream.sh "$(LAKESHIFT)" "$(CARGO_TARGET_DIR)/debug/examples/flights_events" "$(or $(DEMO_DIR),.demo-stream)"

.PHONY: build-fast
build-fast:
	@$(CARGO) build --workspace --locked --bins --examples --config scripts/bench.toml

lake: lake/flights lake/flights-daily ## Fill lake/ with copies of the test data, for the playbooks below

lake/flights lake/flights-daily:
	@mkdir -p lake && cp -R testdata/flights $@.part && mv $@.part $@ && echo "made $@ from testdata/flights"

## Check it
.PHONY: test test-fast test-locks test-otel lint fmt interop bench bench-validate bench-backfill bench-graph bench-locks bench-stream bench-rollback venv
test: ## Run every test; those on S3, PostgreSQL, Azure and a Hive Metastore are skipped, and say so, where the server is absent
	@$(CARGO) test --workspace --locked

test-fast: ## Run the tests of journal and core only: seconds, no DataFusion
	@$(CARGO) test --locked -p lakeshift-journal -p lakeshift-core

# Not optimized, and without Kafka: nothing here is slow but the compilation.
test-locks: ## Test locks in etcd and ZooKeeper (features that are off; needs protoc); skipped, and said so, without the servers
	@$(CARGO) test --locked --profile locks -p lakeshift-stream --no-default-features --features etcd,zookeeper --lib locks

test-otel: ## Test traces of ingest (feature otel, which is off); CI leaves it out
	@$(CARGO) test --workspace --locked --features lakeshift-cli/otel --test it traces

lint: venv ## Check formatting, lints, dependency directions, licences, spelling, scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	scripts/check-dependencies.sh
	scripts/deny.sh
	$(VENV)/bin/typos
	$(VENV)/bin/shellcheck .ci/run scripts/*.sh docs/ci/*.sh

fmt: ## Format the code
	@$(CARGO) fmt --all

interop: build venv ## Let pyiceberg, DuckDB, deltalake and Spark (with Java 17 and Maven) read what was migrated, row by row
	@$(PYTHON) scripts/interop.py "$(LAKESHIFT)" "$(or $(INTEROP_DIR),.interop)"
	@scripts/spark.sh "$(SPARK)" "$(LAKESHIFT)" "$(or $(INTEROP_DIR),.interop)/spark"

bench: build-fast venv ## Time a migration phase by phase; LAKESHIFT_BENCH_DATA=flights-3m.parquet for 3M rows
	@$(PYTHON) scripts/bench.py "$(LAKESHIFT)" "$(or $(BENCH_DIR),.interop/bench)"

bench-validate: build-fast venv ## Time a validation beside DuckDB and pyarrow on TPC-H data; LAKESHIFT_BENCH_SF=1, ARGS=--memory
	@$(PYTHON) scripts/bench_validate.py "$(LAKESHIFT)" "$(or $(BENCH_DIR),$(HOME)/.cache/lakeshift/bench-validate)" $(ARGS)

bench-backfill: build-fast venv ## Time rewrite, splice and adopt beside DuckDB and delta-rs on TPC-H data; LAKESHIFT_BENCH_SF=1
	@$(PYTHON) scripts/bench_backfill.py "$(LAKESHIFT)" "$(or $(BENCH_DIR),$(HOME)/.cache/lakeshift/bench-validate)" $(ARGS)

bench-graph: build-fast venv ## Time graph runs after edits against building all anew, and compare every row with DuckDB; ARGS=--days 30
	@$(PYTHON) scripts/bench_graph.py "$(LAKESHIFT)" "$(or $(BENCH_DIR),.interop/bench-graph)" $(ARGS)
	@cargo run --quiet --release --locked --package lakeshift-core --example graph_savings
	@cargo run --quiet --release --locked --package lakeshift-core --example graph_scale

bench-locks: ## Time what it costs an event to ask whether its range is locked, beside asking etcd and ZooKeeper (needs protoc)
	@$(CARGO) run --quiet --locked --config scripts/bench.toml -p lakeshift-stream --no-default-features --features etcd,zookeeper --example lock_check

bench-stream: build-fast venv ## Time a stream alone, a 90-day backfill alone and both together; about an hour and a half; ARGS='--seconds 20 --rounds 1'
	@$(PYTHON) scripts/bench_stream.py "$(LAKESHIFT)" "$(CARGO_TARGET_DIR)/debug/examples/stream_bench" \
	  "$(or $(BENCH_DIR),$(HOME)/.cache/lakeshift/bench-stream)" $(ARGS)

bench-rollback: build-fast venv ## Time 100 rollbacks with rows that others wrote, and count every row; ARGS=RUNS
	@$(PYTHON) scripts/bench_rollback.py "$(LAKESHIFT)" "$(or $(BENCH_DIR),.interop/bench-rollback)" $(ARGS)

venv: ## Install what lint, interop and the S3 tests need from PyPI, once, outside the checkout
	@scripts/venv.sh "$(VENV)"

## Playbook: make TARGET MIGRATION=<folder under migrations/>, in this order; ARGS= adds flags
STEPS := plan approve dual-write backfill mirror validate cutover rollback sunset status history abort
.PHONY: $(STEPS) write shadow rehearse grace-check sunset-undo migration
plan: ## Show what would happen and what it would cost, and save it
approve: ## Approve the saved plan
dual-write: ## Pin the source's version, create the target
backfill: ## Move the rows that stood in the source then
write: ## Write Parquet files to both tables; ARGS='--id NAME FILE…'
mirror: ## Carry over what came since; ARGS=--follow goes on
validate: ## Compare every row, and write the report
shadow: ## Ask both tables the readers' own queries; queries.sql beside the spec, or ARGS='--queries FILE'
rehearse: ## Do the whole cutover and the way back where nobody reads
cutover: ## Point readers to the new table
rollback: ## Point them back to the old one
grace-check: ## Tell whether the sunset is due
sunset: ## Let the old table go, as the spec says
sunset-undo: ## Take the sunset back, until the first file is deleted
status: ## Show where the migration stands and what comes next
history: ## Show everything that happened, from the journal; ARGS=--html FILE writes a page
abort: ## Drop what the migration created; before cutover

# The two migrations that come with the project run on copies of the test data.
plan: $(if $(filter flights-to-%,$(MIGRATION)),lake)

$(STEPS) shadow: migration build
	@$(LAKESHIFT) $@ migrations/$(MIGRATION) $(ARGS)

write: migration build
	@$(LAKESHIFT) write --to migrations/$(MIGRATION) $(ARGS)

rehearse: migration build
	@$(LAKESHIFT) cutover migrations/$(MIGRATION) --rehearse $(ARGS)

grace-check: migration build
	@$(LAKESHIFT) grace check migrations/$(MIGRATION) $(ARGS)

sunset-undo: migration build
	@$(LAKESHIFT) sunset migrations/$(MIGRATION) --undo $(ARGS)

migration:
	@if [ -z "$(MIGRATION)" ]; then \
	  echo "Which migration? Say MIGRATION=NAME; there are: $$(cd migrations && echo *)" >&2; exit 2; \
	elif [ ! -f "migrations/$(MIGRATION)/migration.yaml" ]; then \
	  echo "migrations/$(MIGRATION)/migration.yaml does not exist; there are: $$(cd migrations && echo *)" >&2; exit 2; fi
