// From power-on to the scheduler, and every trap after it. boot/main.c, trap.c, timer.c, fdt.c implement this.
#pragma once
#include "kernel/types.h"

struct trapframe;

// What the device tree says of the machine (boot/fdt.c).
struct machine {
  uint64 memory_start;    // RAM, physical
  uint64 memory_end;      // one past its last byte
  uint64 timer_frequency; // of the time CSR, Hz
  int harts;
  const char *bootargs; // what -append gave, 0 if nothing; good until frames are handed out
};
extern struct machine machine;
int fdt_read(const void *blob, struct machine *m); // 0, or -1 if it isn't a device tree

void run_on_stack(uint64 top, void (*function)(void)) __attribute__((noreturn));

// Traps (boot/trap.c, vector.S)
void trap_vector(void);
void trap_init_hart(void);
void usertrap(void);
void usertrapret(void);
void return_afresh(struct trapframe *tf)
    __attribute__((noreturn)); // vector.S: the same, leaving the stack; interrupts off
void kerneltrap(void);
void ring_hart(int hart); // interrupt another hart, or this one

// Time (boot/timer.c)
void timer_init(void);
void timer_interrupt(void);
void timer_start_slice(void); // a process starts to run here
void timer_idle(void);        // nothing does: wake only for the next tick, if this hart counts them

// Harts that keep interrupts off (boot/watchdog.c, debug builds): called at each interrupt.
#ifdef DEBUG
void watchdog(void);
#else
static inline void watchdog(void) {}
#endif

// What machine_vector needs of a hart; its offsets are known to entry.S.
struct machine_scratch {
  uint64 spare;
  volatile uint32 *bell; // this hart's CLINT software interrupt word
  uint64 pc;             // where the last ring met it
};
extern struct machine_scratch machine_scratch[];

static inline uint64 time_now(void) {
  uint64 t;
  asm volatile("rdtime %0" : "=r"(t));
  return t;
}
