# Tidemark: backup and point-in-time recovery for database clusters.
#
#   make              build the two daemons and the CLI into build/
#   make demo         the whole job on a throw-away database, nothing needed by hand
#   make check        all tests; see tests/README.md
#   make install      into $(DESTDIR)$(PREFIX)
#
# Knobs: CC=clang  DEVELOPER=0 (warnings are not errors)  SANITIZE=address,undefined|thread
#        BUILD=dir  V=1 (show commands)

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd
HELPERDIR  ?= $(PREFIX)/lib/tidemark
BUILD      ?= build
# one spelling: what an object depends on is kept under its name
BUILD_AS_GIVEN := $(BUILD)
override BUILD := $(abspath $(BUILD))
# make build/tests/sim/sim: the same by its short name
ifneq ($(BUILD_AS_GIVEN),$(BUILD))
$(BUILD_AS_GIVEN)/%: $(BUILD)/% FORCE
	@:
endif
.DEFAULT_GOAL := all
DEVELOPER  ?= 1
SANITIZE   ?=
OPT        ?= -O2
CC         := $(if $(filter default,$(origin CC)),gcc,$(CC))
VERSION    := $(shell cat packaging/VERSION)

Q := $(if $(V),,@)

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla \
	-Wimplicit-fallthrough -Wdate-time -Wnull-dereference -Wno-missing-field-initializers
WARNINGS += $(if $(filter 1,$(DEVELOPER)),-Werror)
# -Wnull-dereference sees ghosts once a sanitizer has rewritten the control flow
WARNINGS += $(if $(SANITIZE),-Wno-null-dereference -Wno-maybe-uninitialized -Wno-unknown-warning-option)

SAN := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)

PKGS       := msgpack libcurl libzstd libsystemd yaml-0.1 sqlite3 libpq jansson libcrypto libxxhash expat
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null | sed 's/-I/-isystem /g')
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

CPPFLAGS_ALL := -I. -D_GNU_SOURCE -DTM_VERSION='"$(VERSION)"' -include common/banned.h $(PKG_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL   := -std=gnu17 $(OPT) -g -pthread -fstack-protector-strong $(if $(SAN),,-D_FORTIFY_SOURCE=2) \
	$(WARNINGS) $(SAN) $(CFLAGS)
LDFLAGS_ALL  := -pthread $(SAN) $(LDFLAGS)

# ---- what is built from what: a static library a room; test/ and main files stay outside --------
find_c = $(sort $(shell find $(1) -name '*.c' 2>/dev/null))
objs   = $(patsubst %.c,$(BUILD)/%.o,$(1))

MAINS       := agent/main.c coordinator/main.c
COMMON_SRC  := $(call find_c,common)
PROTO_SRC   := $(call find_c,proto)
AGENT_SRC   := $(filter-out $(MAINS),$(call find_c,agent))
CTL_SRC     := $(call find_c,coordinator/ctl)
COORD_SRC   := $(filter-out $(MAINS) coordinator/ctl/%,$(call find_c,coordinator))
CTL_LIB_SRC := $(filter-out coordinator/ctl/main.c,$(CTL_SRC))

LIBCOMMON := $(BUILD)/libcommon.a
LIBPROTO  := $(BUILD)/libproto.a
LIBAGENT  := $(BUILD)/libagent.a
LIBCOORD  := $(BUILD)/libcoordinator.a
LIBCTL    := $(BUILD)/libctl.a

$(LIBCOMMON): $(call objs,$(COMMON_SRC))
$(LIBPROTO):  $(call objs,$(PROTO_SRC))
$(LIBAGENT):  $(call objs,$(AGENT_SRC))
$(LIBCOORD):  $(call objs,$(COORD_SRC))
$(LIBCTL):    $(call objs,$(CTL_LIB_SRC))

SYSLIBS := -lnng $(PKG_LIBS) -lm

BINARIES := $(BUILD)/tidemark-coordinator $(BUILD)/tidemark-agent $(BUILD)/tidemark

all: $(BINARIES)

$(BUILD)/tidemark-coordinator: $(BUILD)/coordinator/main.o $(LIBCOORD) $(LIBPROTO) $(LIBCOMMON)
$(BUILD)/tidemark-agent: $(BUILD)/agent/main.o $(LIBAGENT) $(LIBPROTO) $(LIBCOMMON)
$(BUILD)/tidemark: $(BUILD)/coordinator/ctl/main.o $(LIBCTL) $(LIBPROTO) $(LIBCOMMON)

$(BINARIES):
	$(Q)echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(SYSLIBS)

$(BUILD)/%.a:
	$(Q)echo "  AR   $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(Q)echo "  CC   $<"
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# a change of flags or version rebuilds everything
FLAGS_NOW := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL)
$(BUILD)/.flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' > $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- tests ---------------------------------------------------------------------------------------
# tests/unit/<room>/x_test.c links the room it mirrors and the rooms below it.
UNIT_SRC   := $(sort $(shell find tests/unit -name '*_test.c' 2>/dev/null))
UNIT_BIN   := $(patsubst %.c,$(BUILD)/%,$(UNIT_SRC))
SIM_SRC    := $(call find_c,tests/sim)
FUZZ_SRC   := $(sort $(shell find tests/fuzz -name '*_fuzz.c' 2>/dev/null))
FUZZ_BIN   := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SRC))
TEST_LIB   := $(call objs,$(call find_c,tests/lib))
TEST_LIBS  := -lcmocka

