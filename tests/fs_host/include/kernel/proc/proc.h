// What kernel/fs needs of a process, for the host: a thread stands for one (tests/fs_host/shim.c).
#pragma once
#include "kernel/param.h"
#include "kernel/spinlock.h"

struct proc {
  int pid;
  struct file *ofile[NOFILE];
  struct inode *cwd;
};

struct proc *myproc(void);
void sleep(void *chan, struct spinlock *lk);
void wakeup(void *chan);
