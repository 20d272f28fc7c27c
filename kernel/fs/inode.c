// Inodes in memory, and the content of files. An inode that nobody uses stays cached until its slot is wanted.
// One without a name is freed when its last user lets go: at once within an operation that has room for that
// (iput_now), else from a list that the next operation's end works off.
#include "kernel/fs/buf.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/log.h"
#include "kernel/lib/failpoint.h"
#include "kernel/proc/lock.h"

// Enough for every open file, every working directory, and what each process holds on its way through paths, at once.
#define SLOTS (NPROC * (NOFILE + 6))
#define BUCKETS 256
#define READ_AHEAD 16 // blocks fetched together when one is not cached

struct itable {
  struct spinlock lock; // guards the fields below and those of every inode that say so
  struct inode slot[SLOTS];
  struct inode *bucket[BUCKETS];
  struct inode unused;   // head of the ring of unreferenced inodes; next is the one unused for longest
  struct inode *orphans; // unnamed, with one reference, which the list holds
} itable;

void iinit(void) {
  initlock(&itable.lock, RANK_INODE_CACHE);
  struct inode *last = &itable.unused;
  for (struct inode *ip = itable.slot; ip < itable.slot + SLOTS; ip++) {
    initsleeplock(&ip->lock, "inode");
    ip->prev = last;
    last->next = ip;
    last = ip;
  }
  last->next = &itable.unused;
  itable.unused.prev = last;
}

static struct inode **bucket_of(uint inum) {
  return &itable.bucket[inum % BUCKETS];
}

static void leave_ring(struct inode *ip) {
  ip->prev->next = ip->next;
  ip->next->prev = ip->prev;
}

static void join_ring(struct inode *ip) {
  ip->prev = itable.unused.prev;
  ip->next = &itable.unused;
  ip->prev->next = ip;
  ip->next->prev = ip;
}

// Gives the slot unused for longest to an inode; 0 if all are in use.
static struct inode *reuse_slot(uint dev, uint inum) {
  struct inode *ip = itable.unused.next;
  if (ip == &itable.unused || fail_here(FAIL_inode))
    return 0;
  if (ip->inum)
    for (struct inode **p = bucket_of(ip->inum); *p; p = &(*p)->hash_next)
      if (*p == ip) {
        *p = ip->hash_next;
        break;
      }
  ip->dev = dev;
  ip->inum = inum;
  ip->valid = 0;
  ip->hash_next = *bucket_of(inum);
  *bucket_of(inum) = ip;
  return ip;
}

struct inode *iget(uint dev, uint inum) {
  if (inum == 0 || inum >= sb.ninodes)
    return 0;
  acquire(&itable.lock);
  struct inode *ip = *bucket_of(inum);
  while (ip && (ip->inum != inum || ip->dev != dev))
    ip = ip->hash_next;
  if (!ip)
    ip = reuse_slot(dev, inum);
  if (ip && ip->ref++ == 0)
    leave_ring(ip);
  release(&itable.lock);
  return ip;
}

struct inode *idup(struct inode *ip) {
  acquire(&itable.lock);
  ip->ref++;
  release(&itable.lock);
  return ip;
}

// Fills in a locked inode from disk. If that can't be done its type is 0, and the next ilock() tries again.
static void load(struct inode *ip) {
  ip->type = ip->nlink = 0;
  ip->size = 0;
  struct buf *b = bread(IBLOCK(ip->inum, sb));
  if (!b)
    return;
  const struct dinode *disk = (struct dinode *)b->data + ip->inum % IPB;
  if (disk->type == T_DIR || disk->type == T_FILE || disk->type == T_DEVICE) {
    ip->type = disk->type;
    ip->major = disk->major;
    ip->minor = disk->minor;
    ip->nlink = disk->nlink;
    ip->size = disk->size;
    memmove(ip->addrs, disk->addrs, sizeof ip->addrs);
    ip->valid = 1;
  }
  brelse(b);
}

void ilock(struct inode *ip) {
  acquiresleep(&ip->lock);
  if (!ip->valid)
    load(ip);
}

void iunlock(struct inode *ip) {
  releasesleep(&ip->lock);
}

void iupdate(struct inode *ip) {
  struct buf *b = inode_block(ip->inum);
  if (!b)
    return;                                                        // nothing of this operation will count
  struct dinode *disk = (struct dinode *)b->data + ip->inum % IPB; // whose type is for fs/fs.c to change
  disk->major = ip->major;
  disk->minor = ip->minor;
  disk->nlink = ip->nlink;
  disk->size = ip->size;
  memmove(disk->addrs, ip->addrs, sizeof ip->addrs);
  log_write(b);
  brelse(b);
}

struct inode *ialloc(uint dev, short type) {
  uint inum = inum_alloc(type);
  struct inode *ip = inum ? iget(dev, inum) : 0;
  if (inum && !ip)
    inum_free(inum);
  return ip;
}

