// fsck IMAGE: checks a file system image, one line per inconsistency. The image file is not changed: a committed log is
// replayed in memory first, as the kernel would at boot. Exit status 0: none found, 1: some, 2: it can't be checked.
// Nothing the image says is believed before it is checked; every loop is bounded by the image's size.
#include <errno.h>
#include <stdarg.h>
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

#define MAX_BLOCKS (1u << 20) // 1 GiB
#define USAGE "usage: fsck IMAGE"
#define MAX_FINDINGS 1000 // lines printed; the rest is counted

static const char *image_name;
static uchar (*image)[BSIZE];
static uint image_blocks; // whole blocks in the file
static struct superblock sb;
static uint first_data; // first block after the metadata
static uint findings;

// What was found out about an inode and a block on the way.
static struct inode_facts {
  uint names;    // directory entries that name it, but . and ..
  uint subdirs;  // directories in it
  uint parent;   // directories: where its first name is
  uchar reached; // named by a directory that is itself reachable
  uchar sound;   // its blocks can be read as its size says
} * facts;
static uint *owner; // by block: inode that uses it, 0 if none

static void __attribute__((noreturn, format(printf, 1, 2))) cannot_check(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "fsck: %s: ", image_name);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  exit(2);
}

static void __attribute__((format(printf, 1, 2))) finding(const char *format, ...) {
  va_list args;
  if (findings++ >= MAX_FINDINGS)
    return;
  va_start(args, format);
  printf("%s: ", image_name);
  vprintf(format, args);
  putchar('\n');
  va_end(args);
}

static void *allocate(size_t count, size_t size) {
  void *p = calloc(count ? count : 1, size);
  if (!p)
    cannot_check("%s", strerror(errno));
  return p;
}

static void read_image(void) {
  FILE *file = fopen(image_name, "rb");
  if (!file)
    cannot_check("%s", strerror(errno));
  uint room = 0;
  for (;;) {
    if (image_blocks == room) {
      if (room >= MAX_BLOCKS)
        cannot_check("larger than %u blocks", MAX_BLOCKS);
      room = room ? 2 * room : 2048;
      image = realloc(image, (size_t)room * BSIZE);
      if (!image)
        cannot_check("%s", strerror(errno));
    }
    size_t n = fread(image[image_blocks], BSIZE, room - image_blocks, file);
    if (n == 0)
      break;
    image_blocks += n;
  }
  if (ferror(file))
    cannot_check("%s", strerror(errno));
  fclose(file);
}

// Without these nothing else in the image has a meaning, so a fault here is the only finding.
static int check_superblock(void) {
  uint before = findings;
  if (image_blocks < 2) {
    finding("superblock: the image has only %u whole blocks", image_blocks);
    return -1;
  }
  memcpy(&sb, image[1], sizeof sb);
  if (sb.magic != FSMAGIC) {
    finding("superblock: magic number 0x%08x instead of 0x%08x", sb.magic, FSMAGIC);
    return -1;
  }
  unsigned long inode_blocks = sb.ninodes / IPB + 1UL, bitmap_blocks = sb.size / BPB + 1UL;
  if (sb.size > image_blocks)
    finding("superblock: size of %u blocks, but the image has %u", sb.size, image_blocks);
  if (sb.nlog < 2)
    finding("superblock: log of %u blocks", sb.nlog);
  if (sb.ninodes <= ROOTINO)
    finding("superblock: %u inodes, none for the root directory", sb.ninodes);
  if (sb.logstart < 2)
    finding("superblock: log at block %u", sb.logstart);
  if (sb.inodestart < (unsigned long)sb.logstart + sb.nlog)
    finding("superblock: log and inodes overlap");
  if (sb.bmapstart < sb.inodestart + inode_blocks)
    finding("superblock: inodes and bitmap overlap");
  if (sb.size <= sb.bmapstart + bitmap_blocks)
    finding("superblock: no room for data after the bitmap");
  if (findings > before)
    return -1;
  first_data = sb.bmapstart + bitmap_blocks;
  if (sb.nblocks != sb.size - first_data)
    finding("superblock: %u data blocks, but %u are left by the rest", sb.nblocks, sb.size - first_data);
  return 0;
}

static void replay_log(void) {
  const uint *header = (uint *)image[sb.logstart];
  uint n = header[0];
  if (n > sb.nlog - 1 || n > BSIZE / sizeof(uint) - 1) {
    finding("log: header claims %u blocks of %u", n, sb.nlog - 1);
    return;
  }
  for (uint i = 0; i < n; i++) {
    uint block = header[1 + i];
    if (block < 2 || block >= sb.size || (block >= sb.logstart && block < sb.logstart + sb.nlog)) {
      finding("log: entry %u would overwrite block %u", i, block);
      return;
    }
  }
  for (uint i = 0; i < n; i++)
    memcpy(image[header[1 + i]], image[sb.logstart + 1 + i], BSIZE);
}

