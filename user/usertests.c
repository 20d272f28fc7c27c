// usertests: what programs may count on from the kernel, a test at a time. This file holds the driver and the helpers
// of usertests.h; the tests are in usertests_*.c. Relies on fork, wait and meminfo to judge them.
#include "user/usertests.h"
#include "user/sweep.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"
#include "kernel/stat.h"

#define SETTLE_TICKS 100 // how long orphans may take to go
#define SANDBOX "/usertests.d"

static const struct test *const groups[] = {memory_tests,   lazy_tests,   cow_tests,     process_tests, kill_tests,
                                            pipe_tests,     file_tests,   dir_tests,     race_tests,    limit_tests,
                                            exec_tests,     elf_tests,    pointer_tests, shm_tests,     shm_rule_tests,
                                            shm_life_tests, crypto_tests, fp_tests,      scarce_tests,  0};

uchar work[WORK_BYTES];
int parent;

const uint64 forbidden[] = {
    MAXVA,              // one past the last user page
    MAXVA + PAGE,       // Sv39's hole, where bit 38 is not extended
    1UL << 39,          // bits a walk would drop
    (1UL << 39) + PAGE, // the same, landing on text
    0x8000000000000000, // a canonical address of a wider mode
    0xffffffbffffff000, // last page of the hole
    0xffffffc000000000, // first page of the kernel's half
    0xffffffc080000000, // where a direct map may hold RAM
    0xffffffff80000000, // where a kernel may be linked
    0xfffffffffffff000,
    ~7UL,
    ~0UL,
    0,
};

void want_equal(const char *file, int line, const char *text, long got, long want) {
  if (got == want)
    return;
  printf("%s:%d: %s is %ld, not %ld\n", file, line, text, got, want);
  exit(1);
}

int start(body run, uint64 argument) {
  int pid = fork();
  if (pid < 0)
    FAIL("fork failed");
  if (pid == 0) {
    run(argument);
    exit(0);
  }
  return pid;
}

int finish(int pid) {
  int status;
  int reaped = wait(&status);
  if (reaped != pid)
    FAIL("wait returned %d instead of child %d", reaped, pid);
  return status;
}

void finish_all(int count) {
  for (int i = 0; i < count; i++) {
    int status;
    int reaped = wait(&status);
    if (reaped < 0)
      FAIL("%d of %d children are missing", count - i, count);
    if (status != 0)
      FAIL("child %d ended with status %d", reaped, status);
  }
}

void must_live(body run, uint64 argument) {
  int status = finish(start(run, argument));
  if (status != 0)
    FAIL("argument 0x%lx: child ended with status %d", argument, status);
}

void must_die(body run, uint64 argument) {
  int status = finish(start(run, argument));
  if (status != -1)
    FAIL("argument 0x%lx: child was not killed but ended with status %d", argument, status);
}

void with_child(body run, uint64 argument) {
  parent = getpid();
  must_live(run, argument);
}

void load_from(uint64 address) {
  (void)*(volatile uchar *)address;
}

void store_to(uint64 address) {
  *(volatile uchar *)address = 0x55;
}

void jump_to(uint64 address) {
  ((void (*)(void))address)();
}

static uchar pattern(uint64 offset, uint seed) {
  return (offset * 167 + (offset >> 8) * 13 + (offset >> 16) + seed * 29) & 0xff;
}

void fill(void *buffer, uint64 bytes, uint seed) {
  uchar *b = buffer;
  for (uint64 i = 0; i < bytes; i++)
    b[i] = pattern(i, seed);
}

long differs(const void *buffer, uint64 bytes, uint seed) {
  const uchar *b = buffer;
  for (uint64 i = 0; i < bytes; i++)
    if (b[i] != pattern(i, seed))
      return i;
  return -1;
}

void put_file(const char *name, uint64 bytes, uint seed) {
  CHECK(bytes <= sizeof(work));
  int fd = open(name, O_CREATE | O_TRUNC | O_WRONLY);
  if (fd < 0)
    FAIL("cannot create %s", name);
  fill(work, bytes, seed);
  WANT(write(fd, work, bytes), bytes);
  WANT(close(fd), 0);
}

void want_file(const char *name, uint64 bytes, uint seed) {
  CHECK(bytes < sizeof(work));
  int fd = open(name, O_RDONLY);
  if (fd < 0)
    FAIL("cannot open %s", name);
  uint64 got = 0;
  int n;
  while (got <= bytes && (n = read(fd, work + got, bytes + 1 - got)) > 0)
    got += n;
  if (got != bytes)
    FAIL("%s holds %d bytes (or more), not %d", name, (int)got, (int)bytes);
  long at = differs(work, bytes, seed);
  if (at >= 0)
    FAIL("%s differs at byte %d", name, (int)at);
  close(fd);
}

