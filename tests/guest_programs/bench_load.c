// What the benchmark measures of this kernel alone: how costs grow, what a crowd of clients gets, and what tracing adds
// to usertests. It runs as /init of an image on which a file named growth, throughput or ask_usertests says which.
#define BENCH_SHARE
#define BENCH_GLASS
#include "user/bench.h"

#define LARGEST 4096    // of a growth curve
#define GROWTH_ROUNDS 3 // a size
#define FILE_BLOCKS 256

// Counts the statement for n = 1, 4, 16 ... LARGEST, each after `before` and a run that fills the caches; then `after`.
// The counter's lines come in that order.
#define GROW(id, name, before, statement, after)                                                                       \
  do {                                                                                                                 \
    printf("bench: grow %d %s %d %d\n", id, name, LARGEST, GROWTH_ROUNDS);                                             \
    for (int n = 1; n <= LARGEST; n *= 4) {                                                                            \
      before;                                                                                                          \
      statement;                                                                                                       \
      for (int round = 0; round < GROWTH_ROUNDS; round++) {                                                            \
        MARK_START(id);                                                                                                \
        statement;                                                                                                     \
        MARK_STOP(id);                                                                                                 \
      }                                                                                                                \
      after;                                                                                                           \
    }                                                                                                                  \
  } while (0)

static void grow_by(int pages) {
  char *p = sbrk(pages * PAGE);
  for (int i = 0; i < pages; i++)
    p[i * PAGE] = 1;
}

// "DIRECTORY/NUMBER" in a buffer of its own.
static char *numbered(const char *directory, int number) {
  static char path[32];
  char *end = path + strlen(directory);
  strcpy(path, directory);
  *end++ = '/';
  int digits = 1;
  for (int rest = number; rest >= 10; rest /= 10)
    digits++;
  for (end[digits] = 0; digits > 0; number /= 10)
    end[--digits] = '0' + number % 10;
  return path;
}

static void make_files(const char *directory, int count, int blocks) {
  if (mkdir(directory) < 0)
    fail(directory);
  for (int i = 0; i < count; i++) {
    int fd = open_or_fail(numbered(directory, i), O_CREATE | O_RDWR);
    for (int n = 0; n < blocks; n += 4)
      if (write(fd, buffer, PAGE) != PAGE)
        fail("write");
    close(fd);
  }
}

// Reads n blocks of 1 KiB, a block a call, from files made before.
static void read_blocks(int n) {
  for (int file = 0; n > 0; file++) {
    int fd = open_or_fail(numbered("blocks", file), O_RDONLY);
    for (int i = 0; i < FILE_BLOCKS && n > 0; i++, n--)
      if (read(fd, buffer, 1024) != 1024)
        fail("read");
    close(fd);
  }
}

// Brings n inodes into the cache, which keeps the latest.
static void cache_inodes(int n) {
  for (int i = 0; i < n; i++)
    close(open_or_fail(numbered("inodes", i), O_RDONLY));
}

// The pages are a child's, since init shares with nobody; its own child maps them.
static void growing_maps(void) {
  if (fork() > 0) {
    wait(0);
    return;
  }
  int owner = getpid();
  char *area = sbrk(LARGEST * PAGE);
  memset(area, 1, LARGEST * PAGE);
  if (fork() == 0) {
    int me = getpid();
    GROW(22, "map", , share_once(owner, me, area, n), );
    exit(0);
  }
  wait(0);
  exit(0);
}

static void growth(void) {
  growing_maps();
  GROW(23, "fork", grow_by(n), fork_exit(), sbrk(-n * PAGE));
  make_files("blocks", LARGEST / FILE_BLOCKS, FILE_BLOCKS);
  GROW(24, "block", , read_blocks(n), );
  make_files("inodes", LARGEST, 0);
  close(open_or_fail("there", O_CREATE | O_RDWR));
  GROW(25, "inode", cache_inodes(n), close(open_or_fail("there", O_RDONLY)), );
}

