// The file system as it lies on disk, shared by the kernel, mkfs, fsck and programs; the format is xv6's.
// Little-endian. Blocks in order: boot | superblock | log | inodes | bitmap of used blocks | file and directory data.
#pragma once
#include "kernel/types.h"

#define BSIZE 1024 // bytes in a block
#define ROOTINO 1  // inode number of the root directory

#define FSMAGIC 0x10203040

// Block 1.
struct superblock {
  uint magic;      // FSMAGIC
  uint size;       // blocks in the whole image
  uint nblocks;    // of these, data blocks
  uint ninodes;    // inodes; number 0 is never used
  uint nlog;       // blocks of the log, its header included
  uint logstart;   // first block of the log, its header
  uint inodestart; // first block of the inodes
  uint bmapstart;  // first block of the bitmap
};

#define NDIRECT 12
#define NINDIRECT (BSIZE / sizeof(uint))
#define MAXFILE (NDIRECT + NINDIRECT) // blocks in the largest file

// An inode on disk.
struct dinode {
  short type;              // 0: free; else T_DIR, T_FILE, T_DEVICE
  short major;             // T_DEVICE: which driver
  short minor;             // T_DEVICE: which of its devices
  short nlink;             // directory entries that name it; "." is not counted
  uint size;               // bytes
  uint addrs[NDIRECT + 1]; // data blocks, 0 where there is none; the last is a block of NINDIRECT more
};

#define IPB (BSIZE / sizeof(struct dinode))                // inodes in a block
#define IBLOCK(inum, sb) ((inum) / IPB + (sb).inodestart)  // the block of an inode
#define BPB (BSIZE * 8)                                    // bits in a bitmap block
#define BBLOCK(block, sb) ((block) / BPB + (sb).bmapstart) // the bitmap block of a block

#define DIRSIZ 14

// A directory is a file of these. Longer names are cut; shorter ones are filled up with zero bytes.
struct dirent {
  ushort inum; // 0: free entry
  char name[DIRSIZ] __attribute__((nonstring));
};
