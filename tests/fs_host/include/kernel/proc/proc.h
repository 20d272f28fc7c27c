// What kernel/fs needs of a process, for the host: a thread stands for one (tests/fs_host/shim.c).
#pragma once
#include "kernel/param.h"
#include "kernel/spinlock.h"

// Where system calls find their arguments.
struct trapframe {
  uint64 a0, a1, a2;
};

struct proc {
  struct trapframe *trapframe;
  int pid;
  struct file *ofile[NOFILE];
  struct inode *cwd;
};

struct proc *myproc(void);
void sleep(void *chan, struct spinlock *lk);
void wakeup(void *chan);
