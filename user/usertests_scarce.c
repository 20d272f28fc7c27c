// usertests: what still works, and what says no, when only a few frames are left. The same operations run with memory
// in plenty, then with 0, 1, 2 ... free frames, so that each allocation inside them is the one that fails once, then
// with plenty again. With few frames left an operation may be refused, or its process be killed; with plenty it may
// not.
#include "user/usertests.h"
#include "kernel/crypto.h"
#include "kernel/fcntl.h"

#define FEW 40 // frames with which everything works again

static uchar *shared; // a page that children map

// Each operation is whole (1), or refused (0).
static int op_fork(void) {
  int pid = fork();
  if (pid == 0)
    exit(0);
  return pid > 0 && finish(pid) == 0;
}

static int op_exec(void) {
  static char *argv[] = {"echo", "some", "arguments", 0};
  int pid = fork();
  if (pid == 0) {
    close(1);
    if (open("out", O_CREATE | O_TRUNC | O_RDWR) == 1)
      exec("/echo", argv);
    exit(1);
  }
  return pid > 0 && finish(pid) == 0;
}

static int op_pipe(void) {
  int fds[2];
  if (pipe(fds) < 0)
    return 0;
  int whole = write(fds[1], "0123456789", 10) == 10 && read(fds[0], work, 100) == 10;
  close(fds[0]);
  close(fds[1]);
  return whole;
}

static int op_file(void) {
  int fd = open("f", O_CREATE | O_RDWR);
  if (fd < 0)
    return 0;
  int whole = write(fd, work, 6000) == 6000;
  close(fd);
  return unlink("f") == 0 && whole;
}

static int op_grow(void) {
  char *base = sbrk(5 * PAGE);
  if (base == SBRK_ERROR)
    return 0;
  for (int i = 0; i < 5; i++)
    WANT(base[i * PAGE], 0);
  return sbrk(-5 * (int)PAGE) == base + 5 * PAGE;
}

static int op_share(void) {
  int owner = getpid(), pid = fork();
  if (pid == 0) {
    uint64 here = map_shared_pages(owner, getpid(), (uint64)shared + 5, 100);
    if (here == ~0UL)
      exit(1);
    *(uchar *)here = 's';
    exit(unmap_shared_pages(getpid(), here, 100) == 0 ? 0 : 2);
  }
  int status = pid > 0 ? finish(pid) : 1;
  CHECK(status != 2);
  return status == 0;
}

static int op_lazy(void) {
  int pid = fork();
  if (pid == 0) {
    char *base = sbrklazy(100 * PAGE);
    if (base == SBRK_ERROR)
      exit(1);
    for (int i = 0; i < 10; i++)
      base[i * 10 * PAGE] = i;
    exit(0);
  }
  return pid > 0 && finish(pid) == 0;
}

static int op_copy(void) {
  int pid = fork();
  if (pid == 0) {
    for (uint i = 0; i < sizeof(work); i += PAGE)
      work[i] = i;
    exit(0);
  }
  return pid > 0 && finish(pid) == 0;
}

static int (*const operations[])(void) = {op_fork, op_exec, op_pipe, op_file, op_grow, op_share, op_lazy, op_copy};
#define OPERATIONS (int)(sizeof(operations) / sizeof(operations[0]))

static void all_whole(const char *when) {
  for (int i = 0; i < OPERATIONS; i++)
    if (!operations[i]())
      FAIL("operation %d failed %s", i, when);
}

// For each byte that comes one process takes all memory and gives back 0, 1, 2 ... frames. Others wait for their turn
// with what is left: all were there before memory ran out, since who forks without a free frame may be killed at the
// next write to a page of its own.
static int to_hog[2], from_hog[2], turn[2];

static void take_all(void) {
  for (int step = 64 * (int)PAGE; step >= (int)PAGE; step /= 4)
    while (sbrk(step) != SBRK_ERROR)
      ;
}

