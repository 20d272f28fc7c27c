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

// disk_expect() announces one transfer, at any time. disk_start() starts it: the data of n buffers to or from the
// blocks from `block` on. disk_wait() sleeps until none is pending: 0, or -1 if any failed; transfers begin at the
// latest then. The last two may sleep, with no spinlock held.
void disk_expect(struct disk_wait *w);
void disk_start(struct disk_wait *w, enum disk_op op, uint block, struct buf *const bufs[], uint n);
int disk_wait(struct disk_wait *w);

int disk_flush(void);    // waits until all that was written before survives a power cut; 0 or -1
#define DISK_SEGMENTS 64 // most buffers of one transfer
