# Each target is enough on a fresh machine: what it needs it sets up first.
.DEFAULT_GOAL := help
.PHONY: help setup setup-test web build serve demo demo-play test test-browser chaos bench bench-film bench-queue lint clean-demo

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing to run Forebay (ffmpeg, yt-dlp)
	@scripts/setup.sh

setup-test: ## also what the tests need (chromium, node, openssl)
	@scripts/setup.sh --test

web: ## build the page of `forebay serve`, where Node.js is there
	@scripts/web.sh

build: setup web ## build target/release/forebay
	cargo build --release --locked

serve: build ## open a page on http://127.0.0.1:8080: drop a video, watch it being made, play it
	@target/release/forebay serve

demo: build ## make a real, encrypted package from real videos over HTTP, and check it
	@scripts/demo.sh

demo-play: ## serve what the demo made, to watch it
	@scripts/demo.sh --play

# Many tests wait for brokers, leases and slow servers: three for two cores keep these busy.
test: setup-test web ## every test: unit, whole program, faults, browser
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(( $$(nproc) * 3 / 2 ))} cargo test --locked --features faults

test-browser: setup-test web ## only what runs in a real browser
	cargo test --locked --features faults --test it -- browser:: web_page::

chaos: setup-test ## 500 kills of workers, with brokers killed and stopped too (CHAOS_SEED=N: the same again)
	CHAOS_KILLS=$${CHAOS_KILLS:-170} CHAOS_JOBS=$${CHAOS_JOBS:-100} \
		cargo test --locked --features faults --test it -- chaos:: --nocapture --test-threads=1 --include-ignored

bench-queue: build ## jobs a second against Celery on the same servers, and how long a claim takes
	@bench/workers.py

bench-film: build ## one film on two workers, pinned to a core each, against one
	@bench/film.py

bench: build ## measure against the bound and against others, into bench/RESULTS.md (QUICK=1: a short look)
	@bench/run.sh $(if $(QUICK),--quick)

lint: ## formatting and lints, as CI has them
	cargo fmt --check
	cargo clippy --locked --all-targets --all-features -- -D warnings

clean-demo: ## forget what the demo made (the downloaded footage stays)
	rm -rf target/demo