// Nobody but its last user can see an unnamed inode, so its fields may be read without its lock.
static int is_orphan(struct inode *ip) {
  return ip->ref == 1 && ip->valid && ip->type && ip->nlink == 0;
}

void iput(struct inode *ip) {
  acquire(&itable.lock);
  if (is_orphan(ip)) {
    ip->next = itable.orphans;
    __atomic_store_n(&itable.orphans, ip, __ATOMIC_RELAXED);
  } else if (--ip->ref == 0) {
    join_ring(ip);
  }
  release(&itable.lock);
}

void iunlockput(struct inode *ip) {
  iunlock(ip);
  iput(ip);
}

void iput_now(struct inode *ip) {
  acquire(&itable.lock);
  int orphan = is_orphan(ip);
  release(&itable.lock);
  if (orphan) {
    ilock(ip);
    if (itrunc(ip)) {
      ip->valid = 0; // whoever gets the number next reads it anew
      inum_free(ip->inum);
    }
    iunlock(ip);
  }
  iput(ip);
}

void reap_orphans(void) {
  while (__atomic_load_n(&itable.orphans, __ATOMIC_RELAXED)) { // without the lock: mostly there are none
    acquire(&itable.lock);
    struct inode *ip = itable.orphans;
    if (ip)
      __atomic_store_n(&itable.orphans, ip->next, __ATOMIC_RELAXED);
    release(&itable.lock);
    if (!ip)
      return;
    if (log_begin(FREE_BLOCKS) < 0) {
      iput(ip); // back onto the list: the next boot will free it
      return;
    }
    iput_now(ip); // back onto the list, shorter, if one operation can't free all its blocks
    log_end(FREE_BLOCKS);
  }
}

void iput_op(struct inode *ip) {
  iput(ip);
  reap_orphans();
}

void find_inodes(void) {
  for (uint inum = 0; inum < sb.ninodes; inum++) {
    uint block = IBLOCK(inum, sb);
    if (inum % (IPB * READ_AHEAD) == 0)
      for (uint i = 0; i < READ_AHEAD && block + i < sb.bmapstart; i++)
        bprefetch(block + i);
    struct buf *b = bread(block);
    if (!b)
      fs_refuse("inode %u can't be read", inum);
    struct dinode disk = ((struct dinode *)b->data)[inum % IPB];
    brelse(b);
    if (inum && disk.type == 0) {
      inum_found_free(inum);
    } else if (inum && disk.nlink == 0) {
      struct inode *ip = iget(ROOTDEV, inum);
      ilock(ip);
      iunlock(ip);
      iput_op(ip);
    }
  }
}

void walk_end(struct walk *w) {
  if (w->indirect)
    brelse(w->indirect);
}

// The place in the indirect block that names block `index` of the file; 0 if there is no indirect block or it can't be
// read.
static uint *indirect_entry(struct walk *w, uint index) {
  uint block = w->ip->addrs[NDIRECT];
  if (!w->indirect && is_data_block(block))
    w->indirect = bread(block);
  return w->indirect ? (uint *)w->indirect->data + (index - NDIRECT) : 0;
}

// The number of block `index` of the file, 0 if it has none.
static uint number_of(struct walk *w, uint index) {
  if (index < NDIRECT)
    return w->ip->addrs[index];
  uint *entry = index < MAXFILE ? indirect_entry(w, index) : 0;
  return entry ? *entry : 0;
}

struct buf *walk_read(struct walk *w, uint index) {
  uint block = number_of(w, index);
  if (!is_data_block(block))
    return 0;
  struct buf *b = bread_cached(block);
  if (b)
    return b;
  for (uint i = index; i < index + READ_AHEAD && (uint64)i * BSIZE < w->ip->size; i++) {
    uint ahead = number_of(w, i);
    if (is_data_block(ahead))
      bprefetch(ahead);
  }
  return bread(block);
}

int readi(struct inode *ip, struct span dst, uint32 offset) {
  struct walk w = {.ip = ip};
  uint64 end = offset < ip->size ? ip->size - offset : 0;
  uint64 done = 0;
  int result = 0;
  if (end > dst.size)
    end = dst.size;
  while (done < end && result == 0) {
    uint at = (offset + done) % BSIZE;
    uint n = end - done < BSIZE - at ? end - done : BSIZE - at;
    struct buf *b = walk_read(&w, (offset + done) / BSIZE);
    result = b ? span_write(dst, done, b->data + at, n) : -1;
    if (b)
      brelse(b);
    done += n;
  }
  walk_end(&w);
  return result < 0 ? -1 : (int)done;
}

void stati(struct inode *ip, struct stat *st) {
  *st = (struct stat){.dev = ip->dev, .ino = ip->inum, .type = ip->type, .nlink = ip->nlink, .size = ip->size};
}

