// The disk: transfers of file system blocks, started one by one, waited for together.
// Register and queue layouts are those of the virtio specification 1.1, used by dev/virtio_disk.c.
#pragma once
#include "kernel/types.h"

struct buf;

enum disk_op { DISK_READ = 0, DISK_WRITE = 1, DISK_FLUSH = 4 }; // virtio 5.2.6

// What someone waits for. It must stay in place until disk_wait() has returned.
struct disk_wait {
  int pending; // transfers not yet done; disk lock
  int failed;  // did one of them fail? disk lock
};

uint64 disk_blocks(void); // blocks of BSIZE bytes the disk has

// All may sleep; no spinlock held. disk_expect() announces one transfer and may be
// called with a spinlock held; disk_start() moves the data of n buffers to or
// from the blocks from `block` on, the transfer announced; disk_wait() sleeps until none is pending: 0, or -1 if any
// failed.
void disk_expect(struct disk_wait *w);
void disk_start(struct disk_wait *w, enum disk_op op, uint block, struct buf *const bufs[], uint n);
void disk_kick(void); // what was started begins at the latest now; disk_wait() does it by itself
int disk_wait(struct disk_wait *w);

int disk_flush(void);    // waits until all that was written before survives a power cut; 0 or -1
#define DISK_SEGMENTS 64 // most buffers of one transfer
