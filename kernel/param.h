// Limits that programs see. Some are visible minimums: the kernel may hold more (see fs/, proc/).
// Every value that published xv6 programs read keeps xv6's number.
#pragma once

#define NPROC 64                  // processes
#define NCPU 8                    // harts
#define NOFILE 16                 // open files per process
#define NFILE 100                 // open files in the system, at least
#define NINODE 50                 // inodes in memory, at least
#define NDEV 10                   // major device numbers
#define ROOTDEV 1                 // device number of the root file system
#define MAXARG 32                 // exec arguments
#define MAXOPBLOCKS 10            // blocks one file system operation may write
#define LOGSIZE (MAXOPBLOCKS * 3) // data blocks in a log that mkfs makes; the kernel reads nlog instead
#define LOGBLOCKS LOGSIZE
#define NBUF (MAXOPBLOCKS * 3) // buffers in the cache, at least
#define FSSIZE 2000            // blocks in an image that mkfs makes by default
#define MAXPATH 128            // bytes in a path, terminator included
#define USERSTACK 1            // pages of user stack
#define NSHMEM_REQS 16         // requests the crypto queue holds
