// The disk of QEMU virt: a virtio block device behind the memory-mapped transport, version 2 (not legacy).
// Virtual I/O Device specification 1.1: 4.2 transport, 2.6 split virtqueue, 5.2 block device; sections are named below.
// Any number of transfers are under way at once, each of up to DISK_SEGMENTS buffers.
#include "kernel/dev/dev.h"
#include "kernel/fs/buf.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

// 4.2.2: registers, as byte offsets
enum {
  MAGIC = 0x000,
  VERSION = 0x004,
  DEVICE_ID = 0x008,
  DEVICE_FEATURES = 0x010,
  DEVICE_FEATURES_SEL = 0x014,
  DRIVER_FEATURES = 0x020,
  DRIVER_FEATURES_SEL = 0x024,
  QUEUE_SEL = 0x030,
  QUEUE_NUM_MAX = 0x034,
  QUEUE_NUM = 0x038,
  QUEUE_READY = 0x044,
  QUEUE_NOTIFY = 0x050,
  INTERRUPT_STATUS = 0x060,
  INTERRUPT_ACK = 0x064,
  STATUS = 0x070,
  QUEUE_DESC = 0x080, // each of the three: low half, then high half
  QUEUE_DRIVER = 0x090,
  QUEUE_DEVICE = 0x0a0,
  CONFIG_CAPACITY = 0x100, // 5.2.4: sectors, 64 bits
  CONFIG_SEG_MAX = 0x10c,
};

#define MAGIC_VALUE 0x74726976 // "virt"
#define ID_BLOCK 2

// 2.1: device status
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8

// 5.2.3 and 6: feature bits we know, numbered over both 32-bit words
#define F_SEG_MAX (1UL << 2)
#define F_FLUSH (1UL << 9)
#define F_VERSION_1 (1UL << 32)

#define SECTOR 512
#define QUEUE_SIZE 256 // descriptors, a power of two
#define REQUESTS 64    // transfers under way

// 2.6.5
struct descriptor {
  uint64 address;
  uint32 length;
  uint16 flags;
  uint16 next;
};
#define DESC_NEXT 1  // next is valid
#define DESC_WRITE 2 // the device writes

// 2.6.6 and 2.6.8
struct available {
  uint16 flags;
  uint16 index;
  uint16 ring[QUEUE_SIZE];
};
struct used {
  uint16 flags;
  uint16 index;
  struct {
    uint32 id; // first descriptor
    uint32 length;
  } ring[QUEUE_SIZE];
};

// A transfer under way. The first 16 bytes are the request's header (5.2.6); the device writes `status`.
struct request {
  uint32 type; // enum disk_op
  uint32 reserved;
  uint64 sector;
  volatile uchar status; // 0: done
  struct disk_wait *wait;
  struct request *next; // while free
};

static struct {
  struct spinlock lock; // guards all of this, and pending and failed of every disk_wait
  struct descriptor desc[QUEUE_SIZE] __attribute__((aligned(16)));
  struct available available __attribute__((aligned(2)));
  struct used used __attribute__((aligned(4)));

  uint16 free_desc;  // first of a chain through next
  uint free_count;   // its length
  uint16 seen;       // entries of the used ring dealt with
  uint16 announced;  // available.index when the device was last notified
  int room_waiters;  // processes that sleep for descriptors or a request
  uint max_segments; // of one transfer; constant
  uint64 blocks;     // size of the disk; constant
  int can_flush;     // constant

  struct request request[REQUESTS];
  struct request *free_request;
  struct request *of_desc[QUEUE_SIZE]; // by first descriptor
} disk;

static volatile uint32 *reg(uint offset) {
  return (volatile uint32 *)kva(VIRTIO0 + offset);
}

// What the device has written before must be read after, and the other way round.
static void device_fence(void) {
  asm volatile("fence iorw, iorw" ::: "memory");
}

static void __attribute__((noreturn)) refuse(const char *why) {
  printf("disk: %s\n", why);
  power_off();
}

