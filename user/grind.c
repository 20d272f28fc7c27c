// grind: several processes make random system calls, good ones and bad ones, on the same few files, pipes and pages,
// round after round. Each process's choices follow from the seed alone. usage: grind [SEED [ROUNDS]]; without rounds
// for ever. Nothing a process does here waits for ever by itself, so a round that does not end is the kernel's fault,
// as is a status that is neither 0 nor -1 and a frame that does not come back.
#include "kernel/types.h"
#include "kernel/crypto.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/stat.h"
#include "kernel/syscall.h"
#include "user/dice.h"
#include "user/raw_call.h"
#include "user/sweep.h"
#include "user/user.h"

#define HOME "/grind.d"
#define WORKERS 4
#define CALLS 150        // by each worker in a round
#define SETTLE_TICKS 100 // how long orphans may take to go

static int home_pid;        // the process that runs the rounds
static uchar *shared_pages; // its two pages that workers map
static int fds[6];          // a worker's files, -1 where there is none
static uint64 mapped[4];    // a worker's mappings, 0 where there is none
static int grown;           // bytes a worker's heap has grown by

static const char *path(void) {
  static const char *const paths[] = {"a",
                                      "b",
                                      "c",
                                      "d",
                                      "d/a",
                                      "d/b",
                                      "d/e",
                                      "d/e/f",
                                      "../grind.d/a",
                                      "d/../b",
                                      "./c",
                                      "d/./a",
                                      "d/e/..",
                                      "d/e/../..",
                                      "/",
                                      "..",
                                      ".",
                                      "",
                                      "d/",
                                      "//grind.d//b",
                                      "missing/x",
                                      "averyveryverylongname"};
  return PICK(paths);
}

// Memory the worker has, at odd places, or one time in eight memory it has not.
static void *address(void) {
  static uchar area[3 * PGSIZE];
  static const uint64 nasty[] = {
      0,         1,          MAXVA - 8,          MAXVA,  1UL << 39, 0xffffffc080000000, ~0UL - 3,
      1UL << 63, 0x80000000, 0xffffffff80000000, 0x1000, ~0UL << 12};
  if (dice(8) == 0)
    return (void *)PICK(nasty);
  if (dice(8) == 0)
    return sbrk(0) - dice(64);
  return area + dice(2 * PGSIZE);
}

static int size(void) {
  static const int nasty[] = {-1, 0, 0x7fffffff, (int)0x80000000, 1 << 20, -4096};
  return dice(10) ? (int)dice(3000) : PICK(nasty);
}

static void keep(int fd) {
  if (fd < 0)
    return;
  int *slot = &PICK(fds);
  close(*slot);
  *slot = fd;
}

static void do_open(void) {
  static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_CREATE | O_RDWR, O_CREATE | O_WRONLY | O_TRUNC,
                              O_TRUNC,  -1};
  keep(open(path(), PICK(flags)));
}

static void do_close(void) {
  int *slot = &PICK(fds);
  close(*slot);
  *slot = -1;
}

static void do_dup(void) {
  keep(dup(PICK(fds)));
}

static void do_read(void) {
  read(PICK(fds), address(), size());
}

static void do_write(void) {
  write(PICK(fds), address(), size());
}

static void do_stat(void) {
  fstat(PICK(fds), address());
}

// What a worker makes is swept from HOME only.
static void leave_root(void) {
  struct stat here, root;
  if (stat("/", &root) == 0 && stat(".", &here) == 0 && here.ino == root.ino)
    chdir(HOME);
}

static void do_names(void) {
  switch (dice(6)) {
  case 0:
    link(path(), path());
    break;
  case 1:
    mkdir(path());
    break;
  case 2:
    chdir(path());
    leave_root();
    break;
  case 3:
    chdir(HOME);
    break;
  case 4:
    mknod(path(), dice(3) - 2, dice(100)); // never the console: reading it would wait
    break;
  default:
    unlink(path());
    break;
  }
}