static struct dinode *inode_at(uint inum) {
  return (struct dinode *)image[IBLOCK(inum, sb)] + inum % IPB;
}

static int marked_used(uint block) {
  return image[BBLOCK(block, sb)][block % BPB / 8] >> block % 8 & 1;
}

// Notes that inode inum uses a block. 0 if it can't.
static int claim_block(uint inum, uint block, const char *what) {
  if (block < first_data || block >= sb.size) {
    finding("inode %u: %s is block %u, which is no data block", inum, what, block);
    return 0;
  }
  if (owner[block]) {
    finding("inode %u: %s is block %u, which inode %u uses too", inum, what, block, owner[block]);
    return 0;
  }
  owner[block] = inum;
  if (!marked_used(block))
    finding("inode %u: %s is block %u, which the bitmap says is free", inum, what, block);
  return 1;
}

// The block number that an inode has for its index-th block; the indirect block is good.
static uint block_number(const struct dinode *inode, uint index) {
  if (index < NDIRECT)
    return inode->addrs[index];
  return inode->addrs[NDIRECT] ? ((uint *)image[inode->addrs[NDIRECT]])[index - NDIRECT] : 0;
}

static void check_blocks(uint inum) {
  const struct dinode *inode = inode_at(inum);
  int sound = 1;
  uint indexes = NDIRECT;
  if (inode->addrs[NDIRECT]) {
    if (claim_block(inum, inode->addrs[NDIRECT], "the indirect block"))
      indexes = MAXFILE;
    else
      sound = 0;
  }
  uint needed = inode->size / BSIZE + (inode->size % BSIZE != 0);
  if (needed > MAXFILE) {
    finding("inode %u: size %u is more than a file can have", inum, inode->size);
    needed = MAXFILE;
    sound = 0;
  }
  for (uint index = 0; index < indexes; index++) {
    uint block = block_number(inode, index);
    char what[32];
    snprintf(what, sizeof what, "block %u of the file", index);
    if (block && !claim_block(inum, block, what))
      sound = 0;
    if (block && index >= needed)
      finding("inode %u: %s lies beyond its size %u", inum, what, inode->size);
    if (!block && index < needed) {
      finding("inode %u: %s is missing", inum, what);
      sound = 0;
    }
  }
  if (indexes < needed && sound) {
    finding("inode %u: size %u, but no indirect block", inum, inode->size);
    sound = 0;
  }
  facts[inum].sound = sound;
}

static void check_inode(uint inum) {
  static const uchar zeroes[sizeof inode_at(0)->addrs];
  const struct dinode *inode = inode_at(inum);
  switch (inode->type) {
  case 0:
    if (inode->nlink || inode->size || memcmp(inode->addrs, zeroes, sizeof zeroes) != 0)
      finding("inode %u: free, but it has links, a size or blocks", inum);
    break;
  case T_DEVICE:
    if (inode->size || memcmp(inode->addrs, zeroes, sizeof zeroes) != 0)
      finding("inode %u: a device, but it has a size or blocks", inum);
    break;
  case T_DIR:
    if (inode->size % sizeof(struct dirent))
      finding("inode %u: a directory of %u bytes, which is no number of entries", inum, inode->size);
    check_blocks(inum);
    break;
  case T_FILE:
    check_blocks(inum);
    break;
  default:
    finding("inode %u: unknown type %d", inum, inode->type);
  }
}

// A directory entry's name for people: unprintable bytes become '?'.
static const char *shown(const struct dirent *entry) {
  static char text[DIRSIZ + 1];
  int i = 0;
  for (; i < DIRSIZ && entry->name[i]; i++)
    text[i] = entry->name[i] >= ' ' && entry->name[i] <= '~' ? entry->name[i] : '?';
  text[i] = 0;
  return text;
}

static struct dirent *entry_at(uint directory, uint index) {
  uint at = index * sizeof(struct dirent);
  return (struct dirent *)(image[block_number(inode_at(directory), at / BSIZE)] + at % BSIZE);
}

static void check_name(uint directory, const struct dirent *entry) {
  size_t length = strnlen(entry->name, DIRSIZ);
  if (length == 0)
    finding("directory %u: inode %u has an empty name", directory, entry->inum);
  if (memchr(entry->name, '/', length))
    finding("directory %u: name '%s' contains a slash", directory, shown(entry));
  for (size_t i = length; i < DIRSIZ; i++)
    if (entry->name[i]) {
      finding("directory %u: name '%s' is followed by more than zeroes", directory, shown(entry));
      break;
    }
}

