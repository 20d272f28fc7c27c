// Time by the Sstc extension: each hart sets its own stimecmp. `ticks` counts tenths of a second on hart 0;
// a hart that runs a process also interrupts it every slice, so that others get their turn.
#include "kernel/boot/boot.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/sched.h"

#define TICKS_PER_SECOND 10
#define SLICES_PER_SECOND 100

static uint64 tick_length, slice_length; // of the time CSR; constant after timer_init()
static uint64 next_tick;                 // hart 0 only

static void set_deadline(uint64 deadline) {
  asm volatile("csrw 0x14d, %0" ::"r"(deadline)); // stimecmp
}

void timer_init(void) {
  tick_length = machine.timer_frequency / TICKS_PER_SECOND;
  slice_length = machine.timer_frequency / SLICES_PER_SECOND;
  next_tick = time_now() + tick_length;
}

static uint64 earlier(uint64 a, uint64 b) {
  return a < b ? a : b;
}

void timer_start_slice(void) {
  uint64 end = time_now() + slice_length;
  set_deadline(mycpu()->id == 0 ? earlier(end, next_tick) : end);
}

void timer_idle(void) {
#ifdef DEBUG // the watchdog wants a sign of life
  uint64 end = time_now() + machine.timer_frequency;
#else
  uint64 end = -1UL;
#endif
  set_deadline(mycpu()->id == 0 ? earlier(end, next_tick) : end);
}

void timer_interrupt(void) {
  uint64 now = time_now();
  if (mycpu()->id == 0 && now >= next_tick) {
    uint n = 0;
    do {
      next_tick += tick_length;
      n++;
    } while (now >= next_tick);
    tick(n);
  }
  if (mycpu()->proc) {
    slice_over();
    timer_start_slice();
  } else {
    timer_idle();
  }
}
