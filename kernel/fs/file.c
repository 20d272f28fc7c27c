// Open files: what descriptors share. There are enough for every descriptor of every process.
#include "kernel/file.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/log.h"
#include "kernel/ipc/pipe.h"
#include "kernel/lib/failpoint.h"
#include "kernel/proc/lock.h"

#define FILES (NPROC * (NOFILE + 2)) // and two that a process may be opening

struct devsw devsw[NDEV];

struct {
  struct spinlock lock; // guards the list of free files
  struct file file[FILES];
  struct file *free;
} ftable;

void fileinit(void) {
  initlock(&ftable.lock, RANK_FILE_TABLE);
  for (struct file *f = ftable.file; f < ftable.file + FILES; f++) {
    f->next = ftable.free;
    ftable.free = f;
  }
}

struct file *filealloc(void) {
  if (fail_here(FAIL_file))
    return 0;
  acquire(&ftable.lock);
  struct file *f = ftable.free;
  if (f)
    ftable.free = f->next;
  release(&ftable.lock);
  if (f)
    *f = (struct file){.type = FD_NONE, .ref = 1};
  return f;
}

struct file *filedup(struct file *f) {
  __atomic_fetch_add(&f->ref, 1, __ATOMIC_RELAXED);
  return f;
}

void fileclose(struct file *f) {
  int left = __atomic_sub_fetch(&f->ref, 1, __ATOMIC_ACQ_REL);
  if (left < 0)
    panic("fileclose: closed once too often");
  if (left > 0)
    return;
  if (f->type == FD_PIPE)
    pipeclose(f->pipe, f->writable);
  else if (f->type != FD_NONE)
    iput_op(f->ip);
  f->type = FD_NONE;
  acquire(&ftable.lock);
  f->next = ftable.free;
  ftable.free = f;
  release(&ftable.lock);
}

int filestat(struct file *f, struct stat *st) {
  if (f->type != FD_INODE && f->type != FD_DEVICE)
    return -1;
  ilock(f->ip);
  stati(f->ip, st);
  iunlock(f->ip);
  return 0;
}

// Reads on from the file's offset. A buffer that can't take what there is to read leaves the offset as it was.
static int read_inode(struct file *f, struct span dst) {
  ilock(f->ip);
  uint64 rest = f->off < f->ip->size ? f->ip->size - f->off : 0;
  if (dst.size > rest)
    dst = span_part(dst, 0, rest);
  int n = span_check(dst, ACCESS_WRITE) < 0 ? -1 : readi(f->ip, dst, f->off);
  if (n > 0)
    f->off += n;
  iunlock(f->ip);
  return n;
}

int fileread(struct file *f, struct span dst) {
  if (!f->readable)
    return -1;
  if (f->type == FD_INODE)
    return read_inode(f, dst);
  if (f->type == FD_PIPE)
    return piperead(f->pipe, dst);
  return f->type == FD_DEVICE && devsw[f->major].read ? devsw[f->major].read(dst) : -1;
}

// Of n blocks of data: what writing them may change, that is the inode, the indirect block and bitmap blocks too.
static uint blocks_changed(uint n) {
  return n + 2 + (bitmap_blocks() < n + 1 ? bitmap_blocks() : n + 1);
}

// The largest n for which that fits into the log.
static uint most_blocks(void) {
  uint n = (log_capacity() - 3) / 2; // if each has a bitmap block of its own
  return bitmap_blocks() <= n + 1 ? log_capacity() - 2 - bitmap_blocks() : n;
}

// Writes as much of src as one operation can, at the file's offset: bytes, or -1.
static int write_some(struct file *f, struct span src) {
  uint most = most_blocks();
  uint blocks = src.size / BSIZE + 2 < most ? src.size / BSIZE + 2 : most; // both ends may lie within a block
  if (log_begin(blocks_changed(blocks)) < 0)
    return -1;
  ilock(f->ip);
  uint64 room = (uint64)blocks * BSIZE - f->off % BSIZE;
  int n = writei(f->ip, src.size > room ? span_part(src, 0, room) : src, f->off);
  if (n > 0)
    f->off += n;
  iunlock(f->ip);
  log_end(blocks_changed(blocks));
  return n;
}

// What can't be written any more, the disk being full, is missing from the result.
static int write_inode(struct file *f, struct span src) {
  uint64 done = 0;
  if (span_check(src, ACCESS_READ) < 0)
    return -1;
  while (done < src.size) {
    int n = write_some(f, span_part(src, done, src.size - done));
    if (n <= 0)
      return done ? (int)done : -1;
    done += n;
  }
  return done;
}

int filewrite(struct file *f, struct span src) {
  if (!f->writable)
    return -1;
  if (f->type == FD_INODE)
    return write_inode(f, src);
  if (f->type == FD_PIPE)
    return pipewrite(f->pipe, src);
  return f->type == FD_DEVICE && devsw[f->major].write ? devsw[f->major].write(src) : -1;
}
