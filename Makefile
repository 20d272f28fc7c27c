# Builds the kernel, the user programs and the disk image, runs them under QEMU, and drives tests and lint.
# Sources are discovered; what a machine lacks is installed from packages.txt before the first compilation.
# `make help` lists the targets and variables.

CPUS ?= 3
MEM ?= 128M
DEBUG ?=
RACES ?=
QEMU ?= qemu-system-riscv64
QEMUEXTRA ?=
PYTHON ?= /usr/bin/python3
HOSTCC ?= cc
TESTS ?= tests
TESTFLAGS ?=

# One short line per step; V=1 shows whole commands.
V ?=
step = $(if $V,,@echo '  $(1) $@' &&)

# Python keeps its compiled files out of the sources.
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all qemu qemu-gdb gdb debug record replay print-gdbport trace test soak mutants check skeleton mutant fresh dist lint format docs bench setup clean help FORCE
all:

ifneq ($(words $(CPUS)) $(filter 1 2 3 4 5 6 7 8,$(CPUS)),1 $(CPUS))
$(error CPUS=$(CPUS): the number of harts must be 1 to 8)
endif

# Setup. Goals that compile include a stamp; making the stamp installs what is missing, then make starts over.
ifneq ($(filter-out help clean print-gdbport setup,$(or $(MAKECMDGOALS),all)),)
include build/setup/build.mk
endif

build/setup/%.mk: packages.txt tools/setup
	@tools/setup $*
	@mkdir -p $(@D) && touch $@

setup:
	@tools/setup build debug trace test

# Toolchain: bare-metal if it is there, else the one for Linux programs.
TOOLPREFIX ?= $(if $(shell command -v riscv64-unknown-elf-gcc),riscv64-unknown-elf-,riscv64-linux-gnu-)
TOOLPREFIX := $(TOOLPREFIX)
CC := $(TOOLPREFIX)gcc
LD := $(TOOLPREFIX)ld
AR := $(TOOLPREFIX)ar
OBJCOPY := $(TOOLPREFIX)objcopy

ifneq ($(filter-out help clean print-gdbport setup lint format docs skeleton fresh dist,$(or $(MAKECMDGOALS),all)),)
# Not before the packages have been seen to: their stamp is made after this is read for the first time.
ifeq ($(if $(wildcard build/setup/build.mk),$(shell command -v $(CC)),later),)
$(error no compiler $(CC): 'make setup' installs it, or TOOLPREFIX= names another)
endif
endif

WARNINGS := -Wall -Wextra -Werror
# The linker shortens calls, but never addresses data by gp: no linker script of ours defines __global_pointer$.
TARGETFLAGS := -mcmodel=medany \
  -ffreestanding -fno-common -nostdlib -fno-stack-protector -fno-pie -no-pie -fno-omit-frame-pointer \
  -fno-asynchronous-unwind-tables -O2 -ggdb -gdwarf-4 -ffile-prefix-map=$(CURDIR)=. -I.
LDFLAGS := -z max-page-size=4096 -z noexecstack --build-id=none --fatal-warnings
HOSTFLAGS := -std=gnu11 -O2 -g -I. $(WARNINGS)

# The kernel: every C and assembly file one folder below kernel/. A DEBUG=1 kernel lives beside the normal one.
# RACES=1 is a kernel of a third kind, in build/races, that watches its own accesses to memory (lib/races.c).
D := $(if $(filter-out 0,$(RACES)),build/races/,$(if $(filter-out 0,$(DEBUG)),build/debug/,))
O := $(or $D,build/)
KERNEL := $Dkernel/kernel
RACEFLAGS := -DRACES -fsanitize=thread -Wno-tsan --param tsan-distinguish-volatile=1 --param tsan-instrument-func-entry-exit=0
# The kernel leaves floating point registers to the programs, which may use them.
KERNELFLAGS := $(TARGETFLAGS) -fstack-usage -march=rv64imac_zicsr_zifencei -mabi=lp64 $(WARNINGS) $(if $(filter-out 0,$(RACES)),$(RACEFLAGS),$(if $D,-DDEBUG))
KERNEL_SOURCES := $(sort $(wildcard kernel/*/*.c kernel/*/*.S))
KERNEL_OBJECTS := $(patsubst %,$O%.o,$(basename $(KERNEL_SOURCES)))