static void set_address(uint offset, const void *p) {
  uint64 pa = pa_of(p);
  *reg(offset) = (uint32)pa;
  *reg(offset + 4) = pa >> 32;
}

static uint64 device_features(void) {
  *reg(DEVICE_FEATURES_SEL) = 0;
  uint64 low = *reg(DEVICE_FEATURES);
  *reg(DEVICE_FEATURES_SEL) = 1;
  return low | (uint64)*reg(DEVICE_FEATURES) << 32;
}

// 3.1.1, steps 1 to 6
static void negotiate(void) {
  if (*reg(MAGIC) != MAGIC_VALUE || *reg(DEVICE_ID) != ID_BLOCK)
    refuse("no virtio block device on bus virtio-mmio-bus.0");
  if (*reg(VERSION) != 2)
    refuse("the virtio device is a legacy one; QEMU wants -global virtio-mmio.force-legacy=false");
  *reg(STATUS) = 0; // reset
  *reg(STATUS) = STATUS_ACKNOWLEDGE;
  *reg(STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
  uint64 features = device_features() & (F_SEG_MAX | F_FLUSH | F_VERSION_1);
  if (!(features & F_VERSION_1))
    refuse("the device does not offer VIRTIO_F_VERSION_1");
  *reg(DRIVER_FEATURES_SEL) = 0;
  *reg(DRIVER_FEATURES) = (uint32)features;
  *reg(DRIVER_FEATURES_SEL) = 1;
  *reg(DRIVER_FEATURES) = features >> 32;
  *reg(STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
  if (!(*reg(STATUS) & STATUS_FEATURES_OK))
    refuse("the device refuses the features it offered");
  disk.can_flush = (features & F_FLUSH) != 0; // without, every write is durable when it is done (5.2.6.2)
  disk.max_segments = features & F_SEG_MAX ? *reg(CONFIG_SEG_MAX) : 1;
  if (disk.max_segments > DISK_SEGMENTS)
    disk.max_segments = DISK_SEGMENTS;
  if (disk.max_segments == 0)
    refuse("the device takes no data");
}

// 4.2.3.2
static void start_queue(void) {
  *reg(QUEUE_SEL) = 0;
  if (*reg(QUEUE_READY) || *reg(QUEUE_NUM_MAX) < QUEUE_SIZE)
    refuse("the device's queue is too short");
  *reg(QUEUE_NUM) = QUEUE_SIZE;
  set_address(QUEUE_DESC, disk.desc);
  set_address(QUEUE_DRIVER, &disk.available);
  set_address(QUEUE_DEVICE, &disk.used);
  *reg(QUEUE_READY) = 1;
}

void virtio_disk_init(void) {
  initlock(&disk.lock, RANK_DISK);
  negotiate();
  start_queue();
  for (uint i = 0; i < QUEUE_SIZE; i++)
    disk.desc[i].next = i + 1;
  disk.free_count = QUEUE_SIZE;
  for (uint i = 0; i < REQUESTS; i++) {
    disk.request[i].next = disk.free_request;
    disk.free_request = &disk.request[i];
  }
  *reg(STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
  disk.blocks = (*reg(CONFIG_CAPACITY) | (uint64)*reg(CONFIG_CAPACITY + 4) << 32) / (BSIZE / SECTOR);
}

uint64 disk_blocks(void) {
  return disk.blocks;
}

static void notify(void) {
  if (disk.announced == disk.available.index)
    return;
  disk.announced = disk.available.index;
  device_fence(); // the ring before the notification
  *reg(QUEUE_NOTIFY) = 0;
}

// Appends a descriptor to the chain that ends at *last, which `last` then points past.
static void append(uint16 **last, const void *p, uint32 length, uint16 flags) {
  uint16 i = disk.free_desc;
  struct descriptor *d = &disk.desc[i];
  disk.free_desc = d->next;
  disk.free_count--;
  d->address = pa_of(p);
  d->length = length;
  d->flags = flags | DESC_NEXT;
  **last = i;
  *last = &d->next;
}

// Gives the device one request of n buffers; the lock is held.
static void submit(struct disk_wait *w, enum disk_op op, uint64 block, struct buf *const bufs[], uint n) {
  while (disk.free_count < n + 2 || !disk.free_request) {
    notify();
    disk.room_waiters++;
    sleep(&disk.room_waiters, &disk.lock);
    disk.room_waiters--;
  }
  struct request *r = disk.free_request;
  disk.free_request = r->next;
  r->type = op;
  r->reserved = 0;
  r->sector = block * (BSIZE / SECTOR);
  r->status = 0xff;
  r->wait = w;

  uint16 head, *last = &head;
  append(&last, r, 16, 0);
  for (uint i = 0; i < n; i++)
    append(&last, bufs[i]->data, BSIZE, op == DISK_READ ? DESC_WRITE : 0);
  append(&last, (const uchar *)&r->status, 1, DESC_WRITE);
  struct descriptor *tail = (struct descriptor *)((uchar *)last - __builtin_offsetof(struct descriptor, next));
  tail->flags &= ~DESC_NEXT;

  disk.of_desc[head] = r;
  disk.available.ring[disk.available.index % QUEUE_SIZE] = head;
  device_fence(); // the entry before the index
  disk.available.index++;
}

void disk_expect(struct disk_wait *w) {
  acquire(&disk.lock);
  if (w->pending++ == 0)
    w->failed = 0;
  release(&disk.lock);
}

void disk_start(struct disk_wait *w, enum disk_op op, uint block, struct buf *const bufs[], uint n) {
  int failed = fail_here(op == DISK_READ ? FAIL_read : FAIL_write);
  acquire(&disk.lock);
  w->failed |= failed;
  for (uint done = 0; done < n; done += disk.max_segments) {
    uint part = n - done < disk.max_segments ? n - done : disk.max_segments;
    if (done)
      w->pending++;
    submit(w, op, (uint64)block + done, bufs + done, part);
  }
  release(&disk.lock);
}

int disk_wait(struct disk_wait *w) {
  acquire(&disk.lock);
  notify();
  while (w->pending)
    sleep(w, &disk.lock);
  int failed = w->failed;
  release(&disk.lock);
  return failed ? -1 : 0;
}

int disk_flush(void) {
  struct disk_wait w = {0};
  if (!disk.can_flush)
    return 0;
  disk_expect(&w);
  acquire(&disk.lock);
  submit(&w, DISK_FLUSH, 0, 0, 0);
  release(&disk.lock);
  return disk_wait(&w);
}

// Gives back the chain that starts at `head`.
static void free_chain(uint16 head) {
  uint16 last = head;
  disk.free_count++;
  while (disk.desc[last].flags & DESC_NEXT) {
    last = disk.desc[last].next;
    disk.free_count++;
  }
  disk.desc[last].next = disk.free_desc;
  disk.free_desc = head;
}

static void complete(uint16 head) {
  struct request *r = disk.of_desc[head];
  struct disk_wait *w = r->wait;
  if (r->status != 0)
    w->failed = 1;
  free_chain(head);
  r->next = disk.free_request;
  disk.free_request = r;
  if (__atomic_sub_fetch(&w->pending, 1, __ATOMIC_RELEASE) == 0) // bio.c looks at pending without our lock
    wakeup(w);
}

void virtio_disk_intr(void) {
  acquire(&disk.lock);
  *reg(INTERRUPT_ACK) = *reg(INTERRUPT_STATUS) & 3;
  device_fence(); // acknowledge, then look: what comes later interrupts again
  while (disk.seen != __atomic_load_n(&disk.used.index, __ATOMIC_ACQUIRE)) {
    device_fence();
    complete(disk.used.ring[disk.seen % QUEUE_SIZE].id);
    disk.seen++;
  }
  if (disk.room_waiters)
    wakeup(&disk.room_waiters);
  release(&disk.lock);
}