static void hog(void) {
  char byte;
  close(to_hog[1]);
  for (int few = 0; read(to_hog[0], &byte, 1) == 1; few++) {
    take_all();
    CHECK(sbrk(-few * (int)PAGE) != SBRK_ERROR);
    WANT(write(from_hog[1], &byte, 1), 1);
  }
}

static void take_turn(void) {
  char byte;
  close(to_hog[1]);
  memset(work, 1, sizeof(work)); // its own pages from now on
  WANT(write(from_hog[1], &byte, 1), 1);
  WANT(read(turn[0], &byte, 1), 1);
  for (int i = 0; i < OPERATIONS; i++)
    operations[i]();
}

static void fork_into(void (*run)(void)) {
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    run();
    exit(0);
  }
}

static void scarce_frames(void) {
  char byte;
  shared = (uchar *)memory_end() - PAGE;
  WANT(pipe(to_hog), 0);
  WANT(pipe(from_hog), 0);
  WANT(pipe(turn), 0);
  all_whole("before");
  for (int i = 0; i < FEW; i++) {
    fork_into(take_turn);
    WANT(read(from_hog[0], &byte, 1), 1);
  }
  fork_into(hog);
  for (int i = 0; i < FEW; i++) {
    WANT(write(to_hog[1], &byte, 1), 1);
    WANT(read(from_hog[0], &byte, 1), 1);
    WANT(write(turn[1], &byte, 1), 1);
    CHECK(wait(0) > 0); // done or killed
  }
  close(to_hog[1]);
  finish_all(1);
  all_whole("afterwards");
  for (int i = 0; i < 2; i++) {
    close(from_hog[i]);
    close(turn[i]);
  }
  close(to_hog[0]);
  unlink("out");
  unlink("f");
}

// The same with a process table that has room for 0, 1, 2 ... more.
static int gate[2];

static void fill_table(void) {
  char byte;
  int pid;
  while ((pid = fork()) > 0)
    ;
  if (pid == 0) {
    close(gate[1]);
    read(gate[0], &byte, 1);
    exit(0);
  }
}

static void scarce_processes(void) {
  shared = (uchar *)memory_end() - PAGE;
  WANT(pipe(gate), 0);
  all_whole("before");
  fill_table();
  for (int i = 0; i < OPERATIONS; i++) // none of the processes there is one of theirs to wait for
    if (operations[i] == op_pipe || operations[i] == op_file || operations[i] == op_grow)
      CHECK(operations[i]());
    else
      CHECK(!operations[i]());
  close(gate[1]);
  close(gate[0]);
  while (wait(0) > 0)
    ;
  all_whole("afterwards");
  unlink("out");
}

// Crypto requests while the server finds no frame to map them with: refused, or answered; and the next is served.
static void crypto_when_full(uint64 unused) {
  (void)unused;
  struct crypto_op *op = (struct crypto_op *)(memory_end() - PAGE);
  take_all();
  for (int few = 0; few < 10; few++) {
    op->type = CRYPTO_OP_TYPE_ENCRYPT;
    op->state = CRYPTO_OP_STATE_INIT;
    op->key_size = 4;
    op->data_size = 100;
    if (crypto_op(op, sizeof(*op) + 104) == 0 && crypto_wait(op) == 0)
      CHECK(op->state != CRYPTO_OP_STATE_INIT);
    CHECK(sbrk(-(int)PAGE) != SBRK_ERROR);
  }
  op->state = CRYPTO_OP_STATE_INIT;
  WANT(crypto_op(op, sizeof(*op) + 104), 0);
  WANT(crypto_wait(op), 0);
  WANT(op->state, CRYPTO_OP_STATE_DONE);
}

static void scarce_crypto(void) {
  must_live(crypto_when_full, 0);
}

const struct test scarce_tests[] = {
    {"scarce_frames", scarce_frames, 1},
    {"scarce_processes", scarce_processes, 1},
    {"scarce_crypto", scarce_crypto, 1},
    {0, 0, 0},
};