# The programs: every C file in user/ that is neither library nor a further part of a program.
LIBRARY := ulib printf umalloc usys sweep dice
usertests_PARTS := $(patsubst user/%.c,%,$(wildcard user/usertests_*.c))
shmtrace_PARTS := $(patsubst user/%.c,%,$(wildcard user/shmtrace_*.c))
fuzz_PARTS := $(patsubst user/%.c,%,$(wildcard user/fuzz_*.c))
PARTS := $(usertests_PARTS) $(shmtrace_PARTS) $(fuzz_PARTS)
# Programs of courses stand in user/ too, and are warned as xv6 warns them; `make lint` warns ours of everything.
USERFLAGS := $(TARGETFLAGS) -march=rv64gc -mabi=lp64d -Wall -Werror -Wno-main
PROGRAMS := $(filter-out $(LIBRARY) $(PARTS),$(patsubst user/%.c,%,$(sort $(wildcard user/*.c))))

# The host's programs on the disk image; other files in mkfs/ are linked into each.
HOST_PROGRAMS := mkfs fsck
HOST_SHARED := $(filter-out $(HOST_PROGRAMS),$(patsubst mkfs/%.c,%,$(sort $(wildcard mkfs/*.c))))

all: $(KERNEL) fs.img $(HOST_PROGRAMS:%=build/mkfs/%) $(if $D,,compile_commands.json)

# A loop that copies or fills memory must not be turned into a call of the function it implements.
$Okernel/lib/string.o build/user/ulib.o: MOREFLAGS := -fno-tree-loop-distribute-patterns

# Locks are taken everywhere and call nothing: proc/spinlock.c says why they may do without.
build/kernel/proc/spinlock.o: MOREFLAGS := -fomit-frame-pointer

# What watches is not watched, nor what runs before there is an address space.
build/races/kernel/lib/races.o build/races/kernel/boot/start.o: MOREFLAGS := -fno-sanitize=thread

$(KERNEL): $(KERNEL_OBJECTS) kernel/boot/kernel.ld $Okernel.flags
	$(call step,LD) $(LD) $(LDFLAGS) -T kernel/boot/kernel.ld -o $@ $(KERNEL_OBJECTS)

$Okernel/%.o: kernel/%.c $Okernel.flags
	@mkdir -p $(@D)
	$(call step,CC) $(CC) $(KERNELFLAGS) $(MOREFLAGS) -MD -MP -c -o $@ $<

$Okernel/%.o: kernel/%.S $Okernel.flags
	@mkdir -p $(@D)
	$(call step,CC) $(CC) $(KERNELFLAGS) $(MOREFLAGS) -MD -MP -c -o $@ $<

build/user/%.o: user/%.c build/user.flags
	@mkdir -p $(@D)
	$(call step,CC) $(CC) $(USERFLAGS) $(MOREFLAGS) -MD -MP -c -o $@ $<

build/user/%.o: user/%.S build/user.flags
	@mkdir -p $(@D)
	$(call step,CC) $(CC) $(USERFLAGS) $(MOREFLAGS) -MD -MP -c -o $@ $<

# The benchmark is built in other xv6 trees too, without what only this one has.
build/user/bench.o: MOREFLAGS := -DBENCH_SHARE -DBENCH_GLASS
build/test-programs/obj/crowd.o: MOREFLAGS := -DCROWD_SHARE

# An archive: a program carries only what it uses of the library, and may define a function of the same name itself.
build/user/library.a: $(LIBRARY:%=build/user/%.o)
	@rm -f $@
	$(call step,AR) $(AR) rcs $@ $^

# -n: segments lie close together in the file; exec() reads them from any offset.
.SECONDEXPANSION:
$(PROGRAMS:%=build/user/_%): build/user/_%: build/user/%.o $$(addprefix build/user/,$$(addsuffix .o,$$($$*_PARTS))) \
  build/user/library.a user/user.ld
	$(call step,LD) $(LD) -n $(LDFLAGS) -T user/user.ld -o $@ $(filter %.o %.a,$^)

# What goes onto the disk: programs without their debug information, and the README.
build/fs/%: build/user/_%
	@mkdir -p $(@D)
	$(call step,STRIP) $(OBJCOPY) -S $< $@

build/fs/README: README.md
	@mkdir -p $(@D)
	@cp $< $@

# Renamed into place, so that a guest still running on the old image keeps it whole.
fs.img: build/mkfs/mkfs build/fs/README $(PROGRAMS:%=build/fs/%)
	$(call step,MKFS) build/mkfs/mkfs build/fs.img.new $(filter build/fs/%,$^)
	@mv build/fs.img.new $@

# Programs that only tests run, on images that tests make (tests/harness/image.py): never on fs.img.
TEST_PROGRAMS := $(patsubst tests/guest_programs/%.c,%,$(sort $(wildcard tests/guest_programs/*.c)))
.PHONY: test-programs
.PRECIOUS: build/test-programs/obj/%.o build/test-programs/obj/_%
test-programs: $(TEST_PROGRAMS:%=build/test-programs/%)

build/test-programs/obj/%.o: tests/guest_programs/%.c build/user.flags
	@mkdir -p $(@D)
	$(call step,CC) $(CC) $(USERFLAGS) -MD -MP -c -o $@ $<

build/test-programs/obj/_%: build/test-programs/obj/%.o build/user/library.a user/user.ld
	$(call step,LD) $(LD) -n $(LDFLAGS) -T user/user.ld -o $@ $(filter %.o %.a,$^)

build/test-programs/%: build/test-programs/obj/_%
	$(call step,STRIP) $(OBJCOPY) -S $< $@

build/mkfs/%.o: mkfs/%.c build/host.flags
	@mkdir -p $(@D)
	$(call step,HOSTCC) $(HOSTCC) $(HOSTFLAGS) -MD -MP -c -o $@ $<

$(HOST_PROGRAMS:%=build/mkfs/%): build/mkfs/%: build/mkfs/%.o $(HOST_SHARED:%=build/mkfs/%.o)
	$(call step,HOSTLD) $(HOSTCC) -o $@ $^

# Objects depend on the flags they were compiled with: another toolchain or option rebuilds them.
$Okernel.flags: FLAGS = $(CC) $(KERNELFLAGS)
build/user.flags: FLAGS = $(CC) $(USERFLAGS)
build/host.flags: FLAGS = $(HOSTCC) $(HOSTFLAGS)
$Okernel.flags build/user.flags build/host.flags: FORCE
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = '$(FLAGS)' ] || echo '$(FLAGS)' > $@

# For editors (clangd, VS Code): how each file is compiled; made anew when a file or an option comes or goes.
USER_SOURCES := $(sort $(wildcard user/*.c))
MKFS_SOURCES := $(sort $(wildcard mkfs/*.c))
build/sources.flags: FLAGS = $(CC) $(KERNELFLAGS) $(USERFLAGS) $(HOSTCC) $(KERNEL_SOURCES) $(USER_SOURCES) $(MKFS_SOURCES)
build/sources.flags: FORCE
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = '$(FLAGS)' ] || echo '$(FLAGS)' > $@

compile_commands.json: build/sources.flags
	@each() { command=$$1; shift; for f; do \
	  printf ',\n{"directory":"$(CURDIR)","file":"%s","command":"%s -c %s"}' "$$f" "$$command" "$$f"; done; }; \
	{ each '$(CC) $(KERNELFLAGS)' $(KERNEL_SOURCES); each '$(CC) $(USERFLAGS)' $(USER_SOURCES); \
	  each '$(HOSTCC) $(HOSTFLAGS)' $(MKFS_SOURCES); printf '\n]\n'; } | sed '1s/.*/[/' > $@

-include $(KERNEL_OBJECTS:.o=.d) $(wildcard build/user/*.d build/mkfs/*.d build/test-programs/obj/*.d)

# Running. tools/run owns QEMU's command line, the guest's memory file and the terminal.
GDBPORT := $(shell echo $$((25000 + $$(id -u) % 5000)))
RUN = $(PYTHON) tools/run --qemu='$(QEMU)' --cpus='$(CPUS)' --mem='$(MEM)' --kernel=$(KERNEL) --image=fs.img
EXTRA = $(if $(QEMUEXTRA),-- $(QEMUEXTRA))

qemu: all
	@$(RUN) $(EXTRA)

qemu-gdb: all .gdbinit
	@echo "QEMU waits for gdb on port $(GDBPORT): run 'make gdb' in another window."
	@$(RUN) --gdb $(GDBPORT) $(EXTRA)

print-gdbport:
	@echo $(GDBPORT)

.gdbinit: tools/gdb/gdbinit.in FORCE
	@sed 's|@TREE@|$(CURDIR)|; s|@KERNEL@|$(KERNEL)|; s|@PORT@|$(GDBPORT)|' $< | cmp -s - $@ || \
	  sed 's|@TREE@|$(CURDIR)|; s|@KERNEL@|$(KERNEL)|; s|@PORT@|$(GDBPORT)|' $< > $@

gdb: build/setup/debug.mk $(KERNEL) .gdbinit
	gdb-multiarch -q -iex 'set auto-load local-gdbinit off' -x .gdbinit

# Guest and gdb side by side; tmux comes with the packages of `make gdb`.
debug: build/setup/debug.mk all
	tmux $(if $(TMUX),new-window,new-session) '$(MAKE) qemu-gdb' \; split-window -h '$(MAKE) gdb'

# A run with its keys and clocks, kept to be debugged again and again (docs/replay.md).
RECORDING ?= build/recording
record: build/setup/debug.mk all
	@echo "Recording into $(RECORDING): leave QEMU with ^C, or type shutdown; then run 'make replay'."
	@$(PYTHON) tools/run --qemu='$(QEMU)' --cpus=1 --mem='$(MEM)' --kernel=$(KERNEL) --image=fs.img --record='$(RECORDING)' $(EXTRA)

replay: build/setup/debug.mk
	gdb-multiarch -q -iex 'set auto-load local-gdbinit off' -ex 'set pagination off' -x tools/gdb/xv6.py \
	  -ex 'replay $(RECORDING)'

# A run of the sharing tests and a crypto request, every event of it, as a page; opened where there is a desktop.
trace: build/setup/trace.mk all
	tools/trace/xv6-trace record -o build/trace.xt --kernel $(KERNEL) --cpus '$(CPUS)' --mem '$(MEM)' \
	  -- 'shmem_test1; shmem_test2; crypto_cli'
	tools/trace/xv6-trace check build/trace.xt
	tools/trace/xv6-trace report build/trace.xt -o build/trace.html
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] && command -v xdg-open >/dev/null; then xdg-open build/trace.html; fi

test: build/setup/test.mk all
	$(PYTHON) -m pytest $(TESTFLAGS) $(TESTS)

# The long forms. SOAK names some of them (`make soak SOAK=-h` lists them), MINUTES bounds each.
SOAK ?=
MINUTES ?=
SEED ?= 1
soak: build/setup/test.mk all test-programs
	@$(MAKE) --no-print-directory DEBUG=1 all
	@$(PYTHON) -m tests.soak --seed '$(SEED)' $(if $(MINUTES),--minutes '$(MINUTES)') $(SOAK)

# Plants each patch of tests/mutants in a copy of this tree and has `submit check` find it. ID names some, ONLY=1 runs
# their own probes alone.
ID ?=
ONLY ?=
mutants: build/setup/test.mk build/mkfs/mkfs
	@$(PYTHON) -m tests.mutants $(if $(ONLY),--only-own) $(ID)

# AFL++ on the host's programs, and on the kernel's file system.
fuzz-host:
	@$(MAKE) --no-print-directory soak SOAK=afl

lint: build/setup/test.mk all
	tools/lint/check

format: build/setup/test.mk
	tools/lint/check --fix

# Tables from the source, figures from the source and from guests, the README's picture from the page of `make trace`.
docs: build/setup/test.mk all trace
	@$(MAKE) --no-print-directory DEBUG=1 all
	tools/docs/tables
	tools/docs/figures
	tools/docs/picture

# BENCH_TREES names other xv6 trees to measure in the same run.
BENCH_TREES ?=
# The assignment: the checks a grader runs, on TREE; and the tree to hand out, with the solution cut out.
check: build/setup/test.mk build/mkfs/mkfs
	tools/submit/submit check $(or $(TREE),.)

skeleton:
	@$(PYTHON) tools/submit/skeleton.py '$(OUT)'

# One mistake of the catalogue in a copy of the tree: `make mutant C8` or `make mutant MUTANT=C8` (docs/exercises.md).
ifeq ($(firstword $(MAKECMDGOALS)),mutant)
MUTANT ?= $(word 2,$(MAKECMDGOALS))
.PHONY: $(wordlist 2,2,$(MAKECMDGOALS))
$(wordlist 2,2,$(MAKECMDGOALS)): mutant
	@:
endif
mutant:
	@CPUS='$(CPUS)' MEM='$(MEM)' $(PYTHON) tools/mutant '$(MUTANT)' $(MUTANTFLAGS)

# README's two commands on a bare Debian, in a scratch folder; wants root and debootstrap.
fresh: build/setup/fresh.mk
	$(PYTHON) tests/fresh

bench: build/setup/test.mk all
	tools/bench/bench --write $(BENCH_TREES)
	tools/bench/debugger --write $(BENCH_TREES)

# The last commit as a tarball that builds; kernel/version.h names it.
VERSION = $(shell sed -n 's/.*VERSION "\(.*\)"/\1/p' kernel/version.h)
dist:
	@[ -e .git ] || { echo "dist: this is no git clone" >&2; exit 2; }
	@git diff --quiet HEAD || echo "dist: changes that are not committed are left out" >&2
	@mkdir -p build
	@git archive --format=tar.gz --prefix=xv6-glass-$(VERSION)/ -o build/xv6-glass-$(VERSION).tar.gz HEAD
	@echo build/xv6-glass-$(VERSION).tar.gz

# What somebody works on stays: mutants being mended, the recording being debugged.
clean:
	rm -rf $(filter-out build/mutants build/recording,$(wildcard build/*)) \
	  kernel/kernel fs.img .gdbinit compile_commands.json
	@rmdir build 2>/dev/null || true

help:
	@sed -n 's/^#: \?//p' Makefile

#: make            build kernel/kernel and fs.img
#: make qemu       build and boot; leave QEMU with ^A x
#: make qemu-gdb   the same, stopped at the first instruction for gdb
#: make gdb        gdb with this project's commands, connected to qemu-gdb's guest
#: make debug      both, side by side in tmux
#: make record     boot on one hart and record the run
#: make replay     debug exactly that run in gdb, again and again, backwards too
#: make trace      record a run and draw it: build/trace.html
#: make test       build and run every test; TESTS=tests/test_boot.py runs one file
#: make soak       the long forms of the tests: SOAK="NAME..." MINUTES=N SEED=N; SOAK=-h lists them
#: make mutants    the checker against known mistakes: ID="M2 X4" names some, ONLY=1 is faster
#: make fuzz-host  AFL++ on fsck, mkfs and the file system for MINUTES=N, 15 if not given
#: make check      say what is wrong with a tree that does the assignment; TREE=DIR, else this one
#: make skeleton OUT=DIR   write the assignment to hand out
#: make mutant ID  break a copy of this kernel on purpose and boot it; docs/exercises.md
#: make fresh      try the two commands of README on a bare Debian, as root, with debootstrap
#: make lint       check format, types and style
#: make format     mend the format
#: make docs       write the tables and figures in docs/ anew, from the source and from guests
#: make bench      measure everything of docs/benchmarks; BENCH_TREES="DIR..." adds other xv6 trees
#: make dist       pack the last commit as build/xv6-glass-VERSION.tar.gz
#: make setup      install every Debian package the project uses (packages.txt)
#: make clean      remove everything the build made, but not your mutants and your recording
#: make print-gdbport   the port on which make qemu-gdb listens
#:
#: CPUS=1..8       harts, default 3
#: MEM=128M        memory of the guest
#: RACES=1         kernel that finds data races between harts, in build/races
#: DEBUG=1         kernel with lock-order checks and audits, in build/debug
#: TOOLPREFIX=     riscv64-unknown-elf- (preferred) or riscv64-linux-gnu-
#: V=1             show whole commands
#: QEMU= QEMUEXTRA=  the emulator, and further arguments for it
