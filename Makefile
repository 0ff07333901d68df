# Lamina's commands. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
# The package's traits: zstd and libdeflate where their headers are.
TRAITS ?= $(shell scripts/traits.sh)
# Flags for every debug build, such as -Xswiftc -warnings-as-errors.
SWIFTFLAGS ?=
# Release builds that can see `internal` declarations, for the long runs.
TESTABLE := -c release -Xswiftc -enable-testing

lint := $(wildcard Package.swift Sources Tests \
  Benchmarks/Package.swift Benchmarks/Sources Benchmarks/Benchmarks Benchmarks/Tests \
  Fuzz/Package.swift Fuzz/Sources)

.PHONY: help run test check lint tidy docs bench simulate oracle fuzz sanitize mutants \
  install deps toolchain headers

help: ## list these commands
	@grep -E '^[a-z]+:.*## ' Makefile | while IFS= read -r line; do \
	  printf '  make %-9s %s\n' "$${line%%:*}" "$${line##*## }"; done

run: toolchain headers ## do the main job on a real ext4 image: backups, changes, restores, checks
	@scripts/install-packages.sh mke2fs:e2fsprogs cmp:diffutils
	@SECONDS=0; swift build $(TRAITS) -c release --product lamina; built=$$SECONDS; \
	LAMINA="$$(swift build $(TRAITS) -c release --product lamina --show-bin-path)/lamina" \
	  scripts/run-main-job.sh; \
	echo "make run: built in $$built s, ran in $$((SECONDS - built)) s"

test: toolchain headers ## build and run every test that needs no other program
	@SECONDS=0; swift build $(TRAITS) --build-tests $(SWIFTFLAGS); built=$$SECONDS; \
	swift test $(TRAITS) --skip-build --parallel $(SWIFTFLAGS); \
	echo "make test: built in $$built s, tested in $$((SECONDS - built)) s"

check: lint tidy docs ## formatting, the habits of the house, the documentation

lint: toolchain
	swift format lint --strict --parallel --recursive $(lint)

tidy: toolchain headers
	swift test $(TRAITS) $(SWIFTFLAGS) --filter TidyTests

docs: toolchain headers
	swift build $(TRAITS) $(SWIFTFLAGS)
	scripts/check-docs.sh "$$(swift build $(TRAITS) --show-bin-path)"

bench: toolchain headers ## compare with the yardsticks; ARGS= goes to the ratio runner
	@scripts/install-packages.sh --optional /usr/include/roaring/roaring.h:libroaring-dev
	swift build $(TRAITS) -c release --product lamina
	LAMINA="$$(swift build $(TRAITS) -c release --product lamina --show-bin-path)/lamina" \
	  swift run -c release --package-path Benchmarks ratios $(ARGS)

simulate: toolchain headers ## the long seeded runs: more seeds, every crash state
	LAMINA_SIMULATE=1 swift test $(TRAITS) $(TESTABLE) --scratch-path .build-simulate \
	  --filter 'SimulationTests|ScenarioTests|BackupChainTests'

oracle: toolchain headers ## compare with the qemu tools
	@scripts/install-packages.sh qemu-img:qemu-utils qemu-system-x86_64:qemu-system-x86 \
	  strace:strace
	LAMINA_ORACLE=1 swift test $(TRAITS) $(TESTABLE) --scratch-path .build-simulate \
	  --filter OracleTests

fuzz: toolchain headers ## hostile bytes under libFuzzer; ARGS="TARGET -runs=N", FUZZ_SECONDS= a target
	@scripts/run-fuzzer.sh $(ARGS)

sanitize: toolchain headers ## every test under the address and the thread sanitizer
	swift test $(TRAITS) --sanitize=address --scratch-path .build-address
	swift test $(TRAITS) --sanitize=thread --scratch-path .build-thread

mutants: toolchain headers ## plant each bug of Tests/mutants.txt and see the tests catch it; ARGS= names some
	TRAITS="$(TRAITS)" scripts/run-mutants.sh $(ARGS)

install: toolchain headers ## put the lamina command below PREFIX (/usr/local)
	swift build $(TRAITS) -c release --product lamina --static-swift-stdlib \
	  --scratch-path .build-install
	install -D -m 755 "$$(swift build $(TRAITS) -c release --product lamina \
	  --static-swift-stdlib --scratch-path .build-install --show-bin-path)/lamina" \
	  "$(DESTDIR)$(PREFIX)/bin/lamina"

deps: toolchain headers ## install what the other commands need, and is missing
	@scripts/install-packages.sh mke2fs:e2fsprogs cmp:diffutils
	@scripts/install-packages.sh --optional qemu-img:qemu-utils \
	  /usr/include/roaring/roaring.h:libroaring-dev

toolchain:
	@scripts/require-swift.sh 6.2

# C++'s are for the sources of swift-crypto; most toolchains' packages bring them along.
headers:
	@if [[ $$(uname) == Linux ]]; then \
	  scripts/install-packages.sh /usr/include/c++:libstdc++-12-dev /usr/include/zlib.h:zlib1g-dev; \
	  scripts/install-packages.sh --optional /usr/include/zstd.h:libzstd-dev \
	    /usr/include/libdeflate.h:libdeflate-dev; fi
