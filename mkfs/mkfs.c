// mkfs [-b BLOCKS] IMAGE FILE...: makes a file system image whose root directory holds the files.
// The whole image is built in memory and written last, so a failure leaves no half-made image behind.
// Relies on kernel/fs.h for the format and on a little-endian host.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define stat xv6_stat // the kernel's, not the host's
#include "kernel/stat.h"
#undef stat
#include "kernel/fs.h"
#include "kernel/param.h"
#include "mkfs/usage.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the image is little-endian");
_Static_assert(sizeof(struct dinode) == 64 && sizeof(struct dirent) == 16, "on-disk sizes");

#define USAGE "usage: mkfs [-b BLOCKS] IMAGE FILE..."
#define MIN_BLOCKS 64
#define MAX_BLOCKS (1u << 20) // 1 GiB
#define MIN_INODES 200
#define MAX_INODES 65535 // what a directory entry can name

static struct superblock sb;
static uchar (*image)[BSIZE]; // sb.size blocks
static uint next_block;       // first block not yet used; blocks are given out in order
static uint next_inode = ROOTINO;

// Prints "mkfs: SUBJECT: PROBLEM" and ends the program with status 2.
static void __attribute__((noreturn)) fail(const char *subject, const char *problem) {
  fprintf(stderr, "mkfs: %s: %s\n", subject, problem);
  exit(2);
}

// Lays out an image of `blocks` blocks and marks the metadata used.
static void format(uint blocks) {
  sb.magic = FSMAGIC;
  sb.size = blocks;
  sb.ninodes = blocks / 10 < MIN_INODES ? MIN_INODES : blocks / 10 > MAX_INODES ? MAX_INODES : blocks / 10;
  sb.nlog = LOGSIZE + 1; // header and data
  sb.logstart = 2;
  sb.inodestart = sb.logstart + sb.nlog;
  sb.bmapstart = sb.inodestart + sb.ninodes / IPB + 1;
  next_block = sb.bmapstart + blocks / BPB + 1;
  sb.nblocks = blocks - next_block;
  image = calloc(blocks, BSIZE);
  if (!image)
    fail("image", strerror(errno));
  memcpy(image[1], &sb, sizeof sb);
}

static struct dinode *new_inode(short type, const char *name) {
  if (next_inode >= sb.ninodes)
    fail(name, "no inode left");
  struct dinode *inode = (struct dinode *)image[IBLOCK(next_inode, sb)] + next_inode % IPB;
  inode->type = type;
  inode->nlink = 1;
  next_inode++;
  return inode;
}

static uint new_block(const char *name) {
  if (next_block >= sb.size)
    fail(name, "no block left: give a larger image with -b");
  return next_block++;
}

// Adds n bytes (at most up to the next block boundary) to the end of a file.
static void append(struct dinode *inode, const void *data, uint n, const char *name) {
  uint index = inode->size / BSIZE;
  if (index >= MAXFILE)
    fail(name, "larger than the largest file the format allows");
  uint *address;
  if (index < NDIRECT) {
    address = &inode->addrs[index];
  } else {
    if (!inode->addrs[NDIRECT])
      inode->addrs[NDIRECT] = new_block(name);
    address = (uint *)image[inode->addrs[NDIRECT]] + (index - NDIRECT);
  }
  if (!*address)
    *address = new_block(name);
  memcpy(image[*address] + inode->size % BSIZE, data, n);
  inode->size += n;
}

static void append_entry(struct dinode *directory, uint inum, const char *name) {
  struct dirent entry = {.inum = inum};
  size_t length = strlen(name);
  memcpy(entry.name, name, length < DIRSIZ ? length : DIRSIZ);
  append(directory, &entry, sizeof entry, name);
}

// Is there an entry of that name, as far as names are kept?
static int has_entry(const struct dinode *directory, const char *name) {
  for (uint at = 0; at < directory->size; at += sizeof(struct dirent)) {
    uint index = at / BSIZE;
    uint block =
        index < NDIRECT ? directory->addrs[index] : ((uint *)image[directory->addrs[NDIRECT]])[index - NDIRECT];
    if (strncmp(((struct dirent *)(image[block] + at % BSIZE))->name, name, DIRSIZ) == 0)
      return 1;
  }
  return 0;
}

// Copies one host file into the root directory.
static void add_file(struct dinode *root, const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash ? slash + 1 : path;
  name += *name == '_'; // programs are built as _NAME so that the host does not run them by mistake
  if (!*name)
    fail(path, "names no file");
  if (has_entry(root, name))
    fail(path, "another file has the same name in the image");
  FILE *file = fopen(path, "rb");
  if (!file)
    fail(path, strerror(errno));
  append_entry(root, next_inode, name);
  struct dinode *inode = new_inode(T_FILE, path);
  uchar data[BSIZE];
  size_t n;
  while ((n = fread(data, 1, BSIZE, file)) > 0)
    append(inode, data, n, path);
  if (ferror(file))
    fail(path, strerror(errno));
  fclose(file);
}

static void write_image(const char *path) {
  for (uint block = 0; block < next_block; block++)
    image[sb.bmapstart + block / BPB][block % BPB / 8] |= 1 << block % 8;
  FILE *file = fopen(path, "wb");
  if (!file)
    fail(path, strerror(errno));
  int written = fwrite(image, BSIZE, sb.size, file) == sb.size;
  if (fclose(file) != 0 || !written) {
    const char *problem = strerror(errno);
    remove(path);
    fail(path, problem);
  }
}

int main(int argc, char **argv) {
  if (explained(argc, argv, USAGE, "Makes a disk image in xv6's format that holds the files."))
    return 0;
  unsigned long blocks = FSSIZE;
  int next = 1;
  if (argc > 2 && strcmp(argv[1], "-b") == 0) {
    char *end;
    errno = 0;
    blocks = strtoul(argv[2], &end, 10);
    if (errno || *end || argv[2][0] < '0' || argv[2][0] > '9' || blocks < MIN_BLOCKS || blocks > MAX_BLOCKS)
      fail(argv[2], "the number of blocks must be 64 to 1048576");
    next = 3;
  }
  if (argc <= next || argv[next][0] == '-') {
    fprintf(stderr, "%s\n", USAGE);
    return 2;
  }
  format(blocks);
  struct dinode *root = new_inode(T_DIR, "/");
  append_entry(root, ROOTINO, ".");
  append_entry(root, ROOTINO, "..");
  for (int i = next + 1; i < argc; i++)
    add_file(root, argv[i]);
  write_image(argv[next]);
  return 0;
}