$(BUILD)/tests/unit/common/%: $(BUILD)/tests/unit/common/%.o $(TEST_LIB) $(LIBCOMMON)
	$(link_test)
$(BUILD)/tests/unit/proto/%: $(BUILD)/tests/unit/proto/%.o $(TEST_LIB) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)
$(BUILD)/tests/unit/agent/%: $(BUILD)/tests/unit/agent/%.o $(TEST_LIB) $(LIBAGENT) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)
$(BUILD)/tests/unit/coordinator/%: $(BUILD)/tests/unit/coordinator/%.o $(TEST_LIB) $(LIBCOORD) $(LIBCTL) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)
# a fuzz target defines LLVMFuzzerTestOneInput; linked with replay.c it replays its corpus as a test
FUZZ_MAIN = $(BUILD)/tests/fuzz/replay.o
$(BUILD)/tests/fuzz/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(FUZZ_MAIN) $(LIBAGENT) $(LIBCOORD) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)
$(BUILD)/tests/sim/sim: $(call objs,$(SIM_SRC)) $(LIBAGENT) $(LIBCOORD) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)

# how fast log is packed: built only on demand, see tests/bench/log_pack.c
$(BUILD)/tests/bench/log_pack: $(BUILD)/tests/bench/log_pack.o $(LIBAGENT) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)

# very many agents in one process, see tests/bench/fleet/main.c
FLEET := $(BUILD)/tests/bench/fleet/fleet
$(FLEET): $(call objs,$(call find_c,tests/bench/fleet)) $(LIBAGENT) $(LIBPROTO) $(LIBCOMMON)
	$(link_test)

# storage by hand, for integration tests
STORAGE_TOOL := $(BUILD)/tests/integration/storage_tool
$(STORAGE_TOOL): $(BUILD)/tests/integration/storage_tool.o $(TEST_LIB) $(LIBCOMMON)
	$(link_test)

define link_test
	@mkdir -p $(@D)
	$(Q)echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(TEST_LIBS) $(SYSLIBS)
endef

fuzz-build: $(FUZZ_BIN)

tests-build: $(BINARIES) $(UNIT_BIN) $(FUZZ_BIN) $(STORAGE_TOOL) $(FLEET) $(if $(SIM_SRC),$(BUILD)/tests/sim/sim)

