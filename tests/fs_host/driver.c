// The kernel's file system on the host, driven at random.
//   fs_host random IMAGE SEED OPS [TRACE]  one process against the model; IMAGE starts empty (mkfs without files)
//   fs_host tight IMAGE SEED OPS           the same on an image that fills up: a failure is always allowed
//   fs_host threads IMAGE SEED OPS         eight processes in one namespace
//   fs_host mount IMAGE [0 0 TRACE]        only what a boot does; prints the state's hash
//   fs_host badblock IMAGE SEED OPS        one process without a model; blocks fail to be read now and then
//   fs_host badwrite IMAGE SEED OPS N      one process against the model until the Nth write to the disk fails: prints
//                                          the hashes of the states that may be on disk then, or how many writes it
//                                          made
// IMAGE is rewritten with what is on the disk at the end, as after a power cut. Exit status 0: all was as it should be.
#include "kernel/fcntl.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/fs/log.h"
#include "kernel/proc/proc.h"
#include "tests/fs_host/model.h"
#include "tests/fs_host/shim.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 8
#define SMALL 8 // most entries of a directory
#define DATA 48 // first data block of a small image

uint64 sys_open(void), sys_read(void), sys_write(void), sys_close(void), sys_fstat(void), sys_dup(void);
uint64 sys_link(void), sys_unlink(void), sys_mkdir(void), sys_mknod(void), sys_chdir(void), sys_sync(void);
uint64 sys_fsync(void);

int shim_threads;
static int lenient; // may the kernel fail where the model would not?
static int no_model;
static int traced; // is a trace of the disk written?

// What the model knows of a descriptor.
static __thread struct open_file {
  struct node *node; // 0: closed
  uint offset;
  int readable, writable;
} open_files[NOFILE];

static const char *random_path(void) {
  static const char *const names[] = {"a", "b", "c", "d", "abcdefghijklmnop", "abcdefghijklmn", ".", ".."};
  static __thread char path[MAXPATH];
  int parts = 1 + random_below(3);
  strcpy(path, random_below(3) == 0 ? "/" : "");
  while (parts-- > 0) {
    strcat(path, names[random_below(8)]);
    if (parts || random_below(20) == 0)
      strcat(path, random_below(8) ? "/" : "//");
  }
  return random_below(100) ? path : random_below(2) ? "" : "/";
}

// Compares what the kernel did with what it should have done: 1 if the model is to follow.
static int agree(const char *what, const char *path, long result, long expected) {
  if (result == expected || (result == -1 && lenient) || no_model)
    return result >= 0 && !no_model;
  die("%s(\"%s\") is %ld, not %ld", what, path, result, expected);
}

static int free_fd(void) {
  for (int fd = 0; fd < NOFILE - 2; fd++) // two are for kernel_hash()
    if (!open_files[fd].node)
      return fd;
  return -1;
}

