// Floating point registers belong to the process that uses them: kept lazily, so that a program without
// floating point pays nothing. sstatus.FS says whether the hart's registers are live (privileged
// specification 3.1.6.6).
#pragma once
#include "kernel/proc/proc.h"

int fp_first_use(struct proc *p); // after an illegal instruction: 0 if that may have been it, else -1
void fp_leave(struct proc *p);    // p stops running on this hart
void fp_arrive(struct proc *p);   // p starts running on this hart
void fp_fork(struct proc *parent, struct proc *child);

void fp_save(struct fpstate *fp);          // fpregs.S
void fp_restore(const struct fpstate *fp); // fpregs.S

// The FS bits p goes to user mode with.
static inline uint64 fp_status(struct proc *p) {
  return p->fp_used ? csr_read(sstatus) & SSTATUS_FS : 0;
}
