// usertests: exec with arguments right and wrong. echo, wc and cat stand for any program; what they print is checked in
// a file. Broken program files are in usertests_elf.c.
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"

static char *const *exec_argv;

static void run_into(uint64 path) {
  close(1);
  WANT(open("out", O_CREATE | O_TRUNC | O_RDWR), 1);
  exec((char *)path, (char **)exec_argv);
  exit(99);
}

// Runs path with argv, its output in the file out. Returns its status, 99 if exec failed.
static int run(const char *path, char *const *argv) {
  exec_argv = argv;
  return finish(start(run_into, (uint64)path));
}

static void want_output(const char *text) {
  int fd = open("out", O_RDONLY), n = strlen(text);
  CHECK(fd >= 0);
  WANT(read(fd, work, 10000), n);
  WANT(memcmp(work, text, n), 0);
  close(fd);
  WANT(unlink("out"), 0);
}

// Arguments arrive as given: none, empty ones, the most there can be, and long ones.
static void exec_arguments(void) {
  static char *two[] = {"echo", "hello", "world", 0}, *empty[] = {"echo", "", "b", "", 0}, *none[] = {"echo", 0};
  static char *most[MAXARG + 2], text[2 * MAXARG + 2];
  WANT(run("/echo", two), 0);
  want_output("hello world\n");
  WANT(run("/echo", empty), 0);
  want_output(" b \n");
  WANT(run("../echo", none), 0);
  unlink("out"); // some echo prints a line, some nothing
  most[0] = "echo";
  for (int i = 1; i < MAXARG; i++) {
    most[i] = "z";
    text[2 * i - 2] = 'z';
    text[2 * i - 1] = ' ';
  }
  int count = MAXARG;
  if (run("/echo", most) == 99) { // the limit may include the final 0
    unlink("out");
    most[--count] = 0;
    WANT(run("/echo", most), 0);
  }
  strcpy(text + 2 * count - 3, "\n");
  want_output(text);
}

// Too many arguments, or more than fits in the new stack: -1, and the caller goes on.
static void exec_too_much(void) {
  static char *many[MAXARG + 3], *large[MAXARG + 1];
  static char long_one[2 * PAGE], half[PAGE / 8];
  for (int i = 0; i < MAXARG + 2; i++)
    many[i] = "x";
  FAILS(exec("/echo", many));
  memset(long_one, 'y', sizeof(long_one) - 1);
  char *lone[] = {"echo", long_one, 0};
  FAILS(exec("/echo", lone));
  memset(half, 'y', sizeof(half) - 1);
  for (int i = 0; i < MAXARG - 2; i++)
    large[i] = half;
  FAILS(exec("/echo", large));
  // Up to and past what the stack holds: it fits and leaves the program room to run, or it is refused.
  int fitted = 0;
  for (int n = PAGE - 1400; n < (int)PAGE + 16; n += 24) {
    long_one[n] = 0;
    int status = run("/echo", lone);
    CHECK(status == 0 || status == 99 || status == -1); // -1: so little was left that echo ran out of stack
    fitted += status == 0;
    if (status == 0)
      WANT(file_size("out"), n + 1);
    long_one[n] = 'y';
  }
  CHECK(fitted > 0);
  unlink("out");
}

static void exec_pointers(void) {
  char *end = memory_end();
  char *fine[] = {"echo", 0}, *bad[] = {"echo", 0, 0};
  for (int i = 0; forbidden[i]; i++) {
    FAILS(exec((char *)forbidden[i], fine));
    FAILS(exec("/echo", (char **)forbidden[i]));
    bad[1] = (char *)forbidden[i];
    FAILS(exec("/echo", bad));
  }
  bad[1] = end;
  FAILS(exec("/echo", bad));
  memset(end - 8, 'e', 8);
  bad[1] = end - 8; // no terminator before memory ends
  FAILS(exec("/echo", bad));
  FAILS(exec(end - 8, fine));
  char **cut = (char **)(end - sizeof(char *));
  *cut = "echo"; // the array has no final 0 before memory ends
  FAILS(exec("/echo", cut));
}