static int is_dot(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

// May path be created, as far as names go? The directory, and its last name.
static struct node *room_for(const char *path, char *last) {
  struct node *dir = model_parent(path, last);
  return dir && dir->links && !model_entry(dir, last) ? dir : 0;
}

static void do_open(void) {
  static const int ways[] = {O_RDONLY,
                             O_WRONLY,
                             O_RDWR,
                             O_RDWR | O_CREATE,
                             O_RDWR | O_CREATE,
                             O_WRONLY | O_TRUNC,
                             O_RDWR | O_CREATE | O_TRUNC};
  const char *path = random_path();
  char last[DIRSIZ + 1];
  int flags = ways[random_below(7)], fd = free_fd();
  if (fd < 0)
    return;
  struct node *node = model_find(path), *dir = flags & O_CREATE ? room_for(path, last) : 0;
  if (dir && dir->count >= SMALL)
    return;
  int fine = node ? node->type != T_DIR || flags == O_RDONLY : dir != 0;
  if (node && (flags & O_CREATE) && !model_parent(path, last))
    fine = 0; // "/"
  if (!agree("open", path, call(sys_open, (uint64)path, flags, 0), fine ? fd : -1))
    return;
  if (!node)
    node = model_make(dir, last, T_FILE);
  if ((flags & O_TRUNC) && node->type == T_FILE)
    node->size = 0;
  open_files[fd] = (struct open_file){node, 0, !(flags & O_WRONLY), !!(flags & (O_WRONLY | O_RDWR))};
}

static void do_close(void) {
  int fd = random_below(NOFILE - 2);
  long result = call(sys_close, fd, 0, 0);
  if (!no_model && result != (open_files[fd].node ? 0 : -1))
    die("close(%d) is %ld", fd, result);
  open_files[fd].node = 0;
}

static uint random_size(void) {
  if (traced) // what one transaction holds: a larger write may be cut in two by a power cut
    return random_below(4) ? random_below(3000) : random_below(24 * BSIZE);
  return random_below(4) ? random_below(3000) : random_below(12) ? random_below(40) * 512 : random_below(300000);
}

static void do_write(void) {
  int fd = random_below(NOFILE - 2);
  struct open_file *f = &open_files[fd];
  uint size = random_size();
  if (!no_model && (!f->node || f->node->type != T_FILE))
    return;
  uchar *data = (uchar *)ARENA;
  uint64 seed = random_below(~0UL);
  for (uint i = 0; i < size; i++)
    data[i] = seed >> i % 57;
  uint64 start = ARENA;
  int bad = random_below(16) == 0;
  if (bad) // the last bytes are not in user memory
    start = ARENA_BAD - random_below(size + 1);
  else
    memmove((void *)(start += random_below(2000)), data, size);
  bad = bad && start + size > ARENA_BAD;
  shim_racing = bad && random_below(2);
  long n = call(sys_write, fd, start, size);
  int raced = shim_racing;
  shim_racing = 0;
  if (no_model)
    return;
  long room = f->offset <= f->node->size ? (long)(MAXFILE * BSIZE) - f->offset : -1;
  long expected = !f->writable || bad ? -1 : size == 0 ? 0 : room <= 0 ? -1 : size < room ? size : room;
  if (n != expected && !(raced && n >= -1 && n < (long)size) && !(lenient && n >= -1 && n < expected))
    die("write(%d, %u bytes at %u) is %ld, not %ld", fd, size, f->offset, n, expected);
  if (n <= 0)
    return;
  memcpy(f->node->data + f->offset, (void *)start, n);
  f->offset += n;
  if (f->offset > f->node->size)
    f->node->size = f->offset;
}

static void do_read(void) {
  int fd = random_below(NOFILE - 2);
  struct open_file *f = &open_files[fd];
  uint size = random_size();
  if (!no_model && (!f->node || f->node->type != T_FILE))
    return;
  uint64 start = random_below(8) ? ARENA + random_below(2000) : ARENA_BAD - random_below(size + 1);
  long n = call(sys_read, fd, start, size);
  if (no_model)
    return;
  long rest = f->offset < f->node->size ? f->node->size - f->offset : 0;
  long expected = !f->readable ? -1 : size < rest ? size : rest;
  if (expected > 0 && start + expected > ARENA_BAD)
    expected = -1;
  if (n != expected || (n > 0 && memcmp((void *)start, f->node->data + f->offset, n) != 0))
    die("read(%d, %u bytes at %u) is %ld, not %ld, or other bytes", fd, size, f->offset, n, expected);
  if (n > 0)
    f->offset += n;
}

static void do_make(void) {
  const char *path = random_path();
  char last[DIRSIZ + 1];
  struct node *dir = room_for(path, last);
  int device = random_below(4) == 0;
  if (dir && dir->count >= SMALL)
    return;
  long result = device ? call(sys_mknod, (uint64)path, 3, 0) : call(sys_mkdir, (uint64)path, 0, 0);
  if (agree(device ? "mknod" : "mkdir", path, result, dir ? 0 : -1))
    model_make(dir, last, device ? T_DEVICE : T_DIR);
}

static void do_link(void) {
  char path[MAXPATH], last[DIRSIZ + 1];
  strcpy(path, random_path());
  const char *new_path = random_path();
  struct node *node = model_find(path), *dir = room_for(new_path, last);
  if (dir && dir->count >= SMALL)
    return;
  int fine = node && node->type != T_DIR && dir;
  if (agree("link", new_path, call(sys_link, (uint64)path, (uint64)new_path, 0), fine ? 0 : -1))
    model_link(dir, last, node);
}

static void do_unlink(void) {
  const char *path = random_path();
  char last[DIRSIZ + 1];
  struct node *dir = model_parent(path, last);
  struct node *node = dir && !is_dot(last) ? model_entry(dir, last) : 0;
  int fine = node && (node->type != T_DIR || model_empty(node));
  if (agree("unlink", path, call(sys_unlink, (uint64)path, 0, 0), fine ? 0 : -1))
    model_unlink(dir, last);
}

static void do_chdir(void) {
  const char *path = random_below(4) ? random_path() : "/";
  struct node *node = model_find(path);
  if (agree("chdir", path, call(sys_chdir, (uint64)path, 0, 0), node && node->type == T_DIR ? 0 : -1))
    model_cwd = node;
}

static int do_sync(void) {
  if (random_below(2)) {
    call(sys_sync, 0, 0, 0);
    return 1;
  }
  return call(sys_fsync, random_below(NOFILE), 0, 0) == 0;
}

// One random operation; 1 if it was a successful sync.
static int step(void) {
  static void (*const operations[])(void) = {do_open, do_open,   do_open,   do_close, do_close, do_write, do_write,
                                             do_read, do_unlink, do_unlink, do_make,  do_link,  do_chdir};
  uint64 which = random_below(14);
  if (which == 13)
    return do_sync();
  operations[which]();
  return 0;
}

static void compare_trees(void) {
  struct inode *cwd = myproc()->cwd; // hashing starts at the root by absolute paths
  if (kernel_hash() != model_hash())
    die("the tree is not what it should be");
  if (cwd != myproc()->cwd)
    die("the working directory changed");
}

static void run_random(uint ops) {
  model_init();
  if (traced)
    shim_mark(0, 1, model_hash());
  for (uint i = 1; i <= ops; i++) {
    int synced = step();
    if (traced)
      shim_mark(i, synced, model_hash());
    if (i % 64 == 0)
      compare_trees();
  }
  compare_trees();
}

static void run_bad_blocks(uint ops, uint blocks) {
  no_model = 1;
  model_init();
  for (uint i = 0; i < ops; i++) {
    shim_fail_block(random_below(4) ? 0 : random_below(8) ? DATA + random_below(blocks) : 2 + random_below(DATA));
    step();
  }
  shim_fail_block(0);
}

// Nothing can be changed any more, everything can be read.
static void check_read_only(void) {
  uint before = shim_writes();
  uint64 state = kernel_hash();
  call(sys_chdir, (uint64) "/", 0, 0);
  call(sys_close, 0, 0, 0);
  call(sys_close, 1, 0, 0);
  int reading = call(sys_open, (uint64) "kept", O_RDONLY, 0), writing = call(sys_open, (uint64) "kept", O_RDWR, 0);
  if (reading < 0 || writing < 0 || call(sys_read, reading, ARENA, 100) != 9)
    die("a file can't be read after a write has failed");
  const long results[] = {call(sys_write, writing, ARENA, 1000),
                          call(sys_open, (uint64) "new", O_CREATE | O_RDWR, 0),
                          call(sys_open, (uint64) "kept", O_TRUNC | O_RDWR, 0),
                          call(sys_mkdir, (uint64) "new", 0, 0),
                          call(sys_mknod, (uint64) "new", 1, 1),
                          call(sys_link, (uint64) "kept", (uint64) "new", 0),
                          call(sys_unlink, (uint64) "kept", 0, 0),
                          call(sys_fsync, writing, 0, 0),
                          call(sys_sync, 0, 0, 0)};
  for (uint i = 0; i < sizeof results / sizeof results[0]; i++)
    if (results[i] != -1)
      die("call %u after a failed write is %ld", i, results[i]);
  if (call(sys_close, writing, 0, 0) != 0 || kernel_hash() != state || shim_writes() != before)
    die("something changed after a failed write");
}

static void run_bad_write(uint ops, uint n) {
  lenient = traced = 1; // -1 from what meets the failure; operations of one transaction each
  model_init();
  int fd = call(sys_open, (uint64) "kept", O_CREATE | O_RDWR, 0);
  if (call(sys_write, fd, (uint64)ARENA, 9) != 9 || call(sys_close, fd, 0, 0) != 0 || call(sys_sync, 0, 0, 0) != 0)
    die("the first file can't be written");
  struct node *kept = model_make(model_find("/"), "kept", T_FILE);
  kept->size = 9;
  memcpy(kept->data, (void *)ARENA, 9);
  shim_fail_write(shim_writes() + n);
  uint first = shim_writes();
  for (uint i = 0; i < ops; i++) {
    uint64 before = model_hash();
    step();
    if (n && shim_writes() - first >= n) {
      uint64 after = model_hash();
      check_read_only();
      printf("%lx %lx\n", before, after);
      return;
    }
  }
  printf("writes %u\n", shim_writes() - first);
}

// A file of this process alone, among all that the others do.
static void check_own_file(int pid, uint round) {
  char path[32];
  uchar *data = (uchar *)ARENA + pid * 65536;
  uint size = 1 + random_below(40000);
  snprintf(path, sizeof path, "/own%d", pid);
  memset(data, pid + round, size);
  int fd = call(sys_open, (uint64)path, O_CREATE | O_TRUNC | O_RDWR, 0);
  if (fd < 0 || call(sys_write, fd, (uint64)data, size) != size || call(sys_close, fd, 0, 0) != 0)
    die("%s can't be written", path);
  memset(data, 0, size);
  fd = call(sys_open, (uint64)path, O_RDONLY, 0);
  if (fd < 0 || call(sys_read, fd, (uint64)data, 65536) != size)
    die("%s can't be read", path);
  for (uint i = 0; i < size; i++)
    if (data[i] != (uchar)(pid + round))
      die("%s: byte %u is wrong", path, i);
  call(sys_close, fd, 0, 0);
  if (random_below(2))
    call(sys_unlink, (uint64)path, 0, 0);
}

// What the random operations write comes from this process's own part of the arena.
static void crowd_step(int pid) {
  const char *path = random_path();
  uint64 data = ARENA + pid * 65536;
  int fd = random_below(NOFILE - 2);
  switch (random_below(9)) {
  case 0:
  case 1:
    if (call(sys_open, (uint64)path, random_below(2) ? O_RDWR | O_CREATE : O_RDONLY, 0) >= NOFILE - 2)
      for (fd = 0; fd < NOFILE; fd++)
        call(sys_close, fd, 0, 0);
    break;
  case 2:
    call(sys_close, fd, 0, 0);
    break;
  case 3:
    call(sys_write, fd, data, random_below(30000));
    break;
  case 4:
    call(sys_read, fd, data, random_below(30000));
    break;
  case 5:
    call(sys_unlink, (uint64)path, 0, 0);
    break;
  case 6:
    call(sys_mkdir, (uint64)path, 0, 0);
    break;
  case 7:
    call(sys_chdir, (uint64)(random_below(2) ? path : "/"), 0, 0);
    break;
  case 8: {
    char old[MAXPATH];
    strcpy(old, path);
    call(random_below(8) ? sys_link : sys_sync, (uint64)old, (uint64)random_path(), 0);
  }
  }
}

struct task {
  int pid;
  uint64 seed;
  uint ops;
};

static void *one_process(void *argument) {
  struct task *t = argument;
  seed_random(t->seed);
  shim_process(t->pid);
  for (uint i = 0; i < t->ops; i++) {
    crowd_step(t->pid);
    if (i % 50 == 0)
      check_own_file(t->pid, i);
  }
  for (int fd = 0; fd < NOFILE; fd++)
    call(sys_close, fd, 0, 0);
  call(sys_chdir, (uint64) "/", 0, 0);
  iput_op(myproc()->cwd);
  return 0;
}

static void run_threads(uint64 seed, uint ops) {
  pthread_t threads[THREADS];
  struct task tasks[THREADS];
  shim_threads = 1;
  for (int i = 0; i < THREADS; i++) {
    tasks[i] = (struct task){i + 2, seed * THREADS + i, ops};
    pthread_create(&threads[i], 0, one_process, &tasks[i]);
  }
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], 0);
  shim_threads = 0;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: fs_host random|tight|threads|badblock|badwrite|mount IMAGE [SEED OPS [TRACE]]\n");
    return 2;
  }
  const char *mode = argv[1], *image = argv[2];
  uint64 seed = argc > 3 ? strtoul(argv[3], 0, 0) : 0;
  uint ops = argc > 4 ? strtoul(argv[4], 0, 0) : 0;
  shim_init(image);
  traced = argc > 5 && strcmp(mode, "badwrite") != 0;
  if (traced)
    shim_trace(argv[5]);
  seed_random(seed);
  binit();
  iinit();
  fileinit();
  fsinit(ROOTDEV);
  shim_process(1);
  if (strcmp(mode, "random") == 0 || strcmp(mode, "tight") == 0) {
    lenient = mode[0] == 't';
    run_random(ops);
  } else if (strcmp(mode, "threads") == 0) {
    run_threads(seed, ops);
  } else if (strcmp(mode, "badblock") == 0) {
    run_bad_blocks(ops, 350);
  } else if (strcmp(mode, "badwrite") == 0) {
    run_bad_write(ops, strtoul(argc > 5 ? argv[5] : "0", 0, 0));
  } else {
    printf("%lx\n", kernel_hash());
  }
  shim_write_back(image);
  return 0;
}
