// Open files, inodes in memory and the table of device drivers. Names are xv6's: programs include this for CONSOLE,
// debuggers read the structures.
#pragma once
#include "kernel/fs.h"
#include "kernel/param.h"
#include "kernel/sleeplock.h"

struct pipe;
struct span;

// An open file: what a file descriptor names. Shared by dup() and fork().
struct file {
  enum { FD_NONE, FD_PIPE, FD_INODE, FD_DEVICE } type;
  int ref; // descriptors that name it, changed atomically; the last one closes it
  char readable;
  char writable;
  short major;       // FD_DEVICE
  uint off;          // FD_INODE: next byte to read or write; guarded by the inode's lock
  struct pipe *pipe; // FD_PIPE
  struct inode *ip;  // FD_INODE, FD_DEVICE
  struct file *next; // next free one; ftable lock
};

// An inode in memory. It stays cached after its last reference, until its slot is needed for another.
struct inode {
  uint dev;
  uint inum;                 // with dev: constant while referenced; itable lock
  int ref;                   // pointers to it; itable lock
  struct inode *hash_next;   // chain of its hash bucket; itable lock
  struct inode *next, *prev; // the unreferenced, by age, or (next only) the orphans; itable lock

  struct sleeplock lock; // guards all that follows, and the file's blocks
  int valid;             // has the rest been read from disk?

  short type; // from here on what the disk has
  short major;
  short minor;
  short nlink;
  uint size;
  uint addrs[NDIRECT + 1];
};

// Drivers by major number. Both functions return the bytes transferred, or -1.
struct devsw {
  int (*read)(struct span dst);
  int (*write)(struct span src);
};
extern struct devsw devsw[NDEV];

#define CONSOLE 1 // major number of the console