static void do_break(void) {
  int n = dice(5) ? (int)dice(20 * PGSIZE) : 1 << (20 + dice(10));
  switch (dice(4)) {
  case 0:
    if (n < (1 << 22) && sbrk(n) != SBRK_ERROR)
      grown += n;
    break;
  case 1:
    if (n <= (1 << 25) && sbrklazy(n) != SBRK_ERROR) {
      grown += n;
      if (n > 0)
        *(volatile char *)(sbrk(0) - 1 - dice(n)) = 1;
    }
    break;
  case 2:
    if (grown > 0) {
      n = dice(grown) + 1;
      if (sbrk(-n) != SBRK_ERROR)
        grown -= n;
    }
    break;
  default:
    sbrk((int)0x80000000);
    break;
  }
}

// Through a pipe to a child and back is nothing that could wait for ever: the child ends in any case.
static void do_pipe(void) {
  int own[2], *where = dice(5) ? own : address();
  char byte;
  if (pipe(where) < 0)
    return;
  int ends[2] = {where[0], where[1]}; // what is read below may land on where
  int pid = fork();
  if (pid == 0) {
    close(ends[0]);
    write(ends[1], address(), size() % 2000);
    exit(0);
  }
  close(ends[1]);
  read(ends[0], address(), size());
  if (pid > 0 && dice(3) == 0)
    kill(pid);
  while (dice(20) && read(ends[0], &byte, 1) == 1)
    ;
  close(ends[0]);
  if (pid > 0)
    wait(dice(4) ? 0 : address());
}

static void do_fork(void) {
  static char *argv[] = {"echo", "x", 0};
  int pid = fork();
  if (pid == 0) {
    switch (dice(7)) {
    case 0:
      kill(getpid());
      break;
    case 1:
      *(volatile char *)(MAXVA - 8) = 1;
      break;
    case 2:
      if (fork() == 0)
        sleep(dice(2));
      break;
    case 3:
      close(1);
      open("a", O_CREATE | O_WRONLY);
      exec(dice(3) ? "/echo" : path(), dice(3) ? argv : address());
      break;
    case 4:
      sleep(100);
      break;
    default:
      break;
    }
    exit(0);
  }
  if (pid > 0 && dice(2))
    sleep(0);
  if (pid > 0)
    kill(pid);
  wait(0);
}

static void do_share(void) {
  static const uint64 sizes[] = {1, 16, PGSIZE, PGSIZE + 1, 2 * PGSIZE, 0, ~0UL, 1UL << 38};
  uint64 *slot = &PICK(mapped);
  uint64 got;
  switch (dice(5)) {
  case 0:
    if (*slot && unmap_shared_pages(getpid(), *slot, dice(2) ? 1 : 2 * PGSIZE) == 0)
      *slot = 0;
    break;
  case 1:
    got = map_shared_pages(dice(2) ? home_pid : (int)dice(100) - 2, getpid(), (uint64)address(), PICK(sizes));
    if (got != ~0UL)
      *slot = got;
    break;
  case 2:
    unmap_shared_pages(dice(3) ? getpid() : home_pid, (uint64)address(), PICK(sizes));
    break;
  default:
    got = map_shared_pages(home_pid, getpid(), (uint64)shared_pages + dice(PGSIZE), 1 + dice(PGSIZE));
    if (got == ~0UL)
      break;
    *slot = got;
    *(volatile uchar *)got = dice(256);
    break;
  }
}

static void do_crypto(void) {
  static uint64 request[64];
  struct crypto_op *op = (struct crypto_op *)request;
  if (dice(4) == 0) {
    crypto_op(address(), size());
    return;
  }
  op->type = dice(4);
  op->state = dice(5) ? CRYPTO_OP_STATE_INIT : dice(4);
  op->key_size = dice(6) ? 1 + dice(20) : ~0UL - dice(40);
  op->data_size = dice(6) ? dice(300) : (uint64)size();
  if (crypto_op(op, dice(6) ? (int)sizeof(request) : (int)dice(sizeof(request))) == 0 && dice(3))
    crypto_wait(op);
}