uint64 file_size(const char *name) {
  struct stat st;
  if (stat(name, &st) < 0)
    FAIL("cannot stat %s", name);
  return st.size;
}

uint64 free_frames(void) {
  struct meminfo m;
  if (meminfo(&m) < 0)
    FAIL("meminfo failed");
  return m.free;
}

char *memory_end(void) {
  char *base = sbrk(0);
  uint64 end = PGROUNDUP(base) + PAGE;
  CHECK(sbrk((int)(end - (uint64)base)) == base);
  return (char *)end;
}

int processes(void) {
  static struct procinfo rows[NPROC];
  int n = procinfo(rows, NPROC);
  if (n < 0)
    FAIL("procinfo failed");
  return n;
}

// True when no more than a moment passes until there are as many free frames and as few processes as before.
static int settled(uint64 frames, int lives) {
  for (int tick = 0; free_frames() < frames || processes() > lives; tick++) {
    if (tick == SETTLE_TICKS)
      return 0;
    sleep(1);
  }
  return 1;
}

// Runs one test in a child and prints its line. Returns 1 if all of it was right.
static int judge(const struct test *t, int verbose) {
  if (verbose)
    printf("test %s\n", t->name);
  uint64 frames = free_frames();
  int lives = processes();
  int pid = fork();
  if (pid == 0) {
    if (chdir(SANDBOX) < 0)
      FAIL("cannot enter %s", SANDBOX);
    t->run();
    if (wait(0) >= 0)
      FAIL("a child was left behind");
    if (sweep() > 0)
      FAIL("files were left behind");
    exit(0);
  }
  int status = -1;
  if (pid < 0 || wait(&status) != pid) {
    printf("test %s: FAILED (fork or wait did)\n", t->name);
    return 0;
  }
  if (status != 0) {
    printf("test %s: FAILED (status %d)\n", t->name, status);
    if (chdir(SANDBOX) == 0)
      sweep();
    chdir("/");
    return 0;
  }
  if (!settled(frames, lives)) {
    int lost = frames - free_frames(), more = processes() - lives;
    printf("test %s: FAILED (%d frames lost, %d processes more)\n", t->name, lost, more);
    return 0;
  }
  printf("test %s: OK\n", t->name);
  return 1;
}

static int named(const struct test *t, char **names) {
  for (; *names; names++)
    if (strcmp(*names, t->name) == 0)
      return 1;
  return 0;
}

static const struct test *find(const char *name) {
  for (int g = 0; groups[g]; g++)
    for (const struct test *t = groups[g]; t->name; t++)
      if (strcmp(t->name, name) == 0)
        return t;
  return 0;
}

// Runs the tests that quick and names (all if empty) leave. Returns how many failed; they are listed at the end.
static int run_all(int quick, int verbose, char **names) {
  static const char *failed[256];
  int failures = 0;
  for (int g = 0; groups[g]; g++)
    for (const struct test *t = groups[g]; t->name; t++) {
      if (*names ? !named(t, names) : (quick && t->slow))
        continue;
      if (!judge(t, verbose) && failures < 256)
        failed[failures++] = t->name;
    }
  if (failures) {
    printf("%d TESTS FAILED:", failures);
    for (int i = 0; i < failures; i++)
      printf(" %s", failed[i]);
    printf("\n");
  } else {
    printf("ALL TESTS PASSED\n");
  }
  return failures;
}

static void list(void) {
  for (int g = 0; groups[g]; g++)
    for (const struct test *t = groups[g]; t->name; t++)
      printf("%s%s\n", t->name, t->slow ? " (slow)" : "");
}

int main(int argc, char *argv[]) {
  int quick = 0, verbose = 0, i;
  for (i = 1; i < argc && argv[i][0] == '-'; i++) {
    if (strcmp(argv[i], "-q") == 0) {
      quick = 1;
    } else if (strcmp(argv[i], "-v") == 0) {
      verbose = 1;
    } else if (strcmp(argv[i], "-l") == 0) {
      list();
      exit(0);
    } else {
      fprintf(2, "usage: usertests [-q] [-v] [-l] [NAME...]\n");
      exit(2);
    }
  }
  for (int n = i; n < argc; n++)
    if (!find(argv[n])) {
      fprintf(2, "usertests: no test is called %s\n", argv[n]);
      exit(2);
    }
  mkdir(SANDBOX);
  if (chdir(SANDBOX) < 0) {
    fprintf(2, "usertests: cannot make %s\n", SANDBOX);
    exit(2);
  }
  sweep(); // of an earlier run that did not end
  chdir("/");
  int failures = run_all(quick, verbose, argv + i);
  unlink(SANDBOX);
  exit(failures ? 1 : 0);
}
