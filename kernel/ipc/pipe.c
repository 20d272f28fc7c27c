// Pipes. One counted frame each, copied to and from in bulk; both ends sleep killably and wake each other only if
// somebody sleeps. User memory is checked before bytes move, so a bad buffer loses nothing.
#include "kernel/ipc/pipe.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

_Static_assert(sizeof(struct pipe) <= PGSIZE, "a pipe is one frame");
_Static_assert(NPROC <= 255, "readers and writers count processes in a byte");

int pipealloc(struct file **read_end, struct file **write_end) {
  struct pipe *p = kalloc();
  struct file *r = p ? filealloc() : 0;
  struct file *w = r ? filealloc() : 0;
  if (w == 0) {
    if (r)
      fileclose(r);
    if (p)
      kfree(p);
    return -1;
  }
  initlock(&p->lock, RANK_PIPE);
  p->nread = p->nwrite = 0;
  p->readers = p->writers = 0;
  p->readopen = p->writeopen = 1;
  r->type = w->type = FD_PIPE;
  r->readable = w->writable = 1;
  r->writable = w->readable = 0;
  r->pipe = w->pipe = p;
  *read_end = r;
  *write_end = w;
  return 0;
}

void pipeclose(struct pipe *p, int writable) {
  acquire(&p->lock);
  if (writable) {
    p->writeopen = 0;
    wakeup(&p->nwrite);
  } else {
    p->readopen = 0;
    wakeup(&p->nread);
  }
  int unused = !p->readopen && !p->writeopen;
  release(&p->lock);
  if (unused)
    kfree(p);
}

// Sleeps until *count moves or an end closes; lock held before and after. 0, or -1 if the process is killed.
static int wait_for(struct pipe *p, uint64 *count, uchar *sleepers) {
  ++*sleepers;
  int failed = sleep_killable(count, &p->lock);
  --*sleepers;
  return failed;
}

// Where the bytes from position on are, up to the end of the buffer; at most *n, which it lowers to that.
static char *piece(struct pipe *p, uint64 position, uint64 *n) {
  uint64 start = position % PIPESIZE;
  if (*n > PIPESIZE - start)
    *n = PIPESIZE - start;
  return &p->data[start];
}

// Copies n bytes out of the pipe, in two pieces where the buffer wraps. Lock held; what is copied stays in the pipe.
static int copy_out(struct pipe *p, struct span dst, uint64 n) {
  for (uint64 done = 0, part; done < n; done += part) {
    part = n - done;
    const char *from = piece(p, p->nread + done, &part);
    if (span_write(dst, done, from, part) < 0)
      return -1;
  }
  return 0;
}

static int copy_in(struct pipe *p, struct span src, uint64 offset, uint64 n) {
  for (uint64 done = 0, part; done < n; done += part) {
    part = n - done;
    char *to = piece(p, p->nwrite + done, &part);
    if (span_read(to, src, offset + done, part) < 0)
      return -1;
  }
  return 0;
}

static int read_locked(struct pipe *p, struct span dst) {
  while (p->nread == p->nwrite) {
    if (!p->writeopen)
      return 0;
    if (wait_for(p, &p->nwrite, &p->readers) < 0)
      return -1;
  }
  uint64 n = p->nwrite - p->nread;
  if (n > dst.size)
    n = dst.size;
  if (span_check(span_part(dst, 0, n), ACCESS_WRITE) < 0 || copy_out(p, dst, n) < 0)
    return -1;
  p->nread += n;
  if (p->writers > 0)
    wakeup(&p->nread);
  return n;
}

int piperead(struct pipe *p, struct span dst) {
  if (dst.size == 0)
    return 0;
  acquire(&p->lock);
  int n = read_locked(p, dst);
  release(&p->lock);
  return n;
}

static int write_locked(struct pipe *p, struct span src) {
  uint64 enough = src.size <= PIPE_ATOMIC ? src.size : 1; // room worth waking for
  for (uint64 done = 0, n; done < src.size; done += n) {
    n = PIPESIZE - (p->nwrite - p->nread);
    if (!p->readopen)
      return -1;
    if (n < enough) {
      if (wait_for(p, &p->nread, &p->writers) < 0)
        return -1;
      n = 0;
      continue;
    }
    if (n > src.size - done)
      n = src.size - done;
    if (copy_in(p, src, done, n) < 0) // another process unmapped it since the check
      return -1;
    p->nwrite += n;
    if (p->readers > 0)
      wakeup(&p->nwrite);
  }
  return src.size;
}

int pipewrite(struct pipe *p, struct span src) {
  if (span_check(src, ACCESS_READ) < 0)
    return -1;
  acquire(&p->lock);
  int n = write_locked(p, src);
  release(&p->lock);
  return n;
}