// Registers full of anything, for the calls that neither wait, nor touch the console, nor end the machine.
static void do_raw(void) {
  static const int numbers[] = {SYS_fstat,
                                SYS_chdir,
                                SYS_open,
                                SYS_unlink,
                                SYS_link,
                                SYS_mkdir,
                                SYS_exec,
                                SYS_sync,
                                SYS_crypto_op,
                                SYS_take_shared_memory_request,
                                SYS_remove_shared_memory_request,
                                SYS_map_shared_pages,
                                SYS_unmap_shared_pages,
                                SYS_fsync,
                                SYS_trace_mark,
                                SYS_trace_read,
                                SYS_procinfo,
                                SYS_meminfo,
                                0,
                                23,
                                1000};
  uint64 args[RAW_ARGS];
  for (int i = 0; i < RAW_ARGS; i++)
    switch (dice(5)) {
    case 0:
      args[i] = (uint64)address();
      break;
    case 1:
      args[i] = (uint64)path();
      break;
    case 2:
      args[i] = size();
      break;
    case 3:
      args[i] = dice(2) ? getpid() : home_pid;
      break;
    default:
      args[i] = (uint64)dice(0x80000000u) << dice(33);
      break;
    }
  raw_call(PICK(numbers), args);
  leave_root(); // it may have been chdir
}

static void do_small(void) {
  switch (dice(9)) {
  case 0:
    sleep(-(int)dice(1000));
    break;
  case 1:
    sleep(1);
    break;
  case 2:
    uptime();
    break;
  case 3:
    procinfo(address(), size());
    break;
  case 4:
    meminfo(address());
    break;
  case 5:
    kill(-(int)dice(10));
    break;
  case 6:
    wait(address()); // no children here
    break;
  case 7:
    fsync(PICK(fds));
    break;
  default:
    sync();
    break;
  }
}

static void (*const actions[])(void) = {do_open,  do_open,  do_close,  do_dup,   do_read,  do_read,  do_write, do_write,
                                        do_stat,  do_names, do_names,  do_names, do_break, do_break, do_pipe,  do_fork,
                                        do_share, do_share, do_crypto, do_small, do_raw,   do_raw};

static void work(uint64 seed) {
  dice_state = seed;
  for (uint i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
    fds[i] = -1;
  for (int i = 0; i < CALLS; i++)
    PICK(actions)();
}

static uint64 free_frames(void) {
  struct meminfo info;
  return meminfo(&info) < 0 ? 0 : info.free;
}

static void fail(uint64 seed, int round, const char *what, int value) {
  printf("grind: seed %lu round %d: %s %d\n", seed, round, what, value);
  exit(1);
}

// One round from its own seed, which prints with a failure and is enough to repeat it.
static void one_round(uint64 seed, int round) {
  uint64 before = free_frames();
  char *top = sbrk(0);
  int status;
  for (int i = 0; i < WORKERS; i++) {
    int pid = fork();
    if (pid < 0)
      fail(seed, round, "fork returned", pid);
    if (pid == 0) {
      work((seed * 1000003 + round) * WORKERS + i);
      exit(0);
    }
  }
  for (int i = 0; i < WORKERS; i++) {
    if (wait(&status) < 0)
      fail(seed, round, "children missing:", WORKERS - i);
    if (status != 0 && status != -1)
      fail(seed, round, "a child ended with status", status);
  }
  chdir(HOME);
  sweep();
  sbrk(-(int)(sbrk(0) - top)); // what workers mapped into this process
  for (int tick = 0; free_frames() < before; tick++) {
    if (tick == SETTLE_TICKS)
      fail(seed, round, "frames lost:", before - free_frames());
    sleep(1);
  }
}

int main(int argc, char *argv[]) {
  int seed = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 0;

  if (argc > 3 || (argc > 2 && rounds < 1)) {
    fprintf(2, "usage: grind [SEED [ROUNDS]]\n");
    exit(2);
  }
  mkdir(HOME);
  if (chdir(HOME) < 0) {
    fprintf(2, "grind: cannot make %s\n", HOME);
    exit(2);
  }
  sweep();
  home_pid = getpid();
  shared_pages = (uchar *)PGROUNDUP(sbrk(4 * PGSIZE));
  for (int round = 1; rounds == 0 || round <= rounds; round++) {
    one_round(seed, round);
    if (round % 10 == 0)
      printf("grind: seed %d, %d rounds\n", seed, round);
  }
  chdir("/");
  unlink(HOME);
  printf("grind: OK\n");
  return 0;
}
