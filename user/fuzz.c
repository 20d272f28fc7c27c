// fuzz: random system calls with nasty arguments, by many processes that share memory everywhere.
// usage: fuzz SEED CALLS [WORKERS]
//
// Three processes stand apart: this one owns the shared pages; its child, the foreman, keeps so many workers at work
// and starts another when one ends; the watchman kills who has made no call for a while, since most calls that wait
// may wait for ever here. Every choice of a process follows from its own number, which is in its slot, and that from
// the seed, the place and the generation of the worker, or from the parent's choices: only who runs when is left to
// chance. Ends with status 0 if all frames and processes have come back.
#include "kernel/types.h"
#include "kernel/crypto.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"
#include "kernel/memlayout.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/syscall.h"
#include "user/dice.h"
#include "user/fuzz.h"
#include "user/sweep.h"
#include "user/user.h"

#define HOME "/fuzz.d"
#define WORKERS 24
#define CHILD_CALLS 60 // a worker's own children make so many calls
#define WORKER_CALLS 4000
#define LOOKS 1          // of the watchman, in a row, without a call in between: the process is killed
#define SETTLE_TICKS 300 // how long orphans may take to go

static uchar area[FUZZ_PAGES * PGSIZE] __attribute__((aligned(PGSIZE))); // shared; struct fuzz_shared is its first part
struct fuzz_shared *shared;                                              // where this process sees it

static uint64 free_frames(void) {
  struct meminfo m;
  return meminfo(&m) < 0 ? 0 : m.free;
}

static int processes(void) {
  static struct procinfo rows[NPROC];
  return procinfo(rows, NPROC);
}

static uint64 calls_made(void) {
  return __atomic_load_n(&shared->made, __ATOMIC_RELAXED);
}

