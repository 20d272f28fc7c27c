// The crypto queue and the frame allocator on the host, as they are, with threads for processes and harts.
//   core_host queue SEED ROUNDS     six clients, some killed in between, and a server that finishes, loses and dies
//   core_host frames SEED ROUNDS    six threads that allocate, share and free until memory is out and back
// Exit status 0: all was as it should be; the sanitizers and die() see to the rest.
#include "kernel/boot/boot.h"
#include "kernel/ipc/shmem_queue.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS 6
#define MEMORY (2UL << 20) // bytes of RAM: less than what the threads would hold
#define HOLD 128           // frames one of them holds at most

struct machine machine = {.memory_start = KERNBASE, .memory_end = KERNBASE + MEMORY};
static __thread struct cpu own_cpu;
__thread struct cpu *this_cpu;
static __thread uint64 state;
static struct proc clients[THREADS], server;
static uint rounds;
static int running;                 // clients that are not done; atomic
static uint64 answered, lost, gone; // atomic

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  abort();
}

void panic(const char *format, ...) {
  die("panic: %s", format);
}

static uint dice(uint sides) {
  state = state * 6364136223846793005 + 1442695040888963407;
  return (state >> 33) % sides;
}

void page_zero(void *p) {
  memset(p, 0, PGSIZE);
}
pte_t *walk(pagetable_t pagetable, uint64 va, int alloc) {
  (void)va;
  (void)alloc;
  die("a page table: %p", (void *)pagetable);
}

// ---- locks and sleeping: one mutex for all that sleep ----

void initlock(struct spinlock *lk, enum lock_rank rank) {
  *lk = (struct spinlock){.rank = rank};
}
void acquire(struct spinlock *lk) {
  while (__atomic_exchange_n(&lk->locked, 1, __ATOMIC_ACQUIRE))
    sched_yield();
}
void release(struct spinlock *lk) {
  __atomic_store_n(&lk->locked, 0, __ATOMIC_RELEASE);
  if (dice(8) == 0)
    sched_yield();
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct sleeper {
  void *chan;
  int woken;
  struct sleeper *next;
} * sleepers;

static int is_killed(struct proc *p) {
  return __atomic_load_n(&p->killed, __ATOMIC_SEQ_CST);
}

int sleep_killable(void *chan, struct spinlock *lk) {
  struct sleeper me = {.chan = chan};
  pthread_mutex_lock(&mutex);
  me.next = sleepers;
  sleepers = &me;
  release(lk);
  while (!me.woken && !is_killed(myproc()))
    pthread_cond_wait(&changed, &mutex);
  struct sleeper **at = &sleepers;
  while (*at != &me)
    at = &(*at)->next;
  *at = me.next;
  pthread_mutex_unlock(&mutex);
  acquire(lk);
  return is_killed(myproc()) ? -1 : 0;
}

void wakeup(void *chan) {
  pthread_mutex_lock(&mutex);
  for (struct sleeper *s = sleepers; s; s = s->next)
    if (s->chan == chan)
      s->woken = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
}

static void kill_thread(struct proc *p) {
  pthread_mutex_lock(&mutex);
  __atomic_store_n(&p->killed, 1, __ATOMIC_SEQ_CST);
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
}

// ---- the queue ----

static void *client(void *argument) {
  this_cpu = &own_cpu;
  struct proc *p = this_cpu->proc = argument;
  state = p->pid * 7919;
  for (uint i = 0; i < rounds; i++) {
    uint n = 1 + dice(6);
    for (uint k = 0; k < n && queue_add(0x1000 * (k + 1), 64) == 0; k++)
      if (dice(4) == 0)
        kill_thread(&clients[dice(THREADS)]);
    for (uint k = 0; k < n && dice(8); k++)
      __atomic_fetch_add(queue_wait(0x1000 * (k + 1)) == 0 ? &answered
                         : is_killed(p)                    ? &gone
                                                           : &lost,
                         1, __ATOMIC_RELAXED);
    if (is_killed(p) || dice(10) == 0) { // exit, and another program in the same slot
      queue_cancel(p);
      __atomic_store_n(&p->killed, 0, __ATOMIC_SEQ_CST);
    }
  }
  queue_cancel(p);
  if (__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST) == 0)
    kill_thread(&server);
  return 0;
}

