// Floating point registers across switches. Interrupts are off in all of it but fp_fork(), whose caller is running.
#include "kernel/proc/fp.h"
#include "kernel/lib/lib.h"
#include "kernel/proc/lock.h"

int fp_first_use(struct proc *p) {
  if (p->fp_used)
    return -1;
  memset(&p->fp, 0, sizeof(p->fp));
  p->fp_used = 1;
  fp_arrive(p);
  return 0;
}

void fp_leave(struct proc *p) {
  if (p->fp_used && (csr_read(sstatus) & SSTATUS_FS) == SSTATUS_FS_DIRTY)
    fp_save(&p->fp);
  csr_clear(sstatus, SSTATUS_FS);
}

void fp_arrive(struct proc *p) {
  if (!p->fp_used)
    return;
  csr_set(sstatus, SSTATUS_FS_INITIAL); // fld traps while FS is off
  fp_restore(&p->fp);
  csr_clear(sstatus, SSTATUS_FS);
  csr_set(sstatus, SSTATUS_FS_CLEAN);
}

void fp_fork(struct proc *parent, struct proc *child) {
  child->fp_used = parent->fp_used;
  if (!parent->fp_used)
    return;
  push_off();
  if ((csr_read(sstatus) & SSTATUS_FS) == SSTATUS_FS_DIRTY)
    fp_save(&parent->fp);
  pop_off();
  child->fp = parent->fp;
}
