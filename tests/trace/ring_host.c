// The trace ring's protocol on the host: a thread plays a hart, its timer signals play device interrupts that emit in
// the middle of an emission, and another thread reads through the system calls meanwhile. Prints what it counted and
// fails on the first record that is torn, out of order or miscounted.
// usage: ring_host EVENTS INTERRUPT_MICROSECONDS READER_PAUSE_MICROSECONDS BOOTARGS
#include "kernel/trace/trace.h"
#include "kernel/mm/user.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define X(number, name) uint64 sys_##name(void);
SYSCALLS(X)
#undef X
extern const struct trace_event_info trace_event_table[];

struct cpu cpus[NCPU];
int ncpu = 2;
__thread struct cpu *this_cpu;
static struct trapframe registers; // of the one process, which calls and emits
static struct proc process = {.pid = 7, .trapframe = &registers};
static sigset_t alarms;
static uint64 emitted, interrupts;
static volatile int finished;

void *boot_alloc(uint64 bytes) {
  return calloc(1, bytes);
}

// User memory is the host's own.
int user_span(struct span *s, uint64 va, uint64 size) {
  *s = (struct span){va, size, 1};
  return va ? 0 : -1;
}
int span_check(struct span s, enum access access) {
  (void)s, (void)access;
  return 0;
}
int span_read(void *dst, struct span s, uint64 offset, uint64 n) {
  memcpy(dst, (char *)s.address + offset, n);
  return 0;
}
int span_write(struct span s, uint64 offset, const void *src, uint64 n) {
  memcpy((char *)s.address + offset, src, n);
  return 0;
}

static uint64 call(uint64 (*f)(void), uint64 a0, uint64 a1, uint64 a2, uint64 a3) {
  registers = (struct trapframe){.a0 = a0, .a1 = a1, .a2 = a2, .a3 = a3};
  return f();
}

static void fail(const char *what, uint64 value) {
  printf("%s %lu\n", what, value);
  exit(1);
}

// Every argument follows from the first, so a mixture of two records shows.
static void emit(uint64 n) {
  trace(TRACE_MAP, n, n * 3, ~n, n ^ 0x5555, n << 7);
}

static void interrupt(int signal) {
  (void)signal;
  for (int i = 0; i < 5; i++)
    emit(1UL << 40 | interrupts++);
}

static void check(const struct trace_record *r) {
  uint64 n = r->args[0];
  if (r->event == TRACE_MASK)
    return; // emitted while this thread set the mask
  if (r->event != TRACE_MAP || r->hart != 0 || r->pid != 7)
    fail("bad header of", n);
  if (r->args[1] != n * 3 || r->args[2] != ~n || r->args[3] != (n ^ 0x5555) || r->args[4] != n << 7)
    fail("torn record", n);
}

static void *hart(void *count) {
  this_cpu = &cpus[0]; // this thread is the hart now; main only reads
  trace_running(this_cpu, process.pid);
  pthread_sigmask(SIG_UNBLOCK, &alarms, 0); // this thread alone takes them
  for (; emitted < (uint64)count; emitted++)
    emit(emitted);
  signal(SIGALRM, SIG_IGN);
  finished = 1;
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 5)
    return 2;
  int period = atoi(argv[2]), pause = atoi(argv[3]);
  this_cpu = &cpus[0];
  this_cpu->proc = &process;
  traceinit(10000000, argv[4]);
  uint64 boot_mask = 0;
  for (int i = 0; i < TRACE_EVENT_COUNT; i++)
    if (trace_event_table[i].flags & TRACE_BOOT)
      boot_mask |= 1UL << trace_event_table[i].id;
  if (trace_mask != (boot_mask | 1UL << TRACE_SLEEP | 1UL << TRACE_WAKEUP | 1UL << TRACE_SWITCH | 1UL << TRACE_ALLOC))
    fail("boot arguments gave mask", trace_mask);
  if (call(sys_trace_control, TRACE_SET_MASK, -1UL, 0, 0) != 0 || trace_mask >> 63)
    fail("mask", trace_mask);
  if (call(sys_trace_mark, TRACE_MAP, 0, 0, 0) != -1UL || call(sys_trace_mark, 99, 0, 0, 0) != -1UL)
    fail("a program could forge event", TRACE_MAP);
  if (call(sys_trace_control, TRACE_HEAD, 5, 0, 0) != -1UL || call(sys_trace_read, 2, 0, 0, 0) != -1UL)
    fail("a ring for hart", 5);

  signal(SIGALRM, interrupt);
  struct itimerval timer = {{0, period}, {0, period}};
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  pthread_sigmask(SIG_BLOCK, &alarms, 0);
  pthread_t thread;
  pthread_create(&thread, 0, hart, (void *)strtoul(argv[1], 0, 0));
  setitimer(ITIMER_REAL, &timer, 0);

  static struct trace_record records[100];
  struct trace_cursor cursor = {0, 0};
  uint64 read = 0, next = 0;
  for (;;) {
    int last = finished;
    int n = call(sys_trace_read, 0, (uint64)&cursor, (uint64)records, 100);
    for (int i = 0; i < n; i++) {
      check(&records[i]);
      if (records[i].sequence <= next)
        fail("out of order", records[i].sequence);
      next = records[i].sequence;
    }
    read += n;
    if (last && n == 0)
      break;
    if (pause)
      nanosleep(&(struct timespec){.tv_nsec = pause * 1000}, 0);
  }
  pthread_join(thread, 0);
  uint64 head = call(sys_trace_control, TRACE_HEAD, 0, 0, 0);
  if (head != emitted + interrupts + 2) // and two of TRACE_MASK
    fail("emissions not in head", emitted + interrupts + 2 - head);
  if (read + cursor.lost != head || cursor.position != head)
    fail("records neither read nor lost", head - read - cursor.lost);
  printf("%lu emitted, %lu of them in interrupts, %lu read, %lu lost\n", head, interrupts, read, cursor.lost);
  return 0;
}
