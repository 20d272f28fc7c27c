// What fstat() reports; layout and numbers are xv6's.
#pragma once
#include "kernel/types.h"

#define T_DIR 1    // directory
#define T_FILE 2   // regular file
#define T_DEVICE 3 // device

struct stat {
  int dev;     // device the inode lives on
  uint ino;    // inode number
  short type;  // T_DIR, T_FILE or T_DEVICE
  short nlink; // directory entries that name it
  uint64 size; // bytes
};
