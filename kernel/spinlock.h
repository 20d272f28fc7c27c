// Mutual exclusion between harts: interrupts stay off on the holder's hart until the release.
// The order in which locks may be taken is the table of proc/lock_ranks.h.
#pragma once
#include "kernel/types.h"
#include "kernel/proc/lock_ranks.h"

struct cpu;

struct spinlock {
  uint locked;         // 1 while held
  enum lock_rank rank; // its class
  const char *name;    // that class's name
  struct cpu *cpu;     // the holder's hart, 0 if free
  uint64 pc;           // where the holder took it
};