// An entry other than . and .. : counts the name. Returns the inode's number if it is a directory met for the first
// time.
static uint check_entry(uint directory, const struct dirent *entry) {
  uint inum = entry->inum;
  check_name(directory, entry);
  if (inum >= sb.ninodes) {
    finding("directory %u: '%s' is inode %u of %u", directory, shown(entry), inum, sb.ninodes);
    return 0;
  }
  struct dinode *inode = inode_at(inum);
  if (inode->type == 0) {
    finding("directory %u: '%s' is inode %u, which is free", directory, shown(entry), inum);
    return 0;
  }
  facts[inum].names++;
  if (inode->type != T_DIR) {
    facts[inum].reached = 1;
    return 0;
  }
  facts[directory].subdirs++;
  if (facts[inum].reached) {
    finding("directory %u: '%s' is directory %u, which directory %u contains too", directory, shown(entry), inum,
            facts[inum].parent);
    return 0;
  }
  facts[inum].reached = 1;
  facts[inum].parent = directory;
  return inum;
}

static void check_dots(uint directory) {
  static const struct dirent dots[2] = {{.name = "."}, {.name = ".."}};
  uint expected[2] = {directory, facts[directory].parent};
  uint entries = inode_at(directory)->size / sizeof(struct dirent);
  for (uint i = 0; i < 2; i++) {
    if (i >= entries || memcmp(entry_at(directory, i)->name, dots[i].name, DIRSIZ) != 0)
      finding("directory %u: entry %u is not '%s'", directory, i, dots[i].name);
    else if (entry_at(directory, i)->inum != expected[i])
      finding("directory %u: '%s' is inode %u instead of %u", directory, dots[i].name, entry_at(directory, i)->inum,
              expected[i]);
  }
}

static int compare_names(const void *a, const void *b) {
  return memcmp(((struct dirent *)a)->name, ((struct dirent *)b)->name, DIRSIZ);
}

static void check_duplicates(uint directory, uint entries) {
  struct dirent *sorted = allocate(entries, sizeof *sorted);
  uint n = 0;
  for (uint i = 0; i < entries; i++)
    if (entry_at(directory, i)->inum)
      sorted[n++] = *entry_at(directory, i);
  qsort(sorted, n, sizeof *sorted, compare_names);
  for (uint i = 1; i < n; i++)
    if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
      finding("directory %u: two entries are named '%s'", directory, shown(&sorted[i]));
  free(sorted);
}

// Walks the tree from the root. A directory joins the list when it is first reached, so the walk ends.
static void check_tree(void) {
  uint *list = allocate(sb.ninodes, sizeof *list);
  uint listed = 0;
  if (inode_at(ROOTINO)->type != T_DIR) {
    finding("inode %u: the root is no directory", ROOTINO);
  } else {
    facts[ROOTINO].reached = 1;
    facts[ROOTINO].parent = ROOTINO;
    list[listed++] = ROOTINO;
  }
  for (uint next = 0; next < listed; next++) {
    uint directory = list[next];
    uint entries = inode_at(directory)->size / sizeof(struct dirent);
    if (!facts[directory].sound) {
      finding("directory %u: its blocks are bad, so what it contains is not checked", directory);
      continue;
    }
    check_dots(directory);
    check_duplicates(directory, entries);
    for (uint i = 2; i < entries; i++) {
      uint subdirectory = entry_at(directory, i)->inum ? check_entry(directory, entry_at(directory, i)) : 0;
      if (subdirectory)
        list[listed++] = subdirectory;
    }
  }
  free(list);
}

static void check_links(void) {
  for (uint inum = 1; inum < sb.ninodes; inum++) {
    const struct dinode *inode = inode_at(inum);
    if (inode->type != T_DIR && inode->type != T_FILE && inode->type != T_DEVICE)
      continue;
    uint expected = inode->type == T_DIR ? 1 + facts[inum].subdirs : facts[inum].names;
    if (!facts[inum].reached && inode->nlink == 0)
      finding("inode %u: an orphan: no directory names it, and it was not freed", inum);
    else if (!facts[inum].reached)
      finding("inode %u: no directory names it", inum);
    else if (inode->nlink < 0 || (uint)inode->nlink != expected)
      finding("inode %u: link count %d instead of %u", inum, inode->nlink, expected);
  }
}

static void check_bitmap(void) {
  for (uint block = 0; block < first_data; block++)
    if (!marked_used(block))
      finding("bitmap: block %u holds metadata, but is marked free", block);
  for (uint block = first_data; block < sb.size; block++)
    if (marked_used(block) && !owner[block])
      finding("bitmap: block %u is marked used, but no inode uses it", block);
}

int main(int argc, char **argv) {
  if (explained(argc, argv, USAGE, "Checks a disk image in xv6's format; prints a line for each fault."))
    return 0;
  if (argc != 2 || argv[1][0] == '-') {
    fprintf(stderr, "%s\n", USAGE);
    return 2;
  }
  image_name = argv[1];
  read_image();
  if (check_superblock() == 0) {
    replay_log();
    facts = allocate(sb.ninodes, sizeof *facts);
    owner = allocate(sb.size, sizeof *owner);
    for (uint inum = 1; inum < sb.ninodes; inum++)
      check_inode(inum);
    check_tree();
    check_links();
    check_bitmap();
  }
  if (findings > MAX_FINDINGS)
    printf("%s: %u more findings\n", image_name, findings - MAX_FINDINGS);
  return findings > 0;
}