# make unit T=common/buf runs one, make unit all of them
UNIT_RUN = $(if $(T),$(BUILD)/tests/unit/$(T)_test,$(UNIT_BIN))
unit: $(UNIT_RUN)
	$(Q)for t in $^; do echo "  TEST $$t"; $$t || exit 1; done

deps:
	$(Q)tests/scripts/deps.sh

demo:
	$(Q)tests/scripts/demo.sh

check:
	$(Q)tests/scripts/check.sh

check-asan:
	$(Q)tests/scripts/check.sh --sanitize address,undefined

check-tsan:
	$(Q)tests/scripts/check.sh --sanitize thread

check-layers:
	$(Q)tests/scripts/check-layers.sh

# every header compiles alone
HEADERS := $(sort $(shell find common proto agent coordinator -name '*.h'))
check-headers:
	$(Q)for h in $(HEADERS); do \
	  $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -x c -fsyntax-only -Wno-unused-macros -Wno-unused-function $$h || exit 1; done; \
	  echo "headers: $(words $(HEADERS)) compile alone"

fuzz-smoke:
	$(Q)tests/scripts/fuzz-smoke.sh

SEEDS ?= 100000
sim: $(BUILD)/tests/sim/sim
	$(Q)$(BUILD)/tests/sim/sim --seeds $(SEEDS)

# faults injected into real processes, for longer; soak: the same until it has lasted SOAK rounds
fault:
	$(Q)tests/scripts/check.sh --fault

SOAK ?= 2000
soak:
	$(Q)ROUNDS=$(SOAK) FAULT_DEADLINE=$$(($(SOAK) * 40)) tests/scripts/check.sh --fault

bench:
	$(Q)tests/bench/run.sh
	$(Q)tests/bench/s3.sh
	$(Q)tests/bench/log.sh
	$(Q)tests/bench/log_live.sh
	$(Q)tests/bench/log_many.sh
	$(Q)tests/bench/scale.sh

ALL_C := $(sort $(shell find common proto agent coordinator tests -name '*.c' -o -name '*.h'))
format:
	$(Q)clang-format -i $(ALL_C)

lint:
	$(Q)tests/scripts/lint.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR)/system $(DESTDIR)$(HELPERDIR) $(DESTDIR)$(PREFIX)/lib/sysusers.d \
	  $(DESTDIR)$(PREFIX)/lib/tmpfiles.d $(DESTDIR)$(SYSCONFDIR)/tidemark $(DESTDIR)$(PREFIX)/share/tidemark/examples
	install -m 0755 $(BINARIES) $(DESTDIR)$(PREFIX)/bin/
	for u in systemd/*.service.in; do \
	  sed 's|@BINDIR@|$(PREFIX)/bin|g; s|@HELPERDIR@|$(HELPERDIR)|g' $$u > $(DESTDIR)$(UNITDIR)/system/$$(basename $$u .in) || exit 1; \
	  chmod 0644 $(DESTDIR)$(UNITDIR)/system/$$(basename $$u .in) || exit 1; done
	install -m 0755 systemd/secrets-key.sh $(DESTDIR)$(HELPERDIR)/secrets-key
	install -m 0644 systemd/tidemark.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/tidemark.conf
	install -m 0644 systemd/tidemark.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/tidemark.conf
	install -m 0644 packaging/examples/*.yaml $(DESTDIR)$(PREFIX)/share/tidemark/examples/
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 0644 packaging/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 packaging/completions/tidemark.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tidemark
	ln -sf tidemark $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tidemark-agent

clean:
	rm -rf $(BUILD)

print-%:
	@echo '$($*)'

FORCE:
.PHONY: all deps demo check check-asan check-tsan check-layers check-headers fuzz-smoke sim fault soak bench \
	format lint install clean unit tests-build fuzz-build FORCE
.SECONDARY:
.DELETE_ON_ERROR:
