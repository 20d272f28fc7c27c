// What a trap means: a system call, a page to bring in, an interrupt, or the end of a program that misbehaved.
// Entered from vector.S with interrupts off; the system call runs with them on.
#include "kernel/boot/boot.h"
#include "kernel/dev/dev.h"
#include "kernel/ipc/server.h"
#include "kernel/lib/lib.h"
#include "kernel/memlayout.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/fp.h"
#include "kernel/proc/syscall.h"
#include "kernel/trace/trace.h"

extern char user_copy_start[], user_copy_end[], user_copy_fault[]; // mm/ucopy.S
void trap_off_stack(uint64 sp);

void trap_init_hart(void) {
  csr_write(sscratch, 0);
  csr_write(stvec, (uint64)trap_vector);
  csr_write(scounteren, 7); // programs may read cycle, time and instret
  csr_write(sie, IE_SSOFT | IE_STIMER | IE_SEXTERNAL);
}

// The CLINT's word of a hart raises its machine software interrupt, which entry.S turns into ours.
void ring_hart(int hart) {
  volatile uint32 *bell = kva(CLINT + 4 * hart);
  *bell = 1;
}

static seldom void interrupt(uint64 cause) {
  watchdog();
  switch (cause & ~CAUSE_INTERRUPT) {
  case 1: // another hart rang
    csr_clear(sip, IE_SSOFT);
    if (panicked)
      stop_hart();
    tlb_poll();
    break;
  case 5:
    timer_interrupt();
    break;
  case 9:
    plic_dispatch();
    break;
  default:
    panic("interrupt of unknown cause 0x%lx", cause);
  }
}

static const char *cause_name(uint64 cause) {
  static const char *const names[] = {
      [0] = "misaligned fetch",
      [CAUSE_FETCH_ACCESS] = "fetch access fault",
      [CAUSE_ILLEGAL] = "illegal instruction",
      [CAUSE_BREAKPOINT] = "breakpoint",
      [4] = "misaligned load",
      [CAUSE_LOAD_ACCESS] = "load access fault",
      [6] = "misaligned store",
      [CAUSE_STORE_ACCESS] = "store access fault",
      [CAUSE_FETCH_PAGE] = "fetch page fault",
      [CAUSE_LOAD_PAGE] = "load page fault",
      [CAUSE_STORE_PAGE] = "store page fault",
  };
  return cause < sizeof(names) / sizeof(names[0]) && names[cause] ? names[cause] : "unknown exception";
}

static int is_page_fault(uint64 cause) {
  return cause == CAUSE_FETCH_PAGE || cause == CAUSE_LOAD_PAGE || cause == CAUSE_STORE_PAGE;
}

// An exception in user mode: mend it, or end the program with a line that says why.
static seldom void user_exception(struct proc *p, uint64 cause) {
  uint64 address = csr_read(stval);
  int result = is_page_fault(cause) ? handle_fault(p, address, cause) : FAULT_REFUSED;
  if (result == 0)
    return;
  if (cause == CAUSE_ILLEGAL && fp_first_use(p) == 0)
    return;
  trace(TRACE_FAULT, address, cause, p->trapframe->epc);
  const char *why = result == FAULT_NO_MEMORY ? "out of memory" : cause_name(cause);
  printf("%s: pid %d %s, pc 0x%lx, address 0x%lx: killed\n", why, p->pid, p->name, p->trapframe->epc, address);
  setkilled(p);
}

// On the way to user mode: give way if asked, die if killed. Interrupts are off.
static seldom void before_return(struct proc *p) {
  while (mycpu()->reschedule && !p->killed)
    yield();
  if (p->killed) {
    csr_set(sstatus, SSTATUS_SIE);
    exit(-1);
  }
}

// The last C code before user mode. Sets what sret restores.
static inline void prepare_return(struct proc *p) {
  if (p->killed || mycpu()->reschedule)
    before_return(p);
  csr_write(sstatus, SSTATUS_SPIE | fp_status(p));
}

void usertrapret(void) {
  prepare_return(myproc());
}

// From user mode (vector.S), on this process's empty kernel stack.
void usertrap(void) {
  struct proc *p = myproc();
  uint64 cause = csr_read(scause);

  if (cause == CAUSE_USER_ECALL) {
    p->trapframe->epc += 4;
    csr_set(sstatus, SSTATUS_SIE);
    syscall();
    csr_clear(sstatus, SSTATUS_SIE);
  } else if (cause & CAUSE_INTERRUPT) {
    interrupt(cause);
  } else {
    user_exception(p, cause);
  }
  prepare_return(p);
}

// From the kernel, on the interrupted stack. An exception is a panic, unless it is a copy to or from user memory
// touching a page that is to be brought in, or refused.
void kerneltrap(void) {
  uint64 epc = csr_read(sepc);
  uint64 status = csr_read(sstatus);
  uint64 cause = csr_read(scause);
  csr_clear(sstatus, SSTATUS_SUM); // another process may run before this trap returns

  if (cause & CAUSE_INTERRUPT) {
    int emitting = mycpu()->emitting;
    interrupt(cause); // may emit too
    mycpu()->emitting = emitting;
    if (mycpu()->reschedule && mycpu()->proc && !emitting)
      yield();
  } else if (epc >= (uint64)user_copy_start && epc < (uint64)user_copy_end && is_page_fault(cause)) {
    if (handle_fault(mycpu()->proc, csr_read(stval), cause) < 0)
      epc = (uint64)user_copy_fault;
  } else {
    panic("%s in the kernel, pc 0x%lx, address 0x%lx", cause_name(cause), epc, csr_read(stval));
  }
  csr_write(sepc, epc);
  csr_write(sstatus, status);
}

// A trap whose frame would not have fitted on the stack (vector.S).
void trap_off_stack(uint64 sp) {
  panic("kernel stack overflow or trap during boot: sp 0x%lx, pc 0x%lx, %s, address 0x%lx", sp, csr_read(sepc),
        cause_name(csr_read(scause)), csr_read(stval));
}