static void *serve(void *argument) {
  this_cpu = &own_cpu;
  this_cpu->proc = argument;
  uint64 next = 0;
  struct shmem_service *s;
  while ((s = queue_take()) != 0) {
    if (s->request.number < next)
      die("request %lu is taken after %lu", s->request.number, next);
    next = s->request.number + 1;
    switch (dice(6)) {
    case 0:
      queue_lose(s, OUTCOME_REFUSED);
      break;
    case 1:
      queue_server_died(0);
      break;
    default:
      queue_finish(s, OUTCOME_SERVED);
    }
  }
  queue_server_died(1);
  return 0;
}

static void run_queue(void) {
  pthread_t threads[THREADS], servant;
  queue_init();
  server.pid = 2;
  running = THREADS;
  pthread_create(&servant, 0, serve, &server);
  for (int i = 0; i < THREADS; i++) {
    clients[i].pid = 3 + i;
    initlock(&clients[i].memory_lock, RANK_MEMORY);
    pthread_create(&threads[i], 0, client, &clients[i]);
  }
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], 0);
  pthread_join(servant, 0);
  if (shmem_queue.count || shmem_queue.in_line || shmem_queue.line || queue_add(0x1000, 64) != -1)
    die("something is left: %u in the queue, %u in line", shmem_queue.count, shmem_queue.in_line);
  for (int i = 0; i < THREADS; i++)
    if (clients[i].pins || clients[i].crypto.open)
      die("client %d: %d pins, %u open", i, clients[i].pins, clients[i].crypto.open);
  printf("%lu requests: %lu answered, %lu lost, %lu waits of the killed\n", shmem_queue.next_number, answered, lost,
         gone);
}

// ---- frames ----

static void drop(uint64 *frame, uint64 tag) {
  if (*frame != tag)
    die("frame %p has two owners", (void *)frame);
  if (dice(4) == 0) { // as if a second page table had it for a while
    frame_ref(pa_of(frame), ONE_SHARE);
    frame_unref(pa_of(frame), ONE_SHARE);
  }
  kfree(frame);
}

static void *allocate(void *argument) {
  uint64 *held[HOLD], tag = (uint64)argument;
  this_cpu = &own_cpu;
  uint n = 0;
  void *list[8];
  state = tag;
  for (uint i = 0; i < rounds * 100; i++) {
    if (n + 8 < HOLD && dice(2)) {
      uint want = 1 + dice(8);
      if (kalloc_reserve(list, want) == 0)
        for (uint k = 0; k < want; k++)
          *(held[n++] = list[k]) = tag;
    } else if (n > 0) {
      uint k = dice(n);
      drop(held[k], tag);
      held[k] = held[--n];
    }
  }
  while (n > 0)
    drop(held[--n], tag);
  return 0;
}

static void run_frames(void) {
  pthread_t threads[THREADS];
  if (mmap((void *)(DIRECT_MAP + KERNBASE), MEMORY, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
    die("no room for the guest's memory");
  kinit();
  uint32 before = kmem.nfree;
  for (uint64 i = 0; i < THREADS; i++)
    pthread_create(&threads[i], 0, allocate, (void *)(i + 1));
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], 0);
  if (kmem.nfree != before)
    die("%u frames are free, not %u", kmem.nfree, before);
  printf("%u frames free before and after\n", before);
}

int main(int argc, char **argv) {
  this_cpu = &own_cpu;
  if (argc != 4) {
    fprintf(stderr, "usage: core_host queue|frames SEED ROUNDS\n");
    return 2;
  }
  state = strtoul(argv[2], 0, 0);
  rounds = strtoul(argv[3], 0, 0);
  if (strcmp(argv[1], "queue") == 0)
    run_queue();
  else
    run_frames();
  return 0;
}
