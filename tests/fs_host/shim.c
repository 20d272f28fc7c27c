// Locks with the kernel's order check, sleeping and waking, user memory, system-call arguments, messages.
#include "tests/fs_host/shim.h"
#include "kernel/boot/boot.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/ipc/pipe.h"
#include "kernel/memlayout.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/syscall.h"
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct machine machine = {.memory_start = KERNBASE, .memory_end = KERNBASE + (1UL << 20)};
static __thread struct proc self;
static __thread struct cpu own_cpu;
__thread struct cpu *this_cpu;
static __thread uint64 random_state;
static __thread struct spinlock *held[8];
static __thread int held_count;
__thread int shim_racing;

void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "fs_host: ");
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  fflush(0);
  abort();
}

void panic(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "panic: ");
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  fflush(0);
  abort();
}

void power_off(void) {
  fflush(0);
  exit(3);
}

uint64 random_below(uint64 n) { // splitmix64
  uint64 z = random_state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return (z ^ z >> 31) % n;
}

void seed_random(uint64 seed) {
  random_state = seed;
}

void shim_process(int pid) {
  self = (struct proc){.pid = pid};
  own_cpu.proc = &self;
  this_cpu = &own_cpu;
  self.cwd = namei("/");
}

void *boot_alloc(uint64 bytes) {
  return calloc(1, bytes);
}

// Spinlocks
void initlock(struct spinlock *lk, enum lock_rank rank) {
  *lk = (struct spinlock){.rank = rank, .name = "?"};
}

void acquire(struct spinlock *lk) {
  for (int i = 0; i < held_count; i++)
    if (held[i]->rank > lk->rank || (held[i]->rank == lk->rank && held[i] >= lk))
      die("lock order: rank %d taken while holding rank %d", lk->rank, held[i]->rank);
  while (__atomic_exchange_n(&lk->locked, 1, __ATOMIC_ACQUIRE))
    sched_yield();
  held[held_count++] = lk;
}

void release(struct spinlock *lk) {
  int i = 0;
  while (i < held_count && held[i] != lk)
    i++;
  if (i == held_count)
    die("release of a lock that is not held");
  held[i] = held[--held_count];
  __atomic_store_n(&lk->locked, 0, __ATOMIC_RELEASE);
  if (shim_threads && random_below(16) == 0)
    sched_yield();
}

// Sleeping
struct sleeper {
  void *chan;
  int woken;
  struct sleeper *next;
};
static struct sleeper *sleepers;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;

void sleep(void *chan, struct spinlock *lk) {
  struct sleeper me = {.chan = chan};
  if (!shim_threads)
    die("the only process sleeps for ever");
  if (held_count != 1)
    die("sleep() with %d locks held", held_count);
  pthread_mutex_lock(&mutex);
  me.next = sleepers;
  sleepers = &me;
  release(lk);
  while (!me.woken)
    pthread_cond_wait(&woken, &mutex);
  struct sleeper **at = &sleepers;
  while (*at != &me)
    at = &(*at)->next;
  *at = me.next;
  pthread_mutex_unlock(&mutex);
  acquire(lk);
}

void wakeup(void *chan) {
  pthread_mutex_lock(&mutex);
  for (struct sleeper *s = sleepers; s; s = s->next)
    if (s->chan == chan)
      s->woken = 1;
  pthread_cond_broadcast(&woken);
  pthread_mutex_unlock(&mutex);
}

void initsleeplock(struct sleeplock *lk, const char *name) {
  *lk = (struct sleeplock){.name = name};
  initlock(&lk->lk, RANK_SLEEPLOCK);
}

void acquiresleep(struct sleeplock *lk) {
  if (held_count)
    die("%s: a spinlock is held", lk->name);
  acquire(&lk->lk);
  if (lk->locked && lk->pid == self.pid)
    die("%s: taken twice by one process", lk->name);
  while (lk->locked)
    sleep(lk, &lk->lk);
  lk->locked = 1;
  lk->pid = self.pid;
  release(&lk->lk);
}

void releasesleep(struct sleeplock *lk) {
  acquire(&lk->lk);
  if (!lk->locked || lk->pid != self.pid)
    die("%s: released by who does not hold it", lk->name);
  lk->locked = 0;
  lk->pid = 0;
  wakeup(lk);
  release(&lk->lk);
}

// User memory
int user_span(struct span *s, uint64 va, uint64 size) {
  if (size > USERTOP || va > USERTOP - size)
    return -1;
  *s = (struct span){.address = va, .size = size, .user = 1};
  return 0;
}

struct span kernel_span(const void *p, uint64 size) {
  return (struct span){.address = (uint64)p, .size = size};
}

struct span span_part(struct span s, uint64 offset, uint64 size) {
  if (offset > s.size || size > s.size - offset)
    die("span_part: [%lu, +%lu) of %lu", offset, size, s.size);
  return (struct span){.address = s.address + offset, .size = size, .user = s.user};
}

// How many bytes of a part can be copied.
static uint64 mapped(struct span s) {
  if (!s.user)
    return s.size;
  if (s.address < ARENA || s.address >= ARENA_BAD)
    return 0;
  return s.size < ARENA_BAD - s.address ? s.size : ARENA_BAD - s.address;
}

int span_check(struct span s, enum access access) {
  (void)access;
  return shim_racing || mapped(s) == s.size ? 0 : -1;
}

int span_read(void *dst, struct span src, uint64 offset, uint64 n) {
  struct span part = span_part(src, offset, n);
  memmove(dst, (void *)part.address, mapped(part));
  return mapped(part) == n ? 0 : -1;
}

int span_write(struct span dst, uint64 offset, const void *src, uint64 n) {
  struct span part = span_part(dst, offset, n);
  memmove((void *)part.address, src, mapped(part));
  return mapped(part) == n ? 0 : -1;
}

int copyout(uint64 va, const void *src, uint64 n) {
  struct span s;
  return user_span(&s, va, n) < 0 ? -1 : span_write(s, 0, src, n);
}

// System calls
int argstr(int n, char *buf, int max) {
  const char *s = (const char *)argument(n);
  for (int i = 0; i < max; i++)
    if (!(buf[i] = s[i]))
      return i;
  return -1;
}

long call(uint64 (*function)(void), uint64 a0, uint64 a1, uint64 a2) {
  struct trapframe registers = {.a0 = a0, .a1 = a1, .a2 = a2};
  myproc()->trapframe = &registers;
  long result = function();
  if (held_count)
    die("a system call returns with %d locks held", held_count);
  return result;
}

// Pipes are not the file system's.
int pipealloc(struct file **read_end, struct file **write_end) {
  (void)read_end;
  (void)write_end;
  return -1;
}
void pipeclose(struct pipe *p, int writable) {
  die("pipeclose(%p, %d)", (void *)p, writable);
}
int piperead(struct pipe *p, struct span dst) {
  die("piperead(%p, %lu)", (void *)p, dst.size);
}
int pipewrite(struct pipe *p, struct span src) {
  die("pipewrite(%p, %lu)", (void *)p, src.size);
}
