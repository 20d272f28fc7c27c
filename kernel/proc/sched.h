// What proc/ and boot/ share about scheduling, beyond proc.h.
#pragma once
#include "kernel/proc/proc.h"

void schedinit(void);
void sleepinit(void);
void slice_over(void);                          // timer: the running process has had its turn
void tick(uint n);                              // timer, hart 0: n tenths of a second have passed
int unsleep(struct proc *p);                    // wake p if it sleeps killably; 1 if it did
void swtch(struct context *, struct context *); // swtch.S
