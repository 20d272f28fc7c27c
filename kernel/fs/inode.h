// What the parts of the file system share: the superblock, space on disk, inodes and directories.
// fs/fs.c, fs/inode.c and fs/dir.c implement it. Operations and locks: fs/fs_kernel.h.
#pragma once
#include "kernel/dev/dev.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/lib/lib.h"

extern struct superblock sb; // of the root file system; constant after fsinit()

// Says why this disk can't be used, in one line, and ends the machine.
#define fs_refuse(format, ...) (printf("root disk refused: " format "\n", ##__VA_ARGS__), power_off())

// Space (fs/fs.c), within an operation. A bitmap block is logged with each change.
uint balloc(void);                  // a free block, now used; 0 if there is none
void bfree(uint block);             // used no longer
int is_data_block(uint block);      // may a file hold it?
uint bitmap_blocks(void);           // blocks of the bitmap
uint inum_alloc(short type);        // a free inode, now of that type, without names or blocks; 0 if there is none
void inum_free(uint inum);          // of an inode without names or blocks: the next one may have its number
void inum_found_free(uint inum);    // counts one that is free; at start-up
struct buf *inode_block(uint inum); // with the inode on disk; 0 with the file system failed if it can't be read again

// Truncation spreads over several operations if a file's blocks belong to more bitmap blocks than this.
#define TRUNC_BITMAPS 5
// What freeing an inode may write: the inode, its indirect block, bitmap blocks.
#define FREE_BLOCKS (2 + TRUNC_BITMAPS)

// Inodes (fs/inode.c)

// The inode, referenced, not locked, perhaps not yet read; 0 if there is no such number.
struct inode *iget(uint dev, uint inum);
// A new one without a name, in an operation; 0 if there is none.
struct inode *ialloc(uint dev, short type);
// Fields to disk. ip locked, an operation.
void iupdate(struct inode *ip);
// 1 when the file is empty, 0 if it is to be called again in another operation. ip locked; FREE_BLOCKS to spare.
int itrunc(struct inode *ip);
// Bytes written, or -1 if none could be. ip locked, an operation with room for them.
int writei(struct inode *ip, struct span src, uint32 offset);
// iput() that frees at once. ip not locked, an operation with FREE_BLOCKS to spare.
void iput_now(struct inode *ip);
// Frees what iput() left. Outside an operation, no inode locked.
void reap_orphans(void);
// At start-up: counts the free ones, frees those that a power cut left without a name.
void find_inodes(void);

// A walk through the blocks of a locked inode's file, which keeps the indirect block in hand. Starts as {.ip}.
struct walk {
  struct inode *ip;
  struct buf *indirect;
  int changed; // have fields of the inode changed since it was last written?
};
struct buf *walk_read(struct walk *w, uint index); // block `index` of the file; 0 if it has none or can't be read
void walk_end(struct walk *w);

// Directories (fs/dir.c). A key is a name as a directory keeps it: cut, filled up with zeroes, inum 0.
// dp is a directory, locked; changes are made within an operation.

// The inode of an entry, 0 if absent. offset, unless 0, is set to where the entry is, or where a new one may go.
struct inode *dirlookup(struct inode *dp, const struct dirent *key, uint *offset);
// Writes an entry: 0, or -1 with nothing changed, without space.
int dir_set(struct inode *dp, uint offset, const struct dirent *entry);
int dir_is_empty(struct inode *dp); // but for . and ..
// The directory that a path's last name is in, referenced, not locked, and that name; 0 if there is none.
struct inode *nameiparent(const char *path, struct dirent *last);
