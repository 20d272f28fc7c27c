// Blocks of the disk in memory (fs/bio.c).
// A buffer's content belongs to whoever may change that block of the disk: a file's blocks to the holder of its inode's
// lock, an inode's 64 bytes to the holder of that lock, the bitmap to the holder of the allocation lock (fs/fs.c).
// Content changes only inside an operation, and log_write() follows every change.
#pragma once
#include "kernel/dev/virtio.h"
#include "kernel/fs.h"

struct buf {
  uint block;    // which block of the disk; bcache lock
  int refs;      // users, and one for the log while it has yet to write the block home; atomic, from 0 up: bcache lock
  uchar recent;  // used since the clock hand came by; bcache lock
  uchar state;   // enum buf_state; bcache lock to change
  uchar in_log;  // changed by the running transaction; log lock
  uchar unhomed; // in the log on disk, not yet in its own place; log lock
  struct buf *hash_next; // bcache lock
  struct disk_wait io;   // the transfer that fills it
  uchar *data;           // BSIZE bytes; constant
};

enum buf_state { BUF_BLANK, BUF_LOADING, BUF_VALID };

struct buf *bread(uint block);        // with its content; 0 if the block is outside the disk or can't be read
struct buf *bread_cached(uint block); // only if that needs no transfer, else 0
struct buf *bfresh(uint block);       // with undefined content, which the caller, who owns the block, fills entirely
void bprefetch(uint block);           // starts to read it, without waiting
void bhold(struct buf *b);            // one more reference
void brelse(struct buf *b);           // one less
