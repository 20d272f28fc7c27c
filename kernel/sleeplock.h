// A lock for long holds: waiting for it sleeps, holding it leaves interrupts on.
// Taken only where sleeping is allowed, that is with no spinlock held.
#pragma once
#include "kernel/spinlock.h"

struct sleeplock {
  uint locked;        // 1 while held; guarded by lk
  struct spinlock lk; // guards the fields of this lock
  const char *name;   // for reports
  int pid;            // the holder
  uint64 pc;          // where the holder took it
};
