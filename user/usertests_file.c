// usertests: regular files, descriptors and devices. Sizes come from the on-disk format (kernel/fs.h).
#include "user/dice.h"
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "kernel/stat.h"

static void file_contents(void) {
  static const int sizes[] = {0, 1, 511, 512, 1023, 1024, 1025, 4096, 12 * 1024, 12 * 1024 + 1, 50000};
  for (uint i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    put_file("f", sizes[i], i);
    want_file("f", sizes[i], i);
    WANT(file_size("f"), sizes[i]);
  }
  WANT(unlink("f"), 0);
  FAILS(open("f", O_RDONLY));
  FAILS(unlink("f"));
}

// Small writes at any offset add up; two descriptors of one file each have their place in it.
static void file_pieces(void) {
  uint at = 0;
  dice_state = 99;
  fill(work, 30000, 6);
  int out = open("f", O_CREATE | O_WRONLY), in = open("f", O_RDONLY);
  CHECK(out >= 0 && in >= 0);
  while (at < 30000) {
    uint n = dice(700);
    if (n > 30000 - at)
      n = 30000 - at;
    WANT(write(out, work + at, n), n);
    at += n;
  }
  for (at = 0; at < 30000;) {
    uchar piece[333];
    int n = read(in, piece, sizeof(piece));
    CHECK(n > 0);
    WANT(memcmp(piece, work + at, n), 0);
    at += n;
  }
  WANT(read(in, work, 10), 0);
  close(in);
  int again = open("f", O_RDWR);
  fill(work, 2000, 7);
  WANT(write(again, work, 2000), 2000);
  WANT(read(again, work, 100), 100);
  fill(work + 1000, 2100, 6);
  WANT(memcmp(work, work + 1000 + 2000, 100), 0);
  close(again);
  close(out);
  WANT(file_size("f"), 30000);
  unlink("f");
}

// dup and fork share the offset; a second open does not.
static void offset_shared(void) {
  char c;
  int fd = open("f", O_CREATE | O_RDWR);
  WANT(write(fd, "abcdefgh", 8), 8);
  close(fd);
  fd = open("f", O_RDONLY);
  int same = dup(fd), other = open("f", O_RDONLY);
  WANT(read(fd, &c, 1), 1);
  WANT(c, 'a');
  WANT(read(same, &c, 1), 1);
  WANT(c, 'b');
  WANT(read(other, &c, 1), 1);
  WANT(c, 'a');
  close(fd);
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    WANT(read(same, &c, 1), 1);
    WANT(c, 'c');
    exit(0);
  }
  WANT(finish(pid), 0);
  WANT(read(same, &c, 1), 1);
  WANT(c, 'd');
  close(same);
  close(other);
  unlink("f");
}

// Processes that write through one shared descriptor do not overwrite each other.
static void write_letters(uint64 fd) {
  for (int i = 0; i < 50; i++)
    WANT(write(fd, "0123456789", 10), 10);
}

static void offset_crowd(void) {
  int count[10] = {0};
  int fd = open("f", O_CREATE | O_WRONLY);
  for (int i = 0; i < 4; i++)
    start(write_letters, fd);
  finish_all(4);
  close(fd);
  WANT(file_size("f"), 2000);
  fd = open("f", O_RDONLY);
  WANT(read(fd, work, 3000), 2000);
  for (int i = 0; i < 2000; i++) {
    CHECK(work[i] >= '0' && work[i] <= '9');
    count[work[i] - '0']++;
  }
  for (int i = 0; i < 10; i++)
    WANT(count[i], 200);
  close(fd);
  unlink("f");
}

static void open_modes(void) {
  char c = 'x';
  FAILS(open("f", O_RDONLY));
  FAILS(open("f", O_RDWR | O_TRUNC));
  int out = open("f", O_CREATE | O_WRONLY);
  WANT(write(out, &c, 1), 1);
  FAILS(read(out, &c, 1));
  close(out);
  int in = open("f", O_RDONLY);
  FAILS(write(in, &c, 1));
  WANT(read(in, &c, 1), 1);
  close(in);
  in = open("f", O_CREATE | O_RDWR); // it is there: kept
  WANT(file_size("f"), 1);
  close(in);
  in = open("f", O_CREATE | O_TRUNC | O_RDWR);
  WANT(file_size("f"), 0);
  close(in);
  unlink("f");
}

// Truncating takes the contents away under everyone's feet, and the blocks with them.
static void truncate_open(void) {
  put_file("f", 20000, 1);
  int old = open("f", O_RDWR);
  WANT(read(old, work, 5000), 5000);
  int cut = open("f", O_WRONLY | O_TRUNC);
  WANT(file_size("f"), 0);
  WANT(read(old, work, 100), 0);
  FAILS(write(old, "x", 1)); // its offset is past the end: files have no holes
  WANT(file_size("f"), 0);
  WANT(write(cut, "new", 3), 3);
  close(old);
  close(cut);
  WANT(file_size("f"), 3);
  unlink("f");
}

