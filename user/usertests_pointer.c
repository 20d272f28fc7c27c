// usertests: every system call that takes an address, with addresses a program may not name, that end too soon, or that
// are merely odd. A call answers -1 and does nothing; nothing takes the kernel down.
#include "user/usertests.h"
#include "kernel/crypto.h"
#include "kernel/fcntl.h"
#include "kernel/info.h"
#include "kernel/stat.h"
#include "kernel/trace.h"

// One call for each pointer argument there is. fd is open for reading and writing on a file of 100 bytes.
enum { IN, OUT, STRING };
static int fd;
static char *argv[] = {"x", 0};

static int do_write(uint64 a) {
  return write(fd, (void *)a, 64);
}
static int do_open(uint64 a) {
  return open((char *)a, O_RDONLY);
}
static int do_create(uint64 a) {
  return open((char *)a, O_CREATE | O_RDWR);
}
static int do_unlink(uint64 a) {
  return unlink((char *)a);
}
static int do_mkdir(uint64 a) {
  return mkdir((char *)a);
}
static int do_chdir(uint64 a) {
  return chdir((char *)a);
}
static int do_mknod(uint64 a) {
  return mknod((char *)a, 1, 1);
}
static int do_link_old(uint64 a) {
  return link((char *)a, "linked");
}
static int do_link_new(uint64 a) {
  return link("f", (char *)a);
}
static int do_exec(uint64 a) {
  return exec((char *)a, argv);
}
static int do_exec_argv(uint64 a) {
  return exec("missing", (char **)a);
}
static int do_read(uint64 a) {
  int file = open("f", O_RDONLY), n = read(file, (void *)a, 64);
  close(file);
  return n == 64 ? 0 : n;
}
static int do_fstat(uint64 a) {
  return fstat(fd, (struct stat *)a);
}
static int do_pipe(uint64 a) {
  int n = pipe((int *)a);
  if (n == 0) {
    close(((int *)a)[0]);
    close(((int *)a)[1]);
  }
  return n;
}
static int do_meminfo(uint64 a) {
  return meminfo((struct meminfo *)a);
}
static int do_procinfo(uint64 a) {
  int n = procinfo((struct procinfo *)a, 2);
  return n > 0 ? 0 : n;
}
static int do_crypto_wait(uint64 a) {
  crypto_wait((struct crypto_op *)a); // waits for nothing if nothing was asked there
  return -1;
}
static int do_take(uint64 a) {
  uint64 size;
  return take_shared_memory_request((void **)a, &size);
}
static int do_remove(uint64 a) {
  return remove_shared_memory_request((void *)a, 64);
}
static struct trace_cursor cursor;

static int do_trace_cursor(uint64 a) {
  int n = trace_read(0, (struct trace_cursor *)a, (struct trace_record *)work, 2);
  return n > 0 ? 0 : n;
}
static int do_trace_records(uint64 a) {
  int n = trace_read(0, &cursor, (struct trace_record *)a, 1);
  return n > 0 ? 0 : n;
}
static int do_crypto_op(uint64 a) {
  return crypto_op((struct crypto_op *)a, 64);
}

