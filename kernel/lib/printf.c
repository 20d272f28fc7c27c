// Kernel messages, and the end of a kernel that found its invariants broken.
// A message is formatted whole, then handed to the uart in one piece; dev/uart.c keeps the pieces apart.
#include "kernel/dev/dev.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/proc.h"

#define MESSAGE_MAX 256 // bytes in one message; a longer one is cut
#define BACKTRACE_MAX 32

volatile int panicked;
static int panicking; // set by the first hart to panic, atomically; the others keep quiet

static void print(const char *format, va_list args) {
  char message[MESSAGE_MAX];
  int n = vformat(message, sizeof(message), format, args);
  if (n == sizeof(message))
    memmove(message + n - 4, "...\n", 4);
  uart_write_now(message, n);
}

void printf(const char *format, ...) {
  va_list args;
  va_start(args, format);
  print(format, args);
  va_end(args);
}

// A frame holds its return address 8 bytes and its caller's frame pointer 16 bytes below its own pointer; the walk
// stays on the stack it began on. A function that calls none has another layout, so callers hand in their own frame.
int backtrace(const void *from, uint64 pcs[], int max) {
  uint64 frame = (uint64)from;
  uint64 limit = (frame & ~(KSTACK_STRIDE - 1)) + KSTACK_STRIDE;
  int n = 0;
  while (n < max && frame % 16 == 0) {
    pcs[n++] = ((uint64 *)frame)[-1];
    uint64 caller = ((uint64 *)frame)[-2];
    if (caller <= frame || caller > limit)
      break;
    frame = caller;
  }
  return n;
}

static void print_backtrace(void) {
  static uint64 pcs[BACKTRACE_MAX]; // of the one hart that panics: its stack may be nearly full
  int n = backtrace(__builtin_frame_address(0), pcs, BACKTRACE_MAX);
  for (int i = 0; i < n; i++)
    printf("  at 0x%lx\n", pcs[i]);
}

void stop_hart(void) {
  csr_clear(sstatus, SSTATUS_SIE);
  csr_write(sie, 0);
  for (;;)
    asm volatile("wfi" ::: "ra"); // saves ra on the stack, so that a debugger finds who has stopped
}

void panic(const char *format, ...) {
  csr_clear(sstatus, SSTATUS_SIE);
  if (__atomic_exchange_n(&panicking, 1, __ATOMIC_ACQ_REL))
    stop_hart(); // another hart speaks, or the panic itself failed
  panicked = 1;
  for (int hart = 0; hart < ncpu; hart++) // an interrupt each: its handler sees panicked
    if (hart != mycpu()->id)
      ((volatile uint32 *)kva(CLINT))[hart] = 1;

  static char message[MESSAGE_MAX]; // one hart gets here, once
  va_list args;
  va_start(args, format);
  int n = vformat(message, sizeof(message) - 1, format, args);
  va_end(args);
  message[n] = '\0';
  struct proc *p = myproc();
  printf("panic: %s\n", message);
  printf("  on hart %d, pid %d %s\n", mycpu()->id, p ? p->pid : 0, p ? p->name : "(scheduler)");
  print_backtrace();
  stop_hart();
}
