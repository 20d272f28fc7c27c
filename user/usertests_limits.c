// usertests: tables and disks that run full. The call that finds no room says so; what was there stays whole.
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "kernel/stat.h"

static int start_line[2];

static void numbered(char *name, int i) {
  name[0] = 'i';
  for (int digit = 4; digit > 0; digit--, i /= 10)
    name[digit] = '0' + i % 10;
  name[5] = 0;
}

// Inodes run out before blocks do when files are empty; all of them can be had again.
static void inodes_out(void) {
  char name[6];
  int first = 0;
  for (int round = 0; round < 2; round++) {
    int n = 0, fd;
    for (;; n++) {
      numbered(name, n);
      if ((fd = open(name, O_CREATE | O_RDWR)) < 0)
        break;
      close(fd);
    }
    FAILS(mkdir("no-room"));
    FAILS(mknod("no-room", 1, 1));
    if (round == 0)
      first = n;
    WANT(n, first);
    for (int i = 0; i < n; i++) {
      numbered(name, i);
      WANT(unlink(name), 0);
    }
  }
  CHECK(first > 20);
}

// Fills the disk with files of the largest size. Returns how many files and through bytes how many bytes fit.
static int fill_disk(uint64 *bytes) {
  char name[6];
  *bytes = 0;
  for (int n = 0;; n++) {
    numbered(name, n);
    int fd = open(name, O_CREATE | O_RDWR);
    if (fd < 0)
      return n;
    fill(work, 8 * BSIZE, n);
    for (int i = 0; i < (int)MAXFILE / 8; i++) {
      int done = write(fd, work, 8 * BSIZE);
      if (done > 0)
        *bytes += done;
      if (done != 8 * BSIZE) {
        close(fd);
        return n + 1;
      }
    }
    close(fd);
  }
}

static void empty_disk(int files) {
  char name[6];
  for (int i = 0; i < files; i++) {
    numbered(name, i);
    WANT(unlink(name), 0);
  }
}

// The disk fills up, says so, keeps what it took, and has as much room again when the files go.
static void blocks_out(void) {
  uint64 first, second;
  char name[6];
  put_file("before", 9000, 5);
  int files = fill_disk(&first);
  CHECK(files > 1);
  int fd = open("late", O_CREATE | O_RDWR);
  if (fd >= 0) {
    CHECK(write(fd, work, 8 * BSIZE) < (int)(8 * BSIZE));
    close(fd);
  }
  mkdir("latedir");
  want_file("before", 9000, 5);
  for (int i = 0; i < files - 1; i++) {
    numbered(name, i);
    fd = open(name, O_RDONLY);
    for (int j = 0; j < (int)MAXFILE / 8; j++) {
      WANT(read(fd, work, 8 * BSIZE), 8 * BSIZE);
      if (differs(work, 8 * BSIZE, i) >= 0)
        FAIL("%s differs", name);
    }
    close(fd);
  }
  empty_disk(files);
  unlink("late");
  unlink("latedir");
  files = fill_disk(&second);
  empty_disk(files);
  CHECK(second >= first);
  want_file("before", 9000, 5);
  unlink("before");
}

// Unlinked files that are still open take room until they are closed, however the holder ends.
static void hold_unlinked(uint64 killed) {
  int fds[10];
  char name[6];
  for (int i = 0; i < 10; i++) {
    numbered(name, i);
    fds[i] = open(name, O_CREATE | O_RDWR);
    CHECK(fds[i] >= 0);
    WANT(write(fds[i], work, 20 * BSIZE), 20 * BSIZE);
    WANT(unlink(name), 0);
  }
  if (killed)
    kill(getpid());
}

static void unlinked_room(void) {
  for (int i = 0; i < 6; i++) {
    must_live(hold_unlinked, 0);
    must_die(hold_unlinked, 1); // 200 KB each: without their return the disk is full soon
  }
}

