# Every target sets the machine up first; that is quick once it is done.
.PHONY: setup build test quickstart base sparsify chaos simulate topology exactness-cost ci

setup:
	@scripts/setup

build: setup
	cargo build --release

test: setup
	scripts/test

quickstart: build
	rm -rf runs/quickstart
	target/release/temper run configs/quickstart.toml

# Trains the checkpoint in configs/base anew and shows whether it came out with the same bytes.
base: build
	rm -rf runs/base
	target/release/temper run configs/base.toml
	sha256sum runs/base/export/model.safetensors configs/base/model.safetensors

# A small dense Qwen3, trained; `temper sparsify`; the two stages; perplexity and retrieval at 4 and 16 times k beside the dense model's.
sparsify: build
	rm -rf runs/sparsify-dense runs/sparsify-model runs/sparsify
	target/release/temper run configs/sparsify-dense.toml
	target/release/temper sparsify runs/sparsify-dense/export runs/sparsify-model --topk 32 --heads 8 --head-dim 64
	target/release/temper run configs/sparsify.toml

# Kills a small run at random instants, N times over (30), and holds what comes out against the run that nothing disturbed.
chaos: setup
	N=$${N:-30} cargo test --release --test chaos -- --ignored --nocapture

# The scheduler under kills, slow and silent verifiers, simulated: TEMPER_SIM_SEEDS seeds (20000), under a minute. A failure prints its seed.
simulate: setup
	TEMPER_SIM_SEEDS=$${TEMPER_SIM_SEEDS:-20000} cargo test --release --test simulate -- --nocapture

# The same final weights for every number of threads, rollout batch, micro-batch and learner shards: 81 runs, some minutes.
topology: build
	scripts/topology

# What exactness costs, on the CPU: some minutes on an idle machine.
exactness-cost: build
	scripts/exactness-cost

ci:
	bash .ci/run
