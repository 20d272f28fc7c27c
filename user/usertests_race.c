// usertests: several processes at the same names, files and directories at once. What is left is always one of the
// states that some order of the calls could have produced.
#include "user/dice.h"
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "kernel/stat.h"

#define RACERS 4

static void race(body run) {
  for (int i = 0; i < RACERS; i++)
    start(run, i);
  finish_all(RACERS);
}

static void make_same_names(uint64 racer) {
  char name[] = "same0";
  for (int i = 0; i < 60; i++) {
    name[4] = '0' + (i + racer) % 3;
    int fd = open(name, O_CREATE | O_RDWR);
    CHECK(fd >= 0);
    if (i % 2)
      WANT(write(fd, &racer, sizeof(racer)), sizeof(racer));
    close(fd);
    unlink(name);
  }
}

static void race_create(void) {
  struct stat st;
  race(make_same_names);
  FAILS(stat("same0", &st));
  FAILS(stat("same1", &st));
  FAILS(stat("same2", &st));
}

// Of those who make the same directory at the same time exactly one succeeds.
static int won;

static void count_wins(uint64 fd) {
  char mark = 'w';
  for (int i = 0; i < 20; i++) {
    char name[] = {'d', 'a' + i, 0};
    if (mkdir(name) == 0)
      write(fd, &mark, 1);
  }
}

static void race_mkdir(void) {
  int fds[2], n;
  WANT(pipe(fds), 0);
  for (int i = 0; i < RACERS; i++)
    start(count_wins, fds[1]);
  finish_all(RACERS);
  close(fds[1]);
  won = 0;
  while ((n = read(fds[0], work, 100)) > 0)
    won += n;
  close(fds[0]);
  WANT(won, 20);
  for (int i = 0; i < 20; i++) {
    char name[] = {'d', 'a' + i, 0};
    WANT(unlink(name), 0);
  }
}

static void write_own(uint64 racer) {
  char name[] = {'o', 'w', 'n', '0' + racer, 0};
  for (int i = 0; i < 4; i++) {
    put_file(name, 6000 + 700 * racer + i, 10 * racer + i);
    want_file(name, 6000 + 700 * racer + i, 10 * racer + i);
  }
  WANT(unlink(name), 0);
}

static void race_files(void) {
  race(write_own);
}

static void link_and_unlink(uint64 racer) {
  dice_state = racer + 5;
  for (int i = 0; i < 80; i++) {
    switch (dice(3)) {
    case 0:
      close(open("x", O_CREATE | O_RDWR));
      break;
    case 1:
      link("base", "x");
      break;
    default:
      unlink("x");
      break;
    }
  }
}

static void race_link(void) {
  struct stat st;
  put_file("base", 100, 1);
  race(link_and_unlink);
  unlink("x");
  WANT(stat("base", &st), 0);
  WANT(st.nlink, 1);
  want_file("base", 100, 1);
  unlink("base");
}

// Two that move up and down between directories take them in either order.
static void cross_link(uint64 racer) {
  const char *from = racer % 2 ? "p/f" : "q/f", *to = racer % 2 ? "q/g" : "p/g";
  for (int i = 0; i < 60; i++) {
    link(from, to);
    unlink(to);
    mkdir(racer % 2 ? "p/q" : "q/p");
    unlink(racer % 2 ? "p/q" : "q/p");
  }
}

static void race_cross(void) {
  struct stat st;
  WANT(mkdir("p"), 0);
  WANT(mkdir("q"), 0);
  put_file("p/f", 1, 1);
  put_file("q/f", 1, 1);
  race(cross_link);
  WANT(stat("p/f", &st), 0);
  WANT(st.nlink, 1);
  WANT(unlink("p/f"), 0);
  WANT(unlink("q/f"), 0);
  unlink("p/g");
  unlink("q/g");
  unlink("p/q");
  unlink("q/p");
  WANT(unlink("p"), 0);
  WANT(unlink("q"), 0);
}

static void truncate_or_write(uint64 racer) {
  for (int i = 0; i < 40; i++) {
    int fd = open("t", racer == 0 ? O_RDWR | O_TRUNC : O_RDWR);
    CHECK(fd >= 0);
    if (racer) {
      fill(work, 2000, 7);
      int n = write(fd, work, 2000);
      CHECK(n == 2000 || n == -1);
      n = read(fd, work, 2000);
      CHECK(n >= -1);
    }
    close(fd);
  }
}

static void race_truncate(void) {
  put_file("t", 2000, 7);
  race(truncate_or_write);
  CHECK(file_size("t") <= 4000);
  unlink("t");
}

// Entering, filling and removing the same directory.
static void in_and_out(uint64 racer) {
  char name[] = {'d', '/', 'f', '0' + racer, 0};
  for (int i = 0; i < 50; i++) {
    mkdir("d");
    if (racer % 2) {
      int fd = open(name, O_CREATE | O_RDWR);
      close(fd);
      unlink(name);
    } else if (chdir("d") == 0) {
      int fd = open(name + 2, O_CREATE | O_RDWR);
      close(fd);
      unlink(name + 2);
      WANT(chdir("/usertests.d"), 0);
    }
    unlink("d");
  }
}

static void race_remove_dir(void) {
  race(in_and_out);
  unlink("d");
  struct stat st;
  FAILS(stat("d", &st));
}

// Reads of a file that is written at the same time see each block old or new, nothing else.
static void write_versions(uint64 unused) {
  (void)unused;
  int fd;
  for (int version = 1; version <= 20; version++) {
    memset(work, version, 1024);
    CHECK((fd = open("v", O_WRONLY)) >= 0);
    WANT(write(fd, work, 1024), 1024);
    close(fd);
  }
}

static void read_versions(uint64 unused) {
  (void)unused;
  for (int i = 0; i < 60; i++) {
    int fd = open("v", O_RDONLY);
    CHECK(fd >= 0);
    WANT(read(fd, work, 1024), 1024);
    for (int j = 1; j < 1024; j++)
      WANT(work[j], work[0]);
    close(fd);
  }
}

static void race_read_write(void) {
  memset(work, 0, 1024);
  int fd = open("v", O_CREATE | O_WRONLY);
  WANT(write(fd, work, 1024), 1024);
  close(fd);
  start(write_versions, 0);
  start(read_versions, 0);
  start(read_versions, 0);
  finish_all(3);
  unlink("v");
}

const struct test race_tests[] = {
    {"race_create", race_create, 0},
    {"race_mkdir", race_mkdir, 0},
    {"race_files", race_files, 0},
    {"race_link", race_link, 0},
    {"race_cross", race_cross, 0},
    {"race_truncate", race_truncate, 0},
    {"race_remove_dir", race_remove_dir, 0},
    {"race_read_write", race_read_write, 0},
    {0, 0, 0},
};