// A slot for a process that a worker has forked, behind those that the workers have by their place; 0 if all are taken.
static struct fuzz_slot *take_slot(void) {
  int pid = getpid();
  for (struct fuzz_slot *s = shared->slot + shared->workers; s < shared->slot + FUZZ_SLOTS; s++) {
    int none = 0;
    if (__atomic_compare_exchange_n(&s->pid, &none, pid, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return s;
  }
  return 0;
}

static void begin(struct fuzz_slot *mine, uint64 number) {
  mine->number = dice_state = number;
  mine->count = 0;
}

// What a worker does from its first call on, and each process that it forks.
static void work(struct fuzz_slot *mine, int calls) {
  for (int i = 0; i < calls && !__atomic_load_n(&shared->stop, __ATOMIC_RELAXED); i++) {
    __atomic_fetch_add(&mine->count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&shared->made, 1, __ATOMIC_RELAXED);
    if (random_call(mine) != FORKED)
      continue;
    if ((mine = take_slot()) == 0)
      exit(0);
    begin(mine, dice_state + 1); // the parent's stays as it is
    i = calls - CHILD_CALLS;
  }
  mine->pid = 0;
  exit(0);
}

static int start_worker(uint64 seed, int place, int generation) {
  int pid = fork();
  if (pid == 0) {
    for (int fd = 0; fd < 3; fd++)
      close(fd); // the console is not ours to read
    struct fuzz_slot *mine = &shared->slot[place];
    mine->pid = getpid();
    begin(mine, (seed * 1000003 + place) * 1000003 + generation);
    work(mine, WORKER_CALLS);
  }
  return pid;
}

// Kills all that has been started since the foreman; how many were left.
static int kill_all(void) {
  static struct procinfo rows[NPROC];
  int n = procinfo(rows, NPROC), left = 0;
  for (int i = 0; i < n; i++)
    if (rows[i].pid > shared->foreman && rows[i].pid != shared->watchman && kill(rows[i].pid) == 0)
      left++;
  return left;
}

// Kills whom it has seen LOOKS times in a row with the count it had before; in the end all.
static void watch(void) {
  static uint64 last[FUZZ_SLOTS];
  static int same[FUZZ_SLOTS];
  while (!shared->stop) {
    sleep(1);
    for (int i = 0; i < FUZZ_SLOTS; i++) {
      struct fuzz_slot *s = &shared->slot[i];
      int pid = s->pid;
      uint64 count = s->count;
      same[i] = pid && count == last[i] ? same[i] + 1 : 0;
      last[i] = count;
      if (same[i] >= LOOKS && kill(pid) < 0)
        __atomic_compare_exchange_n(&s->pid, &pid, 0, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED); // it had gone already
    }
  }
  while (kill_all() > 0)
    sleep(1);
  exit(0);
}

static void foreman(int owner, uint64 seed, uint64 calls, int workers) {
  int pids[FUZZ_SLOTS], generation[FUZZ_SLOTS] = {0};
  uint64 va = map_shared_pages(owner, getpid(), (uint64)area, sizeof(area));
  if (va == ~0UL || sbrklazy(FUZZ_OWN * PGSIZE) == SBRK_ERROR)
    exit(2);
  shared = (struct fuzz_shared *)va;
  shared->owner = owner;
  shared->foreman = getpid();
  shared->workers = workers;
  int watchman = fork();
  if (watchman == 0)
    watch();
  shared->watchman = watchman;
  for (int i = 0; i < workers; i++)
    pids[i] = start_worker(seed, i, 0);
  while (calls_made() < calls) {
    int pid = wait(0), i = 0;
    while (i < workers && pids[i] != pid)
      i++;
    if (pid < 0)
      sleep(1);
    for (int j = 0; j < workers; j++)
      if (j == i || pids[j] < 0) // gone, or not begun for want of memory
        pids[j] = start_worker(seed, j, ++generation[j]);
  }
  shared->stop = 1;
  while (wait(0) > 0)
    ;
  exit(0);
}

static int run(uint64 seed, uint64 calls, int workers) {
  int owner = getpid(), status;
  char *top = sbrk(0);
  uint64 frames = free_frames(), mask = trace_control(0, 0);
  int lives = processes();
  shared = (struct fuzz_shared *)area;
  int pid = fork();
  if (pid == 0)
    foreman(owner, seed, calls, workers);
  if (pid < 0 || wait(&status) != pid || status != 0) {
    printf("fuzz: the foreman ended with status %d\n", pid < 0 ? -1 : status);
    return 1;
  }
  if (shared->disturbed) {
    printf("fuzz: %lu calls changed what decides the run\n", shared->disturbed);
    return 1;
  }
  trace_control(1, mask);
  chdir(HOME);
  sweep();
  sbrk(-(int)(sbrk(0) - top)); // what workers mapped into this process
  for (int tick = 0; free_frames() < frames || processes() > lives; tick++) {
    if (tick == SETTLE_TICKS) {
      printf("fuzz: %d frames lost, %d processes more\n", (int)(frames - free_frames()), processes() - lives);
      return 1;
    }
    sleep(1);
  }
  return 0;
}

int main(int argc, char *argv[]) {
  int seed = argc > 1 ? atoi(argv[1]) : 0, calls = argc > 2 ? atoi(argv[2]) : 0;
  int workers = argc > 3 ? atoi(argv[3]) : WORKERS;
  if (argc < 3 || argc > 4 || calls < 1 || workers < 1 || workers > FUZZ_SLOTS / 2) {
    fprintf(2, "usage: fuzz SEED CALLS [WORKERS]\n");
    return 2;
  }
  const char *missing = call_without_grammar();
  if (missing) {
    fprintf(2, "fuzz: no grammar for the arguments of %s\n", missing);
    return 2;
  }
  mkdir(HOME);
  if (chdir(HOME) < 0) {
    fprintf(2, "fuzz: cannot make %s\n", HOME);
    return 2;
  }
  sweep();
  close(open("keep", O_CREATE | O_RDWR)); // so that nobody can remove the directory
  memset(area, 0, sizeof(area));
  int result = run(seed, calls, workers);
  chdir("/");
  unlink(HOME);
  printf("fuzz: seed %d: %lu calls, %lu gave a result\n", seed, shared->made, shared->good);
  if (result == 0)
    printf("fuzz: OK\n");
  return result;
}