static void exec_refused(void) {
  char *argv[] = {"x", 0};
  FAILS(exec("missing", argv));
  FAILS(exec("/", argv));
  FAILS(exec("/missing/echo", argv));
  WANT(mknod("node", 1, 1), 0);
  WANT(mkdir("d"), 0);
  put_file("plain", 3000, 1);
  put_file("tiny", 3, 1);
  close(open("empty", O_CREATE | O_RDWR));
  FAILS(exec("d", argv));
  FAILS(exec("plain", argv));
  FAILS(exec("tiny", argv));
  FAILS(exec("empty", argv));
  FAILS(exec("node/x", argv));
  unlink("node");
  unlink("d");
  unlink("plain");
  unlink("tiny");
  unlink("empty");
}

// Descriptors, the current directory and the pid stay across exec; memory and its size are new.
static void exec_keeps(void) {
  int fds[2];
  char *argv[] = {"wc", "here", 0};
  put_file("here", 10, 1);
  WANT(pipe(fds), 0);
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(sbrk(1000 * PAGE) != SBRK_ERROR);
    close(1);
    WANT(dup(fds[1]), 1);
    close(fds[0]);
    close(fds[1]);
    exec("/wc", argv);
    exit(99);
  }
  close(fds[1]);
  int got = 0, n;
  while ((n = read(fds[0], work + got, 100)) > 0)
    got += n;
  close(fds[0]);
  WANT(finish(pid), 0);
  CHECK(got > 8 && memcmp(work + got - 5, "here\n", 5) == 0);
  unlink("here");
}

// Over and over, in several processes at once; an unfinished one is killed.
static void exec_often(uint64 unused) {
  static char *argv[] = {"echo", "again", 0};
  (void)unused;
  close(1);
  for (int i = 0; i < 10; i++) {
    int pid = fork();
    if (pid == 0) {
      exec("/echo", argv);
      exit(99);
    }
    if (i % 3 == 0)
      kill(pid);
    wait(0);
  }
}

static void exec_many(void) {
  for (int i = 0; i < 5; i++)
    start(exec_often, 0);
  finish_all(5);
}

// A program file that is written, replaced or removed while it is being run: exec sees a program or fails.
static void copy_echo(const char *name) {
  int in = open("/echo", O_RDONLY), out = open(name, O_CREATE | O_TRUNC | O_RDWR), n;
  CHECK(in >= 0 && out >= 0);
  while ((n = read(in, work, 4096)) > 0)
    WANT(write(out, work, n), n);
  close(in);
  close(out);
}

static void replace_program(uint64 unused) {
  (void)unused;
  for (int i = 0; i < 6; i++) {
    unlink("prog");
    copy_echo("prog");
  }
}

static void exec_replaced(void) {
  static char *argv[] = {"prog", "x", 0};
  copy_echo("prog");
  int writer = start(replace_program, 0), ended = 0;
  for (int i = 0; i < 12; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      close(1);
      exec("prog", argv);
      exit(99);
    }
    int status, reaped;
    do {
      reaped = wait(&status); // a program cut short may die of it: any status is right for it
      if (reaped == writer) {
        WANT(status, 0);
        ended = 1;
      }
    } while (reaped != pid);
  }
  if (!ended)
    WANT(finish(writer), 0);
  WANT(run("prog", argv), 0);
  want_output("x\n");
  unlink("prog");
}

const struct test exec_tests[] = {
    {"exec_arguments", exec_arguments, 0}, {"exec_too_much", exec_too_much, 0},
    {"exec_pointers", exec_pointers, 0},   {"exec_refused", exec_refused, 0},
    {"exec_keeps", exec_keeps, 0},         {"exec_many", exec_many, 0},
    {"exec_replaced", exec_replaced, 1},   {0, 0, 0},
};