static const struct {
  const char *name;
  int (*call)(uint64);
  int way; // what the kernel does with the memory
} calls[] = {
    {"write", do_write, IN},
    {"open", do_open, STRING},
    {"create", do_create, STRING},
    {"unlink", do_unlink, STRING},
    {"mkdir", do_mkdir, STRING},
    {"chdir", do_chdir, STRING},
    {"mknod", do_mknod, STRING},
    {"link old", do_link_old, STRING},
    {"link new", do_link_new, STRING},
    {"exec", do_exec, STRING},
    {"exec argv", do_exec_argv, IN},
    {"read", do_read, OUT},
    {"fstat", do_fstat, OUT},
    {"pipe", do_pipe, OUT},
    {"meminfo", do_meminfo, OUT},
    {"procinfo", do_procinfo, OUT},
    {"crypto_wait", do_crypto_wait, IN},
    {"take", do_take, OUT},
    {"remove", do_remove, IN},
    {"crypto_op", do_crypto_op, OUT},
    {"trace_read cursor", do_trace_cursor, OUT},
    {"trace_read records", do_trace_records, OUT},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void refused(uint i, uint64 address) {
  int result = calls[i].call(address);
  if (result != -1)
    FAIL("%s at 0x%lx returned %d", calls[i].name, address, result);
}

static void open_file(void) {
  put_file("f", 100, 1);
  fd = open("f", O_RDWR);
  CHECK(fd >= 0);
}

static void close_file(void) {
  close(fd);
  want_file("f", 100, 1);
  unlink("f");
}

static void pointer_wild(void) {
  uint64 end = (uint64)memory_end();
  open_file();
  for (uint i = 0; i < CALLS; i++) {
    for (int j = 0; forbidden[j]; j++)
      refused(i, forbidden[j]);
    refused(i, end);
    refused(i, end + (1UL << 30));
    refused(i, MAXVA - PAGE);
    refused(i, MAXVA - 1);
    refused(i, (uint64)__builtin_frame_address(0) / PAGE * PAGE - PAGE); // the guard below the stack
    for (int bit = 38; bit < 64; bit++)
      refused(i, (uint64)work | 1UL << bit); // fine memory but for one bit too high
  }
  close_file();
}

// The object begins in memory and ends outside it.
static void pointer_end(void) {
  uint64 end = (uint64)memory_end();
  open_file();
  memset((void *)(end - 64), 'a', 64);
  for (uint i = 0; i < CALLS; i++) {
    if (calls[i].way == STRING) { // no terminator in sight
      refused(i, end - 1);
      refused(i, end - 13);
    } else {
      refused(i, end - 4);
      refused(i, end - 1);
    }
  }
  close_file();
}

// Text may be read by the kernel but not be written.
static void pointer_readonly(void) {
  open_file();
  for (uint i = 0; i < CALLS; i++)
    if (calls[i].way == OUT) {
      uint64 text = (uint64)pointer_readonly;
      refused(i, text);
      refused(i, text / PAGE * PAGE);
      refused(i, 0);
    }
  WANT(write(fd, (void *)pointer_readonly, 64), 64);
  close(fd);
  unlink("f");
}

// No alignment is asked for: every call that fills something in does so at odd addresses and across pages.
static void pointer_odd(void) {
  char *base = sbrk(3 * PAGE);
  uint64 border = PGROUNDUP(base) + PAGE;
  open_file();
  for (uint i = 0; i < CALLS; i++) {
    if (calls[i].call == do_take || calls[i].call == do_crypto_op || calls[i].way != OUT)
      continue;
    for (int back = 1; back < 64; back += 4) {
      int result = calls[i].call(border - back);
      if (result != 0)
        FAIL("%s across a page returned %d", calls[i].name, result);
    }
  }
  char *name = (char *)border - 2;
  strcpy(name, "named");
  WANT(mkdir(name), 0);
  WANT(unlink(name), 0);
  sbrk(-3 * (int)PAGE);
  close_file();
}

// Sizes that wrap or are negative, with memory that is fine.
static void pointer_sizes(void) {
  static const int sizes[] = {-1, -2, (int)0x80000000, 0x7fffffff, 0x7ffff000, -4096};
  open_file();
  for (uint i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    FAILS(write(fd, work, sizes[i]));
    FAILS(write(fd, (void *)(uint64)(0 - 64UL), sizes[i]));
    CHECK(procinfo((struct procinfo *)forbidden[0], sizes[i]) <= 0);
    FAILS(crypto_op((struct crypto_op *)work, sizes[i]));
  }
  close_file();
}

const struct test pointer_tests[] = {
    {"pointer_wild", pointer_wild, 0}, {"pointer_end", pointer_end, 0},     {"pointer_readonly", pointer_readonly, 0},
    {"pointer_odd", pointer_odd, 0},   {"pointer_sizes", pointer_sizes, 0}, {0, 0, 0},
};