// Gives the file a zeroed indirect block.
static int add_indirect(struct walk *w) {
  uint block = balloc();
  if (!block)
    return -1;
  w->indirect = bfresh(block);
  memset(w->indirect->data, 0, BSIZE);
  log_write(w->indirect);
  w->ip->addrs[NDIRECT] = block;
  w->changed = 1;
  return 0;
}

// Gives the file, which has none there, a block `index`. Its buffer has undefined content. 0 if there is no space.
static struct buf *add_block(struct walk *w, uint index) {
  uint block = balloc();
  if (!block)
    return 0;
  uint *entry = &w->ip->addrs[index];
  if (index >= NDIRECT) {
    if (!w->ip->addrs[NDIRECT])
      add_indirect(w);
    entry = indirect_entry(w, index);
  }
  if (!entry) {
    bfree(block);
    return 0;
  }
  *entry = block;
  if (index < NDIRECT)
    w->changed = 1;
  else
    log_write(w->indirect);
  return bfresh(block);
}

// Writes data to bytes [at, at + n) of block `index`, which is added if the file lacks it: 0, or -1.
static int write_block(struct walk *w, uint index, uint at, const uchar *data, uint n) {
  uint block = number_of(w, index);
  if (block && !is_data_block(block))
    return -1;
  struct buf *b = !block ? add_block(w, index) : n == BSIZE ? bfresh(block) : bread(block);
  if (!b)
    return -1;
  if (!block && n < BSIZE)
    memset(b->data, 0, BSIZE);
  memmove(b->data + at, data, n);
  log_write(b);
  brelse(b);
  return 0;
}

int writei(struct inode *ip, struct span src, uint32 offset) {
  struct walk w = {.ip = ip};
  uchar
      data[BSIZE]; // a copy from a program may fail half way: it must not be the cached block that is then half changed
  uint64 done = 0;
  if (offset > ip->size)
    return -1;
  while (done < src.size && offset + done < MAXFILE * BSIZE) {
    uint at = (offset + done) % BSIZE;
    uint n = src.size - done < BSIZE - at ? src.size - done : BSIZE - at;
    if (span_read(data, src, done, n) < 0 || write_block(&w, (offset + done) / BSIZE, at, data, n) < 0)
      break;
    done += n;
  }
  walk_end(&w);
  if (offset + done > ip->size) {
    ip->size = offset + done;
    w.changed = 1;
  }
  if (w.changed)
    iupdate(ip);
  return done || !src.size ? (int)done : -1;
}

// Which bitmap blocks a truncation has changed so far, as far as it must know.
struct allowance {
  uint bitmap; // the last one
  uint left;   // how many more it may change
};

static int release_block(struct allowance *a, uint block) {
  uint bitmap = BBLOCK(block, sb);
  if (bitmap != a->bitmap) {
    if (a->left == 0)
      return 0;
    a->left--;
    a->bitmap = bitmap;
  }
  bfree(block);
  return 1;
}

// Frees the blocks that the indirect block names, from the last one on, and itself: 1, or 0 if the allowance ends.
static int trunc_indirect(struct inode *ip, struct allowance *a) {
  uint block = ip->addrs[NDIRECT];
  struct buf *b = is_data_block(block) ? bread(block) : 0;
  if (!b) {
    if (is_data_block(block))
      log_fail("read", block); // what it names would be lost
    else
      printf("file system: inode %u: block %u is no indirect block\n", ip->inum, block);
    ip->addrs[NDIRECT] = 0;
    return 1;
  }
  uint *entry = (uint *)b->data;
  uint n = NINDIRECT;
  while (n > 0 && (!entry[n - 1] || release_block(a, entry[n - 1])))
    n--;
  int gone = n == 0 && release_block(a, block);
  if (gone) {
    ip->addrs[NDIRECT] = 0;
  } else {
    memset(entry + n, 0, (NINDIRECT - n) * sizeof *entry);
    log_write(b);
    if (ip->size > (NDIRECT + n) * BSIZE)
      ip->size = (NDIRECT + n) * BSIZE;
  }
  brelse(b);
  return gone;
}

int itrunc(struct inode *ip) {
  struct allowance a = {.left = bitmap_blocks() <= TRUNC_BITMAPS ? ~0u : TRUNC_BITMAPS};
  int done = !ip->addrs[NDIRECT] || trunc_indirect(ip, &a);
  for (int i = NDIRECT; done && i-- > 0;) {
    if (ip->addrs[i] && !release_block(&a, ip->addrs[i])) {
      done = 0;
      if (ip->size > (i + 1U) * BSIZE)
        ip->size = (i + 1U) * BSIZE;
    } else {
      ip->addrs[i] = 0;
    }
  }
  if (done)
    ip->size = 0;
  iupdate(ip);
  return done;
}
