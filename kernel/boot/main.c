// From supervisor mode's first C instruction to the schedulers: hart 0 builds everything, then rings the others.
#include "kernel/boot/boot.h"
#include "kernel/dev/dev.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/audit.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/proc.h"
#include "kernel/trace/trace.h"
#include "kernel/version.h"

struct machine machine;
int ncpu;

static volatile int built; // hart 0 has built what all harts use

void main(uint64 hart, uint64 device_tree);

// On this hart's own guarded stack.
static void hart_main(void) {
  trap_init_hart();
  plicinithart();
  timer_idle();
  printf("hart %d starting\n", mycpu()->id);
  mycpu()->online = 1;
  scheduler();
}

static void read_machine(uint64 device_tree) {
  if (fdt_read(kva(device_tree), &machine) < 0 || machine.memory_start != KERNBASE || machine.harts == 0 ||
      machine.timer_frequency == 0)
    panic("no device tree at 0x%lx: is this QEMU's virt machine?", device_tree);
  ncpu = machine.harts < NCPU ? machine.harts : NCPU;
}

static void build(uint64 device_tree) {
  uartinit();
  printf("\nxv6-glass %s is booting\n", XV6_GLASS_VERSION);
  read_machine(device_tree);
  traceinit(machine.timer_frequency, machine.bootargs);
  binit();
  iinit();
  fileinit();
  auditinit();
  kinit();
  kvminit();
  kvminithart(); // stacks, and what lies on top of them, are in the real table only
  procinit();
  consoleinit();
  failpoint_init();
  plicinit();
  virtio_disk_init();
  timer_init();
  userinit();
}

void main(uint64 hart, uint64 device_tree) {
  struct cpu *c = &cpus[hart];
  c->id = hart;
  asm volatile("mv tp, %0" ::"r"(c));
  trap_init_hart(); // interrupts stay off until the scheduler; this is for exceptions and waking from wfi

  if (hart == 0) {
    build(device_tree);
    __atomic_store_n(&built, 1, __ATOMIC_RELEASE);
    for (int i = 1; i < ncpu; i++)
      ring_hart(i);
  } else {
    while (!__atomic_load_n(&built, __ATOMIC_ACQUIRE))
      asm volatile("wfi");
    csr_clear(sip, IE_SSOFT);
  }
  kvminithart();
  run_on_stack(KSTACK_TOP(NPROC + hart), hart_main);
}
