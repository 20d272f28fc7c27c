// The write-ahead log. Operations run together in one transaction; when the last of them ends, the transaction commits:
// its blocks go to the log in one transfer, then the header that makes them count. Transactions queue up in the log;
// only when it is full are the blocks written to their own places, each once however often it was logged, straight from
// the buffer cache, and the log starts again. Replaying the log from its start gives the state of the last commit.
//
// Order on disk, kept by flushing the disk's own cache between steps:
//   commit:     log blocks | header         (the header may wait in the disk's cache: log_sync() gets it out)
//   checkpoint: | home blocks | empty header |
//
// Buffers are changed only by running operations, and neither step starts while one runs, so both write what is cached.
#include "kernel/fs/log.h"
#include "kernel/dev/dev.h"
#include "kernel/fs/buf.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/fs/inode.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

// Block logstart: the blocks logged, in order; a block may occur again, and then the later one counts.
struct header {
  uint n;
  uint block[BSIZE / sizeof(uint) - 1];
};

// The part of the header in use must lie in its first sector, which a disk writes whole or not at all.
#define MAX_SLOTS (512 / sizeof(uint) - 1)

static struct {
  struct spinlock lock; // guards all but start and capacity, which are constant
  uint start;           // the header's block; the slots follow it
  uint capacity;        // slots
  uint committed;       // slots [0, committed) hold committed blocks
  uint added;           // the next ones will hold the running transaction's
  struct buf *slot[MAX_SLOTS];
  uint running;              // operations in the transaction
  uint reserved;             // blocks they may still add, counted from their begin
  int busy;                  // a commit, checkpoint or flush is being written: nothing begins
  int flushed;               // does the header survive a power cut?
  int failed;                // has the disk failed to keep something? Then nothing is written any more; atomic
  uint next_ticket, serving; // operations begin in the order they came: none waits for ever
  struct buf *header;
} log;

uint log_capacity(void) {
  return log.capacity;
}

static struct header *header(void) {
  return (struct header *)log.header->data;
}

static int has_failed(void) {
  return __atomic_load_n(&log.failed, __ATOMIC_RELAXED);
}

void log_fail(const char *what, uint block) {
  if (!__atomic_exchange_n(&log.failed, 1, __ATOMIC_RELAXED))
    printf("file system: the disk failed to %s block %u: nothing is written any more\n", what, block);
}

// Waits for transfers to the disk, which begin at `block`: 0, or -1 with the file system failed.
static int wait_written(struct disk_wait *w, uint block) {
  if (disk_wait(w) == 0)
    return 0;
  log_fail("write", block);
  return -1;
}

static int flush(void) {
  if (disk_flush() == 0)
    return 0;
  log_fail("keep what was written up to", log.start);
  return -1;
}

static void write_buffers(struct disk_wait *w, uint block, struct buf *const bufs[], uint n) {
  for (uint i = 0; i < n; i += DISK_SEGMENTS) {
    disk_expect(w);
    disk_start(w, DISK_WRITE, block + i, bufs + i, n - i < DISK_SEGMENTS ? n - i : DISK_SEGMENTS);
  }
}

static int write_header(void) {
  struct disk_wait w = {0};
  write_buffers(&w, log.start, &log.header, 1);
  return wait_written(&w, log.start);
}

// Makes the transaction count. busy is set and nothing runs, so this process alone uses the log. If a write fails, the
// header on disk is the last commit's or, whole, this one's.
static void commit(void) {
  struct disk_wait w = {0};
  struct buf **added = log.slot + log.committed;
  write_buffers(&w, log.start + 1 + log.committed, added, log.added);
  for (uint i = 0; i < log.added; i++) {
    header()->block[log.committed + i] = added[i]->block;
    added[i]->in_log = 0;
    added[i]->unhomed = 1;
  }
  if (wait_written(&w, log.start + 1 + log.committed) < 0 || flush() < 0)
    return;
  log.committed += log.added;
  log.added = 0;
  header()->n = log.committed;
  write_header();
  log.flushed = 0;
}

// Writes every committed block home and empties the log. busy is set and nothing runs. If a write fails, the log is
// still there to replay.
static void checkpoint(void) {
  struct disk_wait w = {0};
  uint n = 0; // slots [0, n): the blocks written, each once
  if (!log.flushed && flush() < 0)
    return;
  for (uint i = 0; i < log.committed; i++) {
    struct buf *b = log.slot[i];
    if (b->unhomed) {
      b->unhomed = 0;
      log.slot[n] = b;
      write_buffers(&w, b->block, &log.slot[n++], 1);
    }
  }
  if (wait_written(&w, header()->block[0]) < 0 || flush() < 0)
    return;
  header()->n = 0;
  if (write_header() < 0 || flush() < 0)
    return;
  log.flushed = 1;
  log.committed = 0;
  for (uint i = 0; i < n; i++)
    brelse(log.slot[i]);
}