// More files open at once than the tables of a small kernel hold: refused with -1, or all there.
static void hold_files(int who, int ready, int gate) {
  int opened = 0;
  char name[] = {'h', 'a' + who, '-', 0, 0}, byte = 'r';
  for (int i = 0; i < 10; i++) {
    name[3] = 'a' + i;
    int fd = open(name, O_CREATE | O_RDWR);
    if (fd < 0)
      break;
    opened++;
  }
  write(ready, &byte, 1);
  read(gate, &byte, 1);
  for (int i = 0; i < opened; i++) {
    name[3] = 'a' + i;
    WANT(unlink(name), 0);
  }
}

static void files_open(void) {
  int ready[2], gate[2];
  char byte;
  for (int round = 0; round < 2; round++) {
    WANT(pipe(ready), 0);
    WANT(pipe(gate), 0);
    for (int i = 0; i < 20; i++) {
      int pid = fork();
      CHECK(pid >= 0);
      if (pid == 0) {
        close(gate[1]);
        close(ready[0]);
        hold_files(i, ready[1], gate[0]);
        exit(0);
      }
    }
    for (int i = 0; i < 20; i++)
      WANT(read(ready[0], &byte, 1), 1);
    close(gate[1]);
    finish_all(20);
    close(gate[0]);
    close(ready[0]);
    close(ready[1]);
  }
}

#define READERS 45 // more than a small kernel has buffers
#define READER_BLOCKS 6

static void reader_name(char *name, int who) {
  name[0] = 'r';
  name[1] = 'a' + who / 10;
  name[2] = '0' + who % 10;
  name[3] = 0;
}

// As many readers of different files at once as processes fit, each with a block in use.
static void read_own(uint64 who) {
  char name[4], byte;
  reader_name(name, who);
  int fd = open(name, O_RDONLY);
  CHECK(fd >= 0);
  close(start_line[1]);
  WANT(read(start_line[0], &byte, 1), 0); // all start together
  for (int i = 0; i < READER_BLOCKS; i++) {
    WANT(read(fd, work, BSIZE), BSIZE);
    WANT(work[0], who);
  }
}

static void readers_many(void) {
  char name[4];
  for (int who = 0; who < READERS; who++) {
    reader_name(name, who);
    int fd = open(name, O_CREATE | O_RDWR);
    memset(work, who, READER_BLOCKS * BSIZE);
    WANT(write(fd, work, READER_BLOCKS * BSIZE), READER_BLOCKS * BSIZE);
    close(fd);
  }
  WANT(pipe(start_line), 0);
  for (int who = 0; who < READERS; who++)
    start(read_own, who);
  close(start_line[0]);
  close(start_line[1]);
  finish_all(READERS);
  for (int who = 0; who < READERS; who++) {
    reader_name(name, who);
    WANT(unlink(name), 0);
  }
}

// Many small transactions at once, more than the log takes together.
static void small_changes(uint64 who) {
  char name[] = {'s', 'a' + who, 0, 0};
  for (int i = 0; i < 10; i++) {
    name[2] = '0' + i;
    WANT(mkdir(name), 0);
  }
  for (int i = 0; i < 10; i++) {
    name[2] = '0' + i;
    WANT(unlink(name), 0);
  }
}

static void log_full(void) {
  for (int i = 0; i < 10; i++)
    start(small_changes, i);
  finish_all(10);
}

// Descriptors by the hundred in many processes, all closed by exit.
static void dup_all(uint64 unused) {
  (void)unused;
  int fds[2];
  while (pipe(fds) == 0)
    ;
  while (dup(0) >= 0)
    ;
}

static void descriptors_many(void) {
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 30; i++)
      start(dup_all, 0);
    finish_all(30);
  }
}

const struct test limit_tests[] = {
    {"files_open", files_open, 0},
    {"readers_many", readers_many, 0},
    {"descriptors_many", descriptors_many, 0},
    {"log_full", log_full, 0},
    {"unlinked_room", unlinked_room, 1},
    {"inodes_out", inodes_out, 1},
    {"blocks_out", blocks_out, 1},
    {0, 0, 0},
};
