# asynctasq: a task queue inside PostgreSQL
#
#   make demo          the tour: builds, starts a throwaway server, runs tasks
#   make test          all tests, on throwaway servers
#   make test-matrix   the same on other releases of Debian, in chroots
#   make test-assertions  the same on a server with assertions
#   make soak          kills and stops what it can, and sees that no task is lost
#   make               builds the extension for the server of PG_CONFIG
#   make install       installs it there
#   make installcheck  the tests, on a running server that preloads asynctasq
#   make fuzz          tries the codec of the wire format on made-up bytes
#   make bench         measures it, and others beside it: docs/benchmarks.md
#   make bench-codec   what decoding costs, beside jsonb's parser and Python's
#   make bench-fetch   what rows of other servers cost, beside dblink and joins
#   make bench-queries what query sets cost, beside statements written by hand
#
# "make demo", "make test", "make soak" and the last five install the packages
# they lack (as root, with apt) and need no pg_config beforehand.

# The goal of a bare "make", whatever else stands above PGXS's own.
all:

MODULE_big = asynctasq
EXTENSION = asynctasq
DATA = sql/asynctasq--1.0.sql
PGFILEDESC = "asynctasq - task queue"
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# Tests.  pg_regress wants its input in a folder named sql, which here is for
# what gets installed: it is given a folder of links instead.
REGRESS = $(patsubst sql_tests/%.sql,%,$(sort $(wildcard sql_tests/*.sql)))
REGRESS_PREP = tmp_input $(TEST_MODULE)
REGRESS_OPTS = --inputdir=tmp_input
ISOLATION = $(patsubst sql_tests/specs/%.spec,%,$(sort $(wildcard sql_tests/specs/*.spec)))
ISOLATION_OPTS = --inputdir=sql_tests --outputdir=.
TAP_TESTS = 1
PROVE_TESTS = sql_tests/t/*.pl
PROVE_FLAGS = -I sql_tests/t
TEST_MODULE = sql_tests/module/atq_test.so sql_tests/module/clock.so \
	sql_tests/module/names.so
EXTRA_CLEAN = tmp_input $(TEST_MODULE) $(TEST_MODULE:.so=.o) \
	$(wildcard src/*.o src/*/*.o src/*.bc src/*/*.bc)

# msgpack-c is named msgpack-c from 6.0 on; its pkg-config file of that time
# holds a stray -Iinclude.
MSGPACK := $(firstword $(foreach name,msgpack-c msgpack,\
	$(shell pkg-config --exists $(name) 2>/dev/null && echo $(name))))
ifneq ($(MSGPACK),)
MSGPACK_CPPFLAGS := $(filter-out -Iinclude,$(shell pkg-config --cflags $(MSGPACK)))
MSGPACK_LIBS := $(shell pkg-config --libs $(MSGPACK))
else
MSGPACK_LIBS := -lmsgpackc
endif

# The warnings left out are those that the server's own headers cause.
WERROR = -Werror
PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) $(MSGPACK_CPPFLAGS)
PG_CFLAGS = -Wall -Wextra $(WERROR) -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type -Wno-clobbered
SHLIB_LINK = $(MSGPACK_LIBS) $(libpq)

# Bitcode would only serve to inline our functions into JIT-compiled queries;
# it is not worth a second compiler.
override with_llvm := no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)
include $(PGXS)

# Every object depends on every header: the tree is small, and a stale object
# costs more than a build.
$(OBJS): $(wildcard src/*.h src/*/*.h)
else
all install uninstall installcheck:
	@echo "No PostgreSQL to build for: \"$(PG_CONFIG)\" is missing, or the server's headers are." >&2
	@echo "Install them, or name another pg_config: make PG_CONFIG=/path/to/pg_config" >&2
	@echo "On Debian \"make demo\" and \"make test\" install what is missing, when run as root." >&2
	@exit 1

clean distclean:
	rm -rf $(OBJS) $(MODULE_big).so $(EXTRA_CLEAN)
	rm -rf results regression.diffs regression.out output_iso tmp_check tmp_check_iso log
endif

tmp_input:
	mkdir -p $@
	ln -sfn ../sql_tests $@/sql
	ln -sfn ../sql_tests/data $@/data

# Handlers in C, a clock and names of hosts, for the tests: not installed,
# loaded by path.
test-module: $(TEST_MODULE)

# What was given on make's command line or in the environment is passed on.
SCRIPT_ENV = $(if $(filter-out file default undefined,$(origin PG_CONFIG)),PG_CONFIG='$(PG_CONFIG)')

demo:
	@$(SCRIPT_ENV) KEEP='$(KEEP)' scripts/demo

test:
	@$(SCRIPT_ENV) scripts/test $(TESTS)

test-matrix:
	@scripts/test-matrix $(RELEASES)

# make soak MINUTES=5 SEED=1 NEMESIS=signals: see scripts/soak.
soak:
	@$(SCRIPT_ENV) MINUTES='$(MINUTES)' SEED='$(SEED)' NEMESIS='$(NEMESIS)' \
		KEEP='$(KEEP)' scripts/soak

test-assertions:
	@$(SCRIPT_ENV) scripts/test-assertions $(TESTS)

# make fuzz SECONDS=600 takes ten minutes, CORPUS=DIR keeps what it finds.
SECONDS = 60
fuzz:
	@$(SCRIPT_ENV) CORPUS='$(CORPUS)' scripts/fuzz $(SECONDS)

# BENCH_SCALE=0.01 makes it a trial of some minutes, BENCH_ONLY=real one of a
# minute; see bench/run.
bench:
	@$(SCRIPT_ENV) bench/run

bench-codec:
	@$(SCRIPT_ENV) bench/codec/run

bench-fetch:
	@$(SCRIPT_ENV) bench/fetch/run

bench-queries:
	@$(SCRIPT_ENV) bench/queries/run

.PHONY: all demo test test-module test-matrix test-assertions soak fuzz bench \
	bench-codec bench-fetch bench-queries clean distclean install uninstall installcheck