// Does `step`, which may fail the file system, with the log to itself; lock held, and again on return.
static void alone(void (*step)(void)) {
  log.busy = 1;
  release(&log.lock);
  step();
  acquire(&log.lock);
  log.busy = 0;
}

static void wake_waiting(void) {
  if (has_failed() || log.next_ticket != log.serving)
    wakeup(&log);
}

// No one needs a turn any more. Lock held, and let go.
static int refuse(void) {
  wake_waiting();
  release(&log.lock);
  return -1;
}

int log_begin(uint blocks) {
  int full = fail_here(FAIL_log);
  acquire(&log.lock);
  uint ticket = log.next_ticket++;
  for (;;) {
    if (has_failed())
      return refuse();
    int turn = ticket == log.serving && !log.busy;
    if (turn && !full && log.committed + log.added + log.reserved + blocks <= log.capacity)
      break;
    if (turn && log.running == 0) {
      alone(checkpoint);
      full = 0;
    } else {
      sleep(&log, &log.lock);
    }
  }
  log.serving++;
  log.running++;
  log.reserved += blocks;
  wake_waiting();
  release(&log.lock);
  return 0;
}

void log_end(uint blocks) {
  acquire(&log.lock);
  log.running--;
  log.reserved -= blocks;
  if (log.running == 0 && log.added && !has_failed())
    alone(commit);
  wake_waiting();
  release(&log.lock);
}

int begin_op(void) {
  return log_begin(MAXOPBLOCKS);
}

void end_op(void) {
  log_end(MAXOPBLOCKS);
  reap_orphans();
}

void log_write(struct buf *b) {
  acquire(&log.lock);
  if (log.running == 0)
    panic("log_write: block %u outside an operation", b->block);
  if (!b->in_log) {
    if (log.committed + log.added >= log.capacity)
      panic("log_write: an operation wrote more than it reserved");
    b->in_log = 1;
    log.slot[log.committed + log.added++] = b;
    if (!b->unhomed)
      bhold(b); // until a checkpoint
  }
  release(&log.lock);
}

static void sync_disk(void) {
  log.flushed = log.flushed || flush() == 0;
}

int log_sync(void) {
  acquire(&log.lock);
  uint ticket = log.next_ticket++;
  while (!has_failed() && (ticket != log.serving || log.busy || log.running))
    sleep(&log, &log.lock);
  if (has_failed())
    return refuse();
  log.serving++;
  alone(sync_disk);
  wake_waiting();
  release(&log.lock);
  return has_failed() ? -1 : 0;
}

// Copies committed blocks to their places. Of a block logged more than once only the last is read, straight into the
// buffer of the block's own place.
static void replay(void) {
  struct disk_wait reads = {0}, writes = {0};
  uint n = 0; // slots [0, n): the blocks replayed
  for (uint i = header()->n; i-- > 0;) {
    uint later = 0;
    while (later < n && log.slot[later]->block != header()->block[i])
      later++;
    if (later < n)
      continue;
    if (!(log.slot[n] = bfresh(header()->block[i])))
      fs_refuse("its log names block %u, which the disk does not have", header()->block[i]);
    disk_expect(&reads);
    disk_start(&reads, DISK_READ, log.start + 1 + i, &log.slot[n++], 1);
  }
  if (disk_wait(&reads) < 0)
    fs_refuse("its log can't be read");
  for (uint i = 0; i < n; i++)
    write_buffers(&writes, log.slot[i]->block, &log.slot[i], 1);
  if (wait_written(&writes, log.slot[0]->block) < 0 || flush() < 0)
    fs_refuse("its log can't be replayed");
  for (uint i = 0; i < n; i++)
    brelse(log.slot[i]);
}

void log_init(const struct superblock *sb) {
  initlock(&log.lock, RANK_LOG);
  log.start = sb->logstart;
  log.capacity = sb->nlog - 1 < MAX_SLOTS ? sb->nlog - 1 : MAX_SLOTS;
  log.header = bread(log.start);
  if (!log.header)
    fs_refuse("its log can't be read");
  uint n = header()->n;
  if (n > sb->nlog - 1 || n > MAX_SLOTS)
    fs_refuse("its log claims %u blocks of %u", n, sb->nlog - 1);
  for (uint i = 0; i < n; i++) {
    uint block = header()->block[i];
    if (block < 2 || block >= sb->size || (block >= log.start && block < log.start + sb->nlog))
      fs_refuse("its log would overwrite block %u", block);
  }
  if (n) {
    printf("log: replaying %u blocks\n", n);
    replay();
    header()->n = 0;
    if (write_header() < 0 || flush() < 0)
      fs_refuse("its log can't be emptied");
  }
  log.flushed = 1;
}