// The largest file can be written, read back and truncated; not one byte more.
static void file_maximum(void) {
  int fd = open("big", O_CREATE | O_RDWR);
  CHECK(fd >= 0);
  for (uint64 i = 0; i < MAXFILE; i++) {
    fill(work, BSIZE, i);
    if (write(fd, work, BSIZE) != BSIZE)
      FAIL("block %d of %d was refused", (int)i, (int)MAXFILE);
  }
  FAILS(write(fd, "x", 1));
  FAILS(write(fd, work, 3 * BSIZE));
  WANT(file_size("big"), MAXFILE * BSIZE);
  close(fd);
  fd = open("big", O_RDONLY);
  for (uint64 i = 0; i < MAXFILE; i++) {
    WANT(read(fd, work, BSIZE), BSIZE);
    if (differs(work, BSIZE, i) >= 0)
      FAIL("block %d differs", (int)i);
  }
  WANT(read(fd, work, BSIZE), 0);
  close(fd);
  close(open("big", O_TRUNC | O_WRONLY));
  WANT(file_size("big"), 0);
  WANT(unlink("big"), 0);
}

// A write that would cross the maximum puts nothing past it.
static void file_crossing(void) {
  int fd = open("big", O_CREATE | O_RDWR);
  for (uint64 i = 0; i < MAXFILE - 2; i++)
    WANT(write(fd, work, BSIZE), BSIZE);
  int n = write(fd, work, 5 * BSIZE);
  CHECK(n == -1 || n == 2 * BSIZE);
  CHECK(file_size("big") <= MAXFILE * BSIZE);
  close(fd);
  WANT(unlink("big"), 0);
}

// An unlinked file lives until its last descriptor is closed.
static void unlink_open(void) {
  struct stat st;
  put_file("f", 3000, 1);
  int fd = open("f", O_RDWR);
  WANT(unlink("f"), 0);
  FAILS(open("f", O_RDONLY));
  WANT(fstat(fd, &st), 0);
  WANT(st.nlink, 0);
  WANT(st.size, 3000);
  put_file("f", 100, 2); // the name is free for another file
  WANT(read(fd, work, 5000), 3000);
  WANT(differs(work, 3000, 1), -1);
  WANT(write(fd, "more", 4), 4);
  int pid = fork();
  if (pid == 0) {
    sleep(1);
    WANT(fstat(fd, &st), 0);
    WANT(st.size, 3004);
    exit(0);
  }
  close(fd);
  WANT(finish(pid), 0);
  want_file("f", 100, 2);
  unlink("f");
}

// Moving as mv does it: link, then unlink; contents and inode stay.
static void link_counts(void) {
  struct stat a, b;
  put_file("one", 500, 1);
  WANT(stat("one", &a), 0);
  WANT(a.nlink, 1);
  WANT(a.type, T_FILE);
  WANT(link("one", "two"), 0);
  WANT(stat("two", &b), 0);
  WANT(b.ino, a.ino);
  WANT(b.nlink, 2);
  WANT(unlink("one"), 0);
  want_file("two", 500, 1);
  WANT(stat("two", &b), 0);
  WANT(b.nlink, 1);
  FAILS(link("one", "three"));
  FAILS(link("two", "two"));
  put_file("three", 10, 3);
  FAILS(link("two", "three"));
  want_file("three", 10, 3);
  FAILS(link("two", "missing/name"));
  FAILS(link("missing/name", "four"));
  WANT(unlink("two"), 0);
  WANT(unlink("three"), 0);
  for (int i = 0; i < 50; i++) {
    char name[] = {'l', '0' + i / 10, '0' + i % 10, 0};
    if (i == 0)
      put_file(name, 1, 1);
    else
      WANT(link("l00", name), 0);
  }
  for (int i = 49; i >= 0; i--) {
    char name[] = {'l', '0' + i / 10, '0' + i % 10, 0};
    WANT(stat(name, &b), 0);
    WANT(b.nlink, i + 1);
    WANT(unlink(name), 0);
  }
}

static void bad_descriptors(void) {
  static const int bad[] = {-1, -100, NOFILE - 1, NOFILE, NOFILE + 1, 1000, 0x7fffffff, (int)0x80000000};
  struct stat st;
  for (uint i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    FAILS(read(bad[i], work, 1));
    FAILS(write(bad[i], work, 1));
    FAILS(close(bad[i]));
    FAILS(dup(bad[i]));
    FAILS(fstat(bad[i], &st));
    FAILS(fsync(bad[i]));
  }
  int fd = dup(0);
  WANT(close(fd), 0);
  FAILS(close(fd));
  FAILS(dup(fd));
}