#define CLIENTS 8
#define REQUESTS 1000 // of all clients together
#define THROUGHPUT_ROUNDS 5

// What a client does: makes up data, has it encrypted, and looks whether every byte came back right.
static void be_client(uint seed, int requests) {
  static const uchar key[6] = {1, 2, 3, 4, 5, 6};
  struct crypto_op *op = malloc(sizeof(*op) + sizeof(key) + PAGE);
  uchar *data = op->payload + sizeof(key);
  for (; requests > 0; requests--) {
    uint x = seed += requests;
    memcpy(op->payload, key, sizeof(key));
    for (int i = 0; i < PAGE; i++, x = x * 1664525 + 1013904223)
      data[i] = x >> 24;
    request(op, PAGE);
    x = seed;
    for (int i = 0, k = 0; i < PAGE; i++, x = x * 1664525 + 1013904223) {
      if (data[i] != (uchar)(x >> 24 ^ key[k]))
        fail("a wrong byte");
      k = k == sizeof(key) - 1 ? 0 : k + 1;
    }
  }
}

// Lets the clients loose together, each with its share of the requests. -> the ticks until all have ended.
static uint64 serve_clients(void) {
  int gate[2], ready[2]; // held shut until all are ready
  char c = 0;
  if (pipe(gate) < 0 || pipe(ready) < 0)
    fail("pipe");
  for (int i = 0; i < CLIENTS; i++) {
    if (fork() == 0) {
      close(gate[1]);
      write(ready[1], &c, 1);
      read(gate[0], &c, 1);
      be_client(i, REQUESTS / CLIENTS);
      exit(0);
    }
  }
  close(gate[0]);
  for (int i = 0; i < CLIENTS; i++)
    read(ready[0], &c, 1);
  close(ready[0]);
  close(ready[1]);
  uint64 start = trace_control(TRACE_NOW, 0);
  MARK_START(26);
  close(gate[1]);
  for (int i = 0; i < CLIENTS; i++)
    wait(0);
  MARK_STOP(26);
  return trace_control(TRACE_NOW, 0) - start;
}

static void throughput(void) {
  for (int round = 0; round < THROUGHPUT_ROUNDS; round++)
    printf("bench: ticks clients %d\n", (int)serve_clients());
}

static void run_usertests(uint64 mask) {
  char *argv[] = {"usertests", "-q", 0};
  int status, dead;
  uint64 before = trace_control(TRACE_GET_MASK, 0);
  int pid = fork();
  if (pid == 0) {
    trace_control(TRACE_SET_MASK, mask);
    exec("usertests", argv);
    exit(1);
  }
  while ((dead = wait(&status)) != pid) // orphans of its tests come here too
    if (dead < 0)
      fail("wait");
  if (status != 0)
    fail("usertests");
  trace_control(TRACE_SET_MASK, before);
}

// usertests by what is recorded: nothing, what is on from power-on, everything. A request comes first, so that the
// server has started: the frames it takes for that are not lost by the first test.
static void usertests(void) {
  uint64 mask = trace_control(TRACE_GET_MASK, 0);
  struct crypto_op *op = malloc(sizeof(*op) + 6 + 64);
  request(op, 64);
  free(op);
  printf("bench: 27 usertests_untraced 1\nbench: 28 usertests 1\nbench: 29 usertests_all_traced 1\n");
  MARK_START(27);
  run_usertests(0);
  MARK_STOP(27);
  MARK_START(28);
  run_usertests(mask);
  MARK_STOP(28);
  MARK_START(29);
  run_usertests(~0UL);
  MARK_STOP(29);
}

int main(void) {
  static const struct {
    const char *name;
    void (*run)(void);
  } parts[] = {{"growth", growth}, {"throughput", throughput}, {"ask_usertests", usertests}};
  struct stat st;
  open_console();
  for (int i = 0; i < 3; i++)
    if (stat(parts[i].name, &st) == 0)
      parts[i].run();
  return done();
}
