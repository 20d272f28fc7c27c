// The file system's start, and space on disk: which blocks and which inodes are free.
// Relies on the log for changes that last, and on the buffer cache.
#include "kernel/fs.h"
#include "kernel/dev/virtio.h"
#include "kernel/fs/buf.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/log.h"
#include "kernel/lib/failpoint.h"
#include "kernel/proc/lock.h"

struct superblock sb;

// What is free, and where to look first. The lock also guards the bitmap blocks, and type fields of inodes that are
// free.
static struct {
  struct sleeplock lock;
  uint first_data;  // first block that a file may hold; constant
  uint free_blocks; // how many are free
  uint next_block;  // the search goes on from here, around the disk
  uint free_inodes;
  uint next_inode; // no free inode below
} space;

#define WORD_BITS 64

uint bitmap_blocks(void) {
  return sb.size / BPB + 1;
}

int is_data_block(uint block) {
  return block >= space.first_data && block < sb.size;
}

// Reads the superblock and refuses what would lead outside the disk or mix the regions up.
static void read_superblock(void) {
  struct buf *b = bread(1);
  if (!b)
    fs_refuse("block 1 can't be read");
  sb = *(struct superblock *)b->data;
  brelse(b);
  if (sb.magic != FSMAGIC)
    fs_refuse("no file system on it (magic number %x)", sb.magic);
  if (sb.size > disk_blocks())
    fs_refuse("file system of %u blocks on a disk of %lu", sb.size, disk_blocks());
  uint64 log_end = (uint64)sb.logstart + sb.nlog;
  uint64 inodes_end = (uint64)sb.inodestart + sb.ninodes / IPB + 1;
  uint64 bitmap_end = (uint64)sb.bmapstart + bitmap_blocks();
  if (sb.logstart < 2 || sb.inodestart < log_end || sb.bmapstart < inodes_end || sb.size <= bitmap_end)
    fs_refuse("the regions of its superblock overlap");
  if (sb.nlog <= MAXOPBLOCKS || sb.ninodes <= ROOTINO)
    fs_refuse("log of %u blocks, %u inodes: too few", sb.nlog, sb.ninodes);
  space.first_data = bitmap_end;
}

static void count_free_blocks(void) {
  for (uint first = 0; first < sb.size; first += BPB) {
    struct buf *b = bread(BBLOCK(first, sb));
    if (!b)
      fs_refuse("its bitmap can't be read");
    for (uint i = 0; i < BPB && first + i < sb.size; i++)
      if (first + i >= space.first_data && !(b->data[i / 8] & 1 << i % 8))
        space.free_blocks++;
    brelse(b);
  }
}

void fsinit(int dev) {
  if (dev != ROOTDEV)
    panic("fsinit: no device %d", dev);
  read_superblock();
  log_init(&sb);
  initsleeplock(&space.lock, "space");
  space.next_block = space.first_data;
  space.next_inode = sb.ninodes;
  count_free_blocks();
  find_inodes();
}

// First bit that is 0 in [from, end) of a bitmap block, or end.
static uint first_clear(const uchar *map, uint from, uint end) {
  const uint64 *words = (const uint64 *)map;
  while (from < end) {
    uint64 used = words[from / WORD_BITS] >> from % WORD_BITS;
    if (!(used & 1))
      return from;
    if (used == ~0UL >> from % WORD_BITS) { // nothing left in this word
      from = (from / WORD_BITS + 1) * WORD_BITS;
      continue;
    }
    while (used & 1) {
      used >>= 1;
      from++;
    }
  }
  return end;
}

// Takes the first free block of [from, end), which lies within one bitmap block. 0 if there is none.
static uint take_block(uint from, uint end) {
  struct buf *b = bread(BBLOCK(from, sb));
  if (!b)
    return 0;
  uint base = from - from % BPB;
  uint block = base + first_clear(b->data, from - base, end - base);
  if (block < end) {
    b->data[(block - base) / 8] |= 1 << block % 8;
    log_write(b);
  }
  brelse(b);
  return block < end ? block : 0;
}

uint balloc(void) {
  uint block = 0;
  if (fail_here(FAIL_block))
    return 0;
  acquiresleep(&space.lock);
  // from where the last search ended to the end of the disk, then from the first data block to there, bitmap block by
  // bitmap block
  uint from = space.next_block;
  for (uint i = 0; space.free_blocks && !block && i <= bitmap_blocks(); i++) {
    uint end = from - from % BPB + BPB;
    if (end > sb.size)
      end = sb.size;
    block = take_block(from, end);
    from = end == sb.size ? space.first_data : end;
  }
  if (block) {
    space.free_blocks--;
    space.next_block = block + 1 < sb.size ? block + 1 : space.first_data;
  }
  releasesleep(&space.lock);
  return block;
}

void bfree(uint block) {
  if (!is_data_block(block)) {
    printf("file system: block %u can't be freed\n", block);
    return;
  }
  struct buf *b = bread(BBLOCK(block, sb));
  if (!b) {
    log_fail("read", BBLOCK(block, sb));
    return;
  }
  acquiresleep(&space.lock);
  uchar *byte = &b->data[block % BPB / 8];
  if (*byte & 1 << block % 8) {
    *byte &= ~(1 << block % 8);
    log_write(b);
    space.free_blocks++;
  } else {
    printf("file system: block %u was free already\n", block);
  }
  releasesleep(&space.lock);
  brelse(b);
}

// Turns a free inode of block b, from inum on, into one of the type. Its number, or 0 if none is free.
static uint take_inode(struct buf *b, uint inum, short type) {
  struct dinode *inodes = (struct dinode *)b->data;
  for (uint i = inum % IPB; i < IPB && inum < sb.ninodes; i++, inum++)
    if (inodes[i].type == 0) {
      memset(&inodes[i], 0, sizeof inodes[i]);
      inodes[i].type = type;
      log_write(b);
      return inum;
    }
  return 0;
}

uint inum_alloc(short type) {
  uint found = 0;
  if (fail_here(FAIL_inode))
    return 0;
  acquiresleep(&space.lock);
  for (uint inum = space.next_inode; space.free_inodes && !found && inum < sb.ninodes; inum += IPB - inum % IPB) {
    struct buf *b = bread(IBLOCK(inum, sb));
    if (b) {
      found = take_inode(b, inum, type);
      brelse(b);
    }
  }
  if (found) {
    space.free_inodes--;
    space.next_inode = found + 1;
  }
  releasesleep(&space.lock);
  return found;
}

struct buf *inode_block(uint inum) {
  struct buf *b = bread(IBLOCK(inum, sb));
  if (!b)
    log_fail("read again", IBLOCK(inum, sb));
  return b;
}

void inum_found_free(uint inum) {
  space.free_inodes++;
  if (inum < space.next_inode)
    space.next_inode = inum;
}

void inum_free(uint inum) {
  struct buf *b = inode_block(inum);
  if (!b)
    return;
  acquiresleep(&space.lock);
  ((struct dinode *)b->data)[inum % IPB].type = 0;
  log_write(b);
  inum_found_free(inum);
  releasesleep(&space.lock);
  brelse(b);
}
