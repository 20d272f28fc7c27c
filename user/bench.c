// The benchmark program: what an operation costs, in this kernel or in any xv6-riscv tree. It runs as /init of an image
// made for it; an instruction counter outside the guest watches for its marks.
// Relies on user/bench.h, which names what it needs of a tree.
#include "user/bench.h"

#define ROUNDS 7

// Counts `times` runs of the statement, ROUNDS times over, after two runs that fill the caches. The counter divides by
// the number it is told in the line.
#define MEASURE(id, name, times, statement)                                                                            \
  do {                                                                                                                 \
    printf("bench: %d %s %d\n", id, name, times);                                                                      \
    for (int i = 0; i < 2; i++) {                                                                                      \
      statement;                                                                                                       \
    }                                                                                                                  \
    for (int round = 0; round < ROUNDS; round++) {                                                                     \
      MARK_START(id);                                                                                                  \
      for (int i = 0; i < (times); i++) {                                                                              \
        statement;                                                                                                     \
      }                                                                                                                \
      MARK_STOP(id);                                                                                                   \
    }                                                                                                                  \
  } while (0)

static void fork_exec(void) {
  char *argv[] = {"init", "exit", 0};
  int pid = fork();
  if (pid == 0) {
    exec("/init", argv);
    exit(1);
  }
  int status;
  if (pid < 0 || wait(&status) != pid || status != 0)
    fail("exec");
}

static void touch(int pages) {
  char *p = sbrk(pages * PAGE);
  if (p == (char *)-1)
    fail("sbrk");
  for (int i = 0; i < pages; i++)
    p[i * PAGE] = 1;
  sbrk(-pages * PAGE);
}

static void processes(void) {
  MEASURE(1, "getpid", 200, getpid());
  MEASURE(2, "forkexit", 10, fork_exit());
  MEASURE(3, "forkexec", 5, fork_exec());
  MEASURE(4, "sbrk1_touch", 50, touch(1));
  MEASURE(5, "sbrk256_touch", 3, touch(256));
}

static void pipes(void) {
  int there[2], back[2];
  if (pipe(there) < 0 || pipe(back) < 0)
    fail("pipe");
  int pid = fork();
  if (pid == 0) {
    while (read(there[0], buffer, 1) == 1 && *buffer != 'q')
      write(back[1], buffer, 1);
    exit(0);
  }
  *buffer = 'x';
  MEASURE(6, "pipe_rtt", 50, {
    write(there[1], buffer, 1);
    read(back[0], buffer, 1);
  });
  *buffer = 'q';
  write(there[1], buffer, 1);
  wait(0);
  for (int i = 0; i < 2; i++) {
    close(there[i]);
    close(back[i]);
  }
}

static void files(void) {
  close(open_or_fail("there", O_CREATE | O_RDWR));
  MEASURE(7, "openclose", 20, close(open_or_fail("there", O_RDONLY)));

  // one file made and removed a time, counted apart
  printf("bench: 8 create 1\nbench: 9 write4k 1\nbench: 10 read4k_cached 1\nbench: 11 unlink 1\n");
  for (int round = 0; round < ROUNDS + 2; round++) {
    MARK_START(8);
    int fd = open("new", O_CREATE | O_RDWR);
    MARK_STOP(8);
    MARK_START(9);
    int n = write(fd, buffer, PAGE);
    MARK_STOP(9);
    close(fd);
    fd = open_or_fail("new", O_RDONLY);
    MARK_START(10);
    n += read(fd, buffer, PAGE);
    MARK_STOP(10);
    close(fd);
    MARK_START(11);
    n += unlink("new");
    MARK_STOP(11);
    if (fd < 0 || n != 2 * PAGE)
      fail("files");
  }
}

#ifdef BENCH_SHARE
// The pages are a child's, since init shares with nobody; its own child maps them.
static void sharing(void) {
  if (fork() > 0) {
    wait(0);
    return;
  }
  int owner = getpid();
  char *area = sbrk(256 * PAGE);
  memset(area, 1, 256 * PAGE);
  if (fork() == 0) {
    int me = getpid();
    MEASURE(12, "share1", 20, share_once(owner, me, area, 1));
    MEASURE(13, "share16", 20, share_once(owner, me, area, 16));
    MEASURE(14, "share256", 5, share_once(owner, me, area, 256));
    exit(0);
  }
  wait(0);
  exit(0);
}
#endif

#ifdef BENCH_GLASS
#define LARGE (68 * 1024)

static void crypto(void) {
  struct crypto_op *op = malloc(sizeof(*op) + 6 + LARGE);
  memset(op, 7, sizeof(*op) + 6 + LARGE);
  MEASURE(15, "crypto64", 20, request(op, 64));
  MEASURE(16, "crypto4k", 5, request(op, 4096));
  MEASURE(17, "crypto68k", 3, request(op, LARGE));
  free(op);
}

// What one request records with every event on: "bench: emitted EVENT RECORDS ARGUMENTS".
static void count_events(struct crypto_op *op) {
  static struct trace_record records[64];
  int times[TRACE_EVENT_COUNT] = {0};
  struct trace_cursor cursor = {.position = trace_control(TRACE_HEAD, 0)};
  request(op, 64);
  trace_control(TRACE_SET_MASK, 0);
  int n = trace_read(0, &cursor, records, 64);
  for (struct trace_record *r = records; r < records + n; r++) {
    int is_call = r->event == TRACE_SYS_ENTER || r->event == TRACE_SYS_EXIT;
    if (r->event != TRACE_MASK && !(is_call && r->args[0] == SYS_trace_control))
      times[r->event]++;
  }
#define X(id, constant, name, category, flags, count, arguments)                                                       \
  if (times[id])                                                                                                       \
    printf("bench: emitted %s %d %d\n", name, times[id], count);
  TRACE_EVENTS(X)
#undef X
}

// The work of one request with every event on and with none; of a system call with the event of its end, and then also
// that of its beginning, whose five arguments make it the dearest there is.
static void tracing(void) {
  uint64 mask = trace_control(TRACE_GET_MASK, 0);
  trace_control(TRACE_SET_MASK, 0);
  struct crypto_op *op = malloc(sizeof(*op) + 6 + 64);
  memset(op, 7, sizeof(*op) + 6 + 64);
  MEASURE(18, "crypto64_untraced", 20, request(op, 64));
  trace_control(TRACE_SET_MASK, ~0UL);
  MEASURE(20, "crypto64_all_traced", 20, request(op, 64));
  count_events(op);
  trace_control(TRACE_SET_MASK, 1UL << TRACE_SYS_EXIT);
  MEASURE(19, "getpid_one_event", 200, getpid());
  trace_control(TRACE_SET_MASK, 1UL << TRACE_SYS_EXIT | 1UL << TRACE_SYS_ENTER);
  MEASURE(21, "getpid_two_events", 200, getpid());
  trace_control(TRACE_SET_MASK, mask);
  free(op);
}
#endif

int main(int argc, char *argv[]) {
  if (argc > 1 && strcmp(argv[1], "exit") == 0)
    return 0;
  if (getpid() == 1)
    open_console();
  processes();
  pipes();
  files();
#ifdef BENCH_SHARE
  sharing();
#endif
#ifdef BENCH_GLASS
  crypto();
  tracing();
#endif
  return done();
}
