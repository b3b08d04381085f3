# The commands a person runs; CI runs the same ones. `make help` lists them.

PORT ?= 8080
R2R_DATA_DIR ?= data
# Parts of the load test: k6 verify determinism chaos swap peer, or all (but peer).
PARTS ?= k6
# Which benches to run: a part of their names.
FILTER ?=
export PORT R2R_DATA_DIR

.PHONY: help run test test-extras test-mlflow bench bench-data bench-backtest ablation loadtest clean

help:
	@echo 'make run        install what is missing, build, fetch model and data, serve on PORT ($(PORT))'
	@echo 'make test       the same setup, then all tests, doc tests and the house rules'
	@echo 'make test-extras  the optional features: panels on a Ballista cluster of three processes on'
	@echo '                loopback, and retrieval with MiniLM; builds both'
	@echo 'make test-mlflow  tracking of training runs against a real MLflow server on loopback'
	@echo 'make bench      criterion benches of everything around the model, then theses a minute'
	@echo 'make bench-data features, labels and joins against pandas, polars and DuckDB; retrieval'
	@echo 'make bench-backtest sweeps and bootstraps against NumPy, vectorbt and arch; growth, memory'
	@echo 'make ablation   what reinforcement adds to supervised training on synthetic markets: four runs,'
	@echo '                two hours on two cores; SIGNAL=0 makes markets that nothing predicts, RUNS="sft" one run'
	@echo 'make loadtest   k6 against a server of its own; PARTS="k6 verify determinism chaos" or all'
	@echo 'make clean      remove target/ and data/'
	@echo 'variables: PORT, R2R_DATA_DIR ($(R2R_DATA_DIR)), PARTS ($(PARTS)), FILTER (of benches), SIGNAL and RUNS (of the ablation)'

run:
	@scripts/run.sh

test:
	@scripts/test.sh

test-extras:
	@scripts/test-extras.sh

test-mlflow:
	@scripts/test-mlflow.sh

bench:
	@scripts/bench.sh $(FILTER)

bench-data:
	@scripts/bench-data.sh

bench-backtest:
	@scripts/bench-backtest.sh

ablation:
	@scripts/ablation.sh

loadtest:
	@scripts/loadtest.sh $(PARTS)

clean:
	@scripts/clean.sh
