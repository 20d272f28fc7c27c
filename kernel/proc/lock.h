// What one may do with the locks of kernel/spinlock.h and kernel/sleeplock.h.
// Implemented by proc/spinlock.c and proc/sleeplock.c.
#pragma once
#include "kernel/sleeplock.h"

void initlock(struct spinlock *lk, enum lock_rank rank);
void acquire(struct spinlock *lk);
void release(struct spinlock *lk);
int holding(struct spinlock *lk); // by this hart

// Nested interrupt disabling: as many pop_off() as push_off() restore what was.
void push_off(void);
void pop_off(void);

void initsleeplock(struct sleeplock *lk, const char *name);
void acquiresleep(struct sleeplock *lk);
int tryacquiresleep(struct sleeplock *lk); // 1 if taken, 0 if another holds it; never sleeps
void releasesleep(struct sleeplock *lk);
int holdingsleep(struct sleeplock *lk); // by this process