// The lowest free descriptor is taken, NOFILE are the limit, and failing calls use none up.
static void descriptor_limit(void) {
  int first = dup(0);
  close(first);
  put_file("f", 10, 1);
  for (int fd = first; fd < NOFILE; fd++)
    WANT(open("f", O_RDONLY), fd);
  FAILS(open("f", O_RDONLY));
  FAILS(open("new", O_CREATE | O_RDWR));
  FAILS(dup(0));
  close(first + 2);
  WANT(dup(0), first + 2);
  close(first + 1);
  for (int i = 0; i < 100; i++) {
    FAILS(open("missing", O_RDONLY));
    WANT(open("f", O_RDONLY), first + 1);
    WANT(close(first + 1), 0);
  }
  for (int fd = first; fd < NOFILE; fd++)
    close(fd);
  unlink("f");
  unlink("new"); // creating it may come before running out of descriptors
}

// A write whose bytes cannot all be fetched changes neither the file nor what is cached of it.
static void write_bad_buffer(void) {
  char *end = memory_end();
  memset(end - 600, 'Z', 600);
  put_file("f", 3000, 1);
  int fd = open("f", O_RDWR);
  for (int i = 0; forbidden[i]; i++)
    FAILS(write(fd, (void *)forbidden[i], 100));
  FAILS(write(fd, end, 100));
  FAILS(write(fd, end - 600, 601));
  FAILS(write(fd, end - 600, 2000));
  FAILS(write(fd, end - 600, 0x7fffffff));
  FAILS(write(fd, end - 600, (int)0x80000000));
  close(fd);
  want_file("f", 3000, 1);
  fd = open("f", O_CREATE | O_TRUNC | O_RDWR);
  FAILS(write(fd, end - 600, 2000));
  WANT(file_size("f"), 0);
  close(fd);
  unlink("f");
}

// A read with no room for its bytes does not move the offset.
static void read_bad_buffer(void) {
  char *end = memory_end();
  put_file("f", 3000, 1);
  int fd = open("f", O_RDONLY);
  for (int i = 0; forbidden[i]; i++)
    FAILS(read(fd, (void *)forbidden[i], 100));
  FAILS(read(fd, end, 100));
  FAILS(read(fd, end - 100, 2000));
  FAILS(read(fd, (void *)read_bad_buffer, 100));
  WANT(read(fd, work, 5000), 3000);
  WANT(differs(work, 3000, 1), -1);
  close(fd);
  unlink("f");
}

// Device nodes: only majors with a driver can be used, and the node is an inode like others.
static void device_nodes(void) {
  struct stat st;
  static const short majors[] = {-1, 0, 2, NDEV - 1, NDEV, NDEV + 1, 1000, 0x7fff, -0x8000};
  for (uint i = 0; i < sizeof(majors) / sizeof(majors[0]); i++) {
    if (mknod("node", majors[i], 0) < 0)
      continue;
    int fd = open("node", O_RDWR);
    if (fd >= 0) {
      FAILS(read(fd, work, 1));
      FAILS(write(fd, work, 1));
      close(fd);
    }
    WANT(unlink("node"), 0);
  }
  WANT(mknod("node", 1, 0), 0); // the console
  FAILS(mknod("node", 1, 0));
  WANT(stat("node", &st), 0);
  WANT(st.type, T_DEVICE);
  int fd = open("node", O_RDWR | O_TRUNC);
  CHECK(fd >= 0);
  WANT(write(fd, "", 0), 0);
  for (int i = 0; forbidden[i]; i++)
    FAILS(write(fd, (void *)forbidden[i], 1));
  close(fd);
  FAILS(chdir("node"));
  FAILS(open("node/x", O_CREATE | O_RDWR));
  WANT(unlink("node"), 0);
}

static void sync_calls(void) {
  put_file("f", 5000, 1);
  int fd = open("f", O_RDWR), fds[2];
  WANT(fsync(fd), 0);
  WANT(sync(), 0);
  WANT(pipe(fds), 0);
  fsync(fds[0]); // nothing to do or refused, not more
  close(fds[0]);
  close(fds[1]);
  close(fd);
  want_file("f", 5000, 1);
  unlink("f");
}

const struct test file_tests[] = {
    {"file_contents", file_contents, 0},
    {"file_pieces", file_pieces, 0},
    {"offset_shared", offset_shared, 0},
    {"offset_crowd", offset_crowd, 0},
    {"open_modes", open_modes, 0},
    {"truncate_open", truncate_open, 0},
    {"file_maximum", file_maximum, 0},
    {"file_crossing", file_crossing, 1},
    {"unlink_open", unlink_open, 0},
    {"link_counts", link_counts, 0},
    {"bad_descriptors", bad_descriptors, 0},
    {"descriptor_limit", descriptor_limit, 0},
    {"write_bad_buffer", write_bad_buffer, 0},
    {"read_bad_buffer", read_bad_buffer, 0},
    {"device_nodes", device_nodes, 0},
    {"sync_calls", sync_calls, 0},
    {0, 0, 0},
};
